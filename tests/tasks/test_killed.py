"""Trainings that end at the worst moments: between two files that belong together. What a process that is killed there
leaves is what one leaves that does nothing more; a real kill -9 is in ``test_train``."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from earsight.tasks.train import train
from earsight.tasks.training.plan import unfinished_note
from tests.conftest import called, stop_in_epoch, write_tones
from tests.tasks.test_train import recipe, same

SETTINGS = recipe(epochs=3, average_best=2)


class Death(BaseException):
    """Nobody catches it."""


def dies_at(monkeypatch: pytest.MonkeyPatch, module: str, name: str, call: int) -> None:
    """The process ends where a function of ``tasks.training`` is called for the so-many-th time; later calls work."""
    place: Any = importlib.import_module(f"earsight.tasks.training.{module}")
    real, calls = getattr(place, name), []

    def dies(*arguments: object, **named: object) -> object:
        calls.append(1)
        if len(calls) == call:
            raise Death
        return real(*arguments, **named)

    monkeypatch.setattr(place, name, dies)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tones, and the run of a training that nothing stopped."""
    root = tmp_path_factory.mktemp("killed")
    train(write_tones(root / "tones"), recipe=SETTINGS, out=root / "run", threads=1)
    return root


def told(run: Path) -> tuple[Any, ...]:
    numbers, described = (json.loads((run / name).read_text()) for name in ("metrics.json", "model.json"))
    return numbers["best_epoch"], numbers["test"], described["epoch"], described.get("mean_of_epochs")


@pytest.mark.parametrize(
    ("module", "name", "call", "there"),
    [
        ("loop", "save_state", 1, {"clips.csv", "figures"}),
        ("state", "save_classifier", 1, {"clips.csv", "figures", "resume.pt"}),
        ("averaging", "write_atomic", 2, {"best-epochs", "clips.csv", "figures", "history.csv", "model.json"}),
        ("loop", "write_history", 3, {"model.json", "resume.pt", "history.csv"}),
        ("finish", "save_fitted", 1, {"history.csv", "model.json", "model.safetensors", "resume.pt"}),
    ],
)
def test_it_goes_on_to_the_same_network(
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    name: str,
    call: int,
    there: set[str],
) -> None:
    run = tmp_path / "run"
    dies_at(monkeypatch, module, name, call)
    with pytest.raises(Death):
        train(whole / "tones", recipe=SETTINGS, out=run, threads=1)
    monkeypatch.undo()
    assert there <= {path.name for path in run.iterdir()}
    assert ("model.json" in there) == (run / "model.json").is_file()
    (run / ".model.json.1.part").write_text("half")
    train(whole / "tones", recipe=SETTINGS, out=run, threads=1, resume=True)
    assert same(whole / "run", run)
    assert told(run) == told(whole / "run")
    assert {path.name for path in run.iterdir()} == {path.name for path in (whole / "run").iterdir()}
    rows = [(path / "history.csv").read_text().count("\n") for path in (run, whole / "run")]
    assert rows == [4, 4]


@pytest.mark.parametrize("call", [1, 2])
def test_a_refit_that_ends_before_its_history_is_written_goes_on(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    once = recipe(epochs=1, refit=True)
    dies_at(monkeypatch, "loop", "write_history", call)
    with pytest.raises(Death):
        train(whole / "tones", recipe=once, out=tmp_path / "run", threads=1)
    train(whole / "tones", recipe=once, out=tmp_path / "run", threads=1, resume=True)
    for name in ("history.csv", "history-refit.csv"):
        assert (tmp_path / "run" / name).read_text().count("\n") == 2


def test_the_network_of_another_epoch_is_not_taken_for_the_kept_one(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its state was written, an epoch is over, whatever came of the files after it: it is not trained again,
    which might end otherwise on a GPU."""
    from earsight.tasks.training import loop

    run, epochs, real = tmp_path / "run", list[object](), loop.train_epoch

    def counted(*arguments: Any) -> Any:
        epochs.append(arguments[-1])
        return real(*arguments)

    monkeypatch.setattr(loop, "train_epoch", counted)
    dies_at(monkeypatch, "loop", "save_networks", 2)
    with pytest.raises(Death):
        train(whole / "tones", recipe=SETTINGS, out=run, threads=1)
    train(whole / "tones", recipe=SETTINGS, out=run, threads=1, resume=True)
    assert epochs == [1, 2, 3]
    assert same(whole / "run", run)


def test_it_goes_on_with_the_threads_that_it_had(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from earsight.tasks import train as training

    monkeypatch.setattr(training, "free_cores", lambda _: 2)
    dies_at(monkeypatch, "loop", "write_history", 1)
    with pytest.raises(Death):
        train(whole / "tones", recipe=SETTINGS, out=tmp_path / "run", threads=1)
    train(whole / "tones", recipe=SETTINGS, out=tmp_path / "run", resume=True)
    assert json.loads((tmp_path / "run" / "model.json").read_text())["machine"]["threads"] == 1
    assert same(whole / "run", tmp_path / "run")


def test_a_run_that_was_stopped_is_said_to_be_wherever_it_is_used(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    stop_in_epoch(monkeypatch, 3)
    assert train(whole / "tones", recipe=SETTINGS, out=run, threads=1).interrupted
    monkeypatch.undo()
    said = f"the training of {run} is not finished (epoch 2 of 3 is done); to continue it, run train with --resume"
    assert unfinished_note(run) == said
    for command in (
        ["predict", run, whole / "tones" / "low" / "low00.wav"],
        ["push", run, "me/x", "--out", tmp_path / "x"],
    ):
        done = called(*command)
        assert done.returncode == 0, done.stderr
        assert f"note: {said}" in done.stderr
    card = (tmp_path / "x" / "README.md").read_text()
    assert "The run has no score" in card
    assert "measured" not in card
    assert "Scored on" not in card
    train(whole / "tones", recipe=SETTINGS, out=run, threads=1, resume=True)
    assert unfinished_note(run) == unfinished_note(tmp_path / "none") == ""
