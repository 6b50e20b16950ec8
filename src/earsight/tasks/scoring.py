"""A classifier and clips → predictions."""

from collections.abc import Sequence

import numpy as np

from earsight.dataset.loader import fixed_batches
from earsight.dataset.store import Store
from earsight.network.classifier import Classifier
from earsight.scores.predictions import Predictions


def score(classifier: Classifier, store: Store, indices: Sequence[int], batch_size: int = 32) -> Predictions:
    """Score the fixed crop of every clip, in the order given."""
    was_training = classifier.training
    classifier.eval()
    rows = [classifier.probabilities(crops) for _, crops in fixed_batches(store, indices, batch_size)]
    classifier.train(was_training)
    clips = [store.clips[i] for i in indices]
    number = {label: n for n, label in enumerate(classifier.labels)}
    return Predictions(
        labels=classifier.labels,
        paths=tuple(str(clip.path) for clip in clips),
        truth=np.array([number.get(clip.label, -1) for clip in clips], dtype=np.int64),
        probabilities=np.concatenate(rows) if rows else np.zeros((0, len(classifier.labels))),
        groups=tuple(clip.group for clip in clips),
    )
