"""A classifier and clips → predictions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from earsight.dataset.loader import fixed_batches, label_matrix
from earsight.dataset.store import Store
from earsight.dataset.walk import ProgressCallback
from earsight.network.classifier import Classifier
from earsight.scores.dispatch import AnyPredictions
from earsight.scores.multilabel import MultiPredictions
from earsight.scores.predictions import Predictions
from earsight.tasks.machine.devices import all_reduce_sum

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def score(
    classifier: Classifier,
    store: Store,
    indices: Sequence[int],
    batch_size: int = 32,
    *,
    fabric: "Fabric | None" = None,
    progress: ProgressCallback | None = None,
) -> AnyPredictions:
    """Predictions for clips of the store, in the order of ``indices``, from their fixed crops. fabric: its processes
    share the clips, and all get the whole result. progress: called with (done, all)."""
    probabilities = np.zeros((len(indices), len(classifier.labels)))
    own = slice(None) if fabric is None else slice(fabric.global_rank, None, fabric.world_size)
    done, mine = 0, np.zeros((len(indices[own]), len(classifier.labels)))
    for part, crops in fixed_batches(store, indices[own], batch_size):
        mine[done : done + len(part)] = classifier.probabilities(crops)
        done += len(part)
        if progress:
            progress(done, len(mine))
    probabilities[own] = mine
    if fabric is not None and fabric.world_size > 1:
        probabilities = all_reduce_sum(fabric, torch.from_numpy(probabilities)).cpu().numpy()
    clips = [store.clips[i] for i in indices]
    labels, truth = classifier.labels, label_matrix(clips, classifier.labels)
    paths, groups = tuple(clip.name for clip in clips), tuple(clip.group for clip in clips)
    if classifier.multilabel:
        predicted = probabilities >= np.array(classifier.thresholds)
        return MultiPredictions(labels, paths, truth, probabilities, predicted, groups)
    number = np.where(truth.any(axis=1), truth.argmax(axis=1), -1)
    return Predictions(labels, paths, number, probabilities, groups)
