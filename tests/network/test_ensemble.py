"""Several networks as one, without a training."""

import math

import pytest
import torch

from earsight.audio.settings import AudioSettings
from earsight.errors import ModelError
from earsight.network.classifier import Classifier
from earsight.network.ensemble import Ensemble, join_classifiers
from earsight.network.prediction import UnknownLimits
from tests.network.test_classifier import LABELS, tiny
from tests.network.test_portable import some_directions


def of_several(labels: tuple[str, ...] = LABELS) -> Classifier:
    one = tiny()
    return Classifier(labels, one.audio, one.mel, one.network_settings, multilabel=True).eval()


def test_members_that_hear_or_answer_otherwise_are_refused() -> None:
    one, turned = tiny(), of_several(LABELS[::-1])
    plain = Classifier(turned.labels, one.audio, one.mel, one.network_settings)
    others = {"labels": plain, "audio": tiny(audio=AudioSettings(crop_s=0.25)), "multilabel": of_several()}
    for name, other in others.items():
        with pytest.raises(ModelError, match=f"member 3 has other {name} than the first"):
            join_classifiers([one, one, other])
    with pytest.raises(ModelError, match=r"member 2 takes images of \(None, 3\), the first of \(None, 1\)"):
        join_classifiers([one, tiny(in_chans=3)])
    both = join_classifiers([one, one])
    for pair in ([both, one], [one, both]):
        with pytest.raises(ModelError, match="an ensemble already"):
            join_classifiers(pair)


def test_an_ensemble_knows_as_much_as_its_members_on_average() -> None:
    members = [of_several(), of_several(), of_several()]
    limits = (UnknownLimits(0.6, 0.1), UnknownLimits(-1.0, 0.2), UnknownLimits(0.3, 0.6))
    for seed, (member, unknown) in enumerate(zip(members, limits, strict=True)):
        member.unknown, member.thresholds = unknown, (0.1, 0.3 * seed, 0.9)
        member.directions = some_directions(member, seed)
    whole = join_classifiers(members)
    assert whole.unknown == UnknownLimits(pytest.approx(math.sqrt((0.36 + 0.09) / 3)), pytest.approx(0.3))
    assert whole.thresholds == pytest.approx((0.1, 0.3, 0.9))
    assert not whole.training
    assert join_classifiers([one.train() for one in members]).training
    members[1].directions = None
    assert (join_classifiers(members).directions, join_classifiers(members).unknown) == (None, UnknownLimits())


def test_one_label_is_the_mean_of_log_probabilities_and_several_of_logits() -> None:
    logits = [torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 3.0]])]
    scaled = torch.stack([logits[0] / 2, logits[1] / 0.5])
    of_one, of_many = (
        Ensemble([], (2.0, 0.5), multilabel=multilabel).average_logits(logits) for multilabel in (False, True)
    )
    assert torch.allclose(of_many, scaled.mean(0))
    assert torch.allclose(of_one, torch.log_softmax(scaled, dim=2).mean(0))
