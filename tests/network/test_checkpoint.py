"""What a folder keeps of a network."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from earsight.errors import ModelError
from earsight.network.checkpoint import save_classifier
from earsight.network.classifier import Classifier
from earsight.network.prediction import UnknownLimits
from tests.network.test_classifier import tiny
from tests.network.test_ensemble import of_several
from tests.network.test_portable import some_directions


def test_all_that_was_fitted_and_asked_for_is_loaded_again(tmp_path: Path) -> None:
    classifier = of_several()
    classifier.temperature, classifier.thresholds, classifier.unknown = 1.7, (0.0, 0.25, 1.0), UnknownLimits(0.5, 0.125)
    classifier.directions = some_directions(classifier, 0)
    asked = classifier.network_settings.model_copy(update={"pretrained": True, "weights": "gone.pth"})
    classifier.network_settings = asked
    save_classifier(classifier, tmp_path, {})
    loaded = Classifier.load(tmp_path)
    assert (loaded.temperature, loaded.thresholds, loaded.unknown) == (1.7, (0.0, 0.25, 1.0), UnknownLimits(0.5, 0.125))
    assert (loaded.multilabel, loaded.network_settings) == (True, asked)
    assert loaded.directions is not None
    assert torch.equal(loaded.directions, classifier.directions)


def test_a_limit_of_another_measure_is_forgotten(tmp_path: Path) -> None:
    classifier = tiny()
    classifier.unknown = UnknownLimits(0.5, 0.5)
    save_classifier(classifier, tmp_path, {})
    assert Classifier.load(tmp_path).unknown == UnknownLimits(0.5, 0.5)
    weights = tmp_path / "model.safetensors"
    save_file({**load_file(weights), "earsight.centres": torch.ones(3, 4)}, weights)
    assert Classifier.load(tmp_path).unknown == UnknownLimits()


def test_weights_without_bounds_are_refused(tmp_path: Path) -> None:
    save_classifier(tiny(), tmp_path, {})
    weights = tmp_path / "model.safetensors"
    state = load_file(weights)
    state["classifier.bias"][-1] = math.inf
    save_file(state, weights)
    with pytest.raises(ModelError, match=r"is damaged: classifier\.bias has weights that are not numbers"):
        Classifier.load(tmp_path)


def test_thresholds_are_one_for_each_label_and_from_0_to_1(tmp_path: Path) -> None:
    save_classifier(of_several(), tmp_path, {})
    described = json.loads((tmp_path / "model.json").read_text())
    for wrong in ([0.5, -0.1, 0.5], [0.5, 1.1, 0.5], [0.5] * 2, [0.5] * 4):
        (tmp_path / "model.json").write_text(json.dumps({**described, "thresholds": wrong}))
        with pytest.raises(ModelError, match="its thresholds are no number from 0 to 1 for each label"):
            Classifier.load(tmp_path)
