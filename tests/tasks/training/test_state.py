"""What a stopped training goes on from: whole, damaged, or of another training."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from earsight.errors import TrainingError
from earsight.mel.pipeline import NO_PIPELINE
from earsight.tasks.train import train
from earsight.tasks.training.history import Epoch
from earsight.tasks.training.plan import STATE_NAME, plan_training
from earsight.tasks.training.state import read_state, restore
from tests.tasks.test_train import recipe
from tests.tasks.training.test_learning import learner

WHOLE = {
    "machine": {"precision": "32-true", "devices": 1, "nodes": 1},
    "recipe": recipe().model_dump(),
    "pipeline": [],
    "split": "random",
    "clips": 24,
    "division": "",
    "network": {"x": torch.zeros(1)},
    "optimizer": {},
    "history": [asdict(Epoch(1, 1e-3, 1.0, 0.5, 1.0, 0.5, 0.5, 1.0, 100.0, valid_map=0.5))],
    "best_epoch": 1,
}


@pytest.mark.parametrize(
    "state",
    [b"", b"text", [1], {"recipe": 3}, {"history": 3}, {"history": []}, {"network": ...}, {"best_epoch": "one"}, {}],
    ids=str,
)
def test_a_damaged_state_is_refused_before_anything_is_decoded(tones: Path, tmp_path: Path, state: object) -> None:
    (tmp_path / "run").mkdir()
    if isinstance(state, dict):
        state = {name: value for name, value in {**WHOLE, **state}.items() if value is not ...}
    if isinstance(state, bytes):
        (tmp_path / "run" / "resume.pt").write_bytes(state)
    else:
        torch.save(state, tmp_path / "run" / "resume.pt")
    told = r"can't resume: .*resume\.pt is damaged; start again"
    if state == WHOLE:
        told = "with other settings: names, labels, groups or parts of clips have changed; use the same ones"
    with pytest.raises(TrainingError, match=told):
        train(tones, recipe=recipe(), out=tmp_path / "run", resume=True, threads=1)


MACHINE = {"precision": "32-true", "devices": 1, "nodes": 1}


def test_a_state_of_another_machine_or_of_other_clips_is_not_gone_on_with(tones: Path, tmp_path: Path) -> None:
    plan = plan_training(tones, recipe(), out=tmp_path / "run", resume=True)
    whole = {**WHOLE, "division": plan.division}
    plan.run.mkdir()
    torch.save(whole, plan.run / STATE_NAME)
    assert read_state(plan, MACHINE, NO_PIPELINE) == {**whole, "history": [Epoch(**row) for row in whole["history"]]}
    for changes, words in (
        ({"machine": {**MACHINE, "devices": 2}}, "devices was 2, is 1"),
        ({"machine": {**MACHINE, "nodes": 3}}, "nodes was 3, is 1"),
        ({"clips": 25}, "there were 25 clips, now 24"),
        ({"split": "group"}, "split was group, is random"),
    ):
        torch.save({**whole, **changes}, plan.run / STATE_NAME)
        with pytest.raises(TrainingError, match=f"with other settings: {words}; use the same ones"):
            read_state(plan, MACHINE, NO_PIPELINE)


def test_a_state_of_another_network_is_damaged(tones: Path, tmp_path: Path) -> None:
    plan, learning = plan_training(tones, recipe(), out=tmp_path / "run", resume=True), learner()
    assert learning.ema is not None
    whole = {
        "network": learning.classifier.network.state_dict(),
        "optimizer": learning.optimizer.state_dict(),
        "precision": learning.fabric.strategy.precision.state_dict(),
        "mean": learning.ema.module.state_dict(),
        "history": [],
        "best_epoch": 7,
    }
    assert restore(whole, learning, plan).best_epoch == 7
    for name, value in (
        *(("network", {}), ("network", 3), ("mean", {}), ("optimizer", {}), ("optimizer", 3)),
        ("optimizer", {"state": {}, "param_groups": []}),
    ):
        with pytest.raises(TrainingError, match=r"resume\.pt is damaged; start again"):
            restore({**whole, name: value}, learning, plan)
