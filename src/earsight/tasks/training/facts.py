"""The part of model.json that describes the training."""

import platform
import time
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch

import earsight
from earsight.mel.pipeline import Pipeline
from earsight.tasks.machine.devices import Machine
from earsight.tasks.training.decoded import DecodedData, fingerprint
from earsight.tasks.training.plan import Plan

_PACKAGES = ("torch", "timm", "lightning-fabric", "numpy", "soundfile", "soxr")


def model_facts(plan: Plan, decoded: DecodedData, machine: Machine, pipeline: Pipeline) -> dict[str, Any]:
    """Data, split, settings, machine and versions."""
    clips, split = decoded.store.clips, decoded.split
    return {
        "earsight": earsight.__version__,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "recipe_name": plan.recipe_name,
        "recipe": plan.recipe.model_dump(),
        "data": {
            "place": str(plan.dataset.place),
            "source": plan.dataset.source,
            "synthetic": plan.dataset.synthetic,
            "files": plan.dataset.files,
            "clips": len(clips),
            "fingerprint": fingerprint(decoded.store),
            "group_name": plan.dataset.group_name,
            "trained_groups": decoded.groups_of("train"),
            "validated_groups": decoded.groups_of("valid"),
            "failures": [[str(failure.path), failure.reason] for failure in decoded.failures],
        },
        "split": {
            "kind": split.kind,
            "sentence": split.sentence,
            "caveat": split.caveat,
            "training_score": split.training_score,
            "speaker_independent": split.speaker_independent,
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "machine": {**asdict(machine), "threads": torch.get_num_threads()},
        **({"pipeline": pipeline.spec} if pipeline.spec else {}),
    }
