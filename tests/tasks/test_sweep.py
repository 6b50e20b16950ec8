"""Real trainings of a tiny network: what is searched, kept, gone on with and refused."""

import csv
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import earsight as es
from earsight.errors import DataError, MissingExtraError, SettingsError, TrainingError
from earsight.files import locked_folder
from earsight.tasks.machine.devices import Machine
from earsight.tasks.sweep import sweep
from earsight.tasks.sweeping.space import to_space
from earsight.tasks.sweeping.study import Study
from earsight.tasks.sweeping.sweep_report import to_toml
from earsight.tasks.sweeping.trials import SweepResult
from earsight.tasks.train import train
from earsight.tasks.training import loop
from tests.pages import faults, needs_chromium

QUICK = {
    "epochs": 2,
    "batch_size": 8,
    "audio": {"crop_s": 0.4},
    "network": {"model": "test_efficientnet", "pretrained": False},
}
SPACE = {"optimizer.lr": {"low": 1e-3, "high": 1e-2, "log": True}, "mel": {"n_mels": [32, 48]}}
ONE = Machine(accelerator="cpu", threads=1)


def searched(data: Path, out: Path, **changes: Any) -> SweepResult:
    recipe = es.Recipe.named("default", {**QUICK, **changes.pop("recipe", {})})
    settings: dict[str, Any] = {"space": SPACE, "trials": 3, "split": "column:part", "machine": ONE, **changes}
    return sweep(data, recipe=recipe, out=out, **settings)


def write_table(path: Path, tones: Path, *, swapped: bool = False) -> Path:
    """Of each class, clips 0 to 5 to train on, 6 to 8 to choose with, 9 to 11 to test. swapped: those are called by the
    other class."""
    with path.open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "part"])
        for number in range(12):
            part = "train" if number < 6 else "valid" if number < 9 else "test"
            for label, other in (("low", "high"), ("high", "low")):
                called = other if swapped and part == "test" else label
                rows.writerow([tones / label / f"{label}{number:02}.wav", called, part])
    return path


def rows_of(result: SweepResult) -> list[tuple[Any, ...]]:
    """Without the seconds."""
    return [(one.number, one.state, one.value, dict(one.values), one.reason) for one in result.trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SweepResult]:
    from tests.conftest import whole_pictures, write_tones

    root = tmp_path_factory.mktemp("sweep")
    data = write_table(root / "clips.csv", write_tones(root / "tones"))
    with whole_pictures():
        return data, searched(data, root / "out")


def test_a_sweep_keeps_its_trials_its_best_recipe_and_a_page(whole: tuple[Path, SweepResult]) -> None:
    _, result = whole
    assert result.best is not None
    assert [one.state for one in result.trials] == ["complete"] * 3
    assert result.best.value == max(one.value or 0 for one in result.trials)
    with (result.out / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["number", "state", "value", "mel.n_mels", "optimizer.lr", "seconds", "reason"]
    for row, trial in zip(rows, result.trials, strict=True):
        assert row["state"] == "complete"
        assert float(row["optimizer.lr"]) == trial.values["optimizer.lr"]
        with (result.out / "trials" / f"{trial.number:04}" / "split0" / "history.csv").open() as file:
            assert trial.value == pytest.approx(max(float(epoch["valid_uar"]) for epoch in csv.DictReader(file)))
    assert not list(result.out.rglob("*.safetensors"))
    page = (result.out / "report.html").read_text()
    assert f"{result.best.value:.3f}" in page
    assert page.count("data:image/png;base64") == 1
    assert "the 6 test clips were not used" in page


@needs_chromium
def test_everyone_can_read_the_page(whole: tuple[Path, SweepResult]) -> None:
    assert faults(whole[1].out / "report.html") == []


def test_the_best_recipe_trains_what_its_trial_trained(whole: tuple[Path, SweepResult], tmp_path: Path) -> None:
    data, result = whole
    assert result.best is not None
    path = result.out / "best.toml"
    recipe = es.Recipe.named(path)
    assert recipe == result.recipe
    assert recipe.optimizer.lr == result.best.values["optimizer.lr"]
    train(data, recipe=path, split="column:part", out=tmp_path / "run", accelerator="cpu", threads=1)
    own, its = (
        [row[:7] for row in csv.reader(file.read_text().splitlines())]  # without seconds and clips a second
        for file in (
            tmp_path / "run" / "history.csv",
            result.out / "trials" / f"{result.best.number:04}" / "split0" / "history.csv",
        )
    )
    assert own == its


def test_a_recipe_is_written_so_that_it_reads_back_the_same(tmp_path: Path) -> None:
    odd = {"weights": 'a"\\\x7f\té.pth', "in_chans": None}
    recipe = es.Recipe.named("article", {"network": odd, "optimizer": {"lr": 1e-30}, "audio": {"trim_db": None}})
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    assert es.Recipe.named(tmp_path / "recipe.toml") == recipe


def test_no_test_clip_is_scored_and_what_they_are_called_changes_nothing(
    whole: tuple[Path, SweepResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, result = whole
    real, scored = loop.score, set()

    def watched(classifier: Any, store: Any, indices: Any, *rest: Any, **more: Any) -> Any:
        scored.update(store.clips[i].path.stem[-2:] for i in indices)
        return real(classifier, store, indices, *rest, **more)

    monkeypatch.setattr(loop, "score", watched)
    swapped = write_table(tmp_path / "swapped.csv", data.parent / "tones", swapped=True)
    other = searched(swapped, tmp_path / "out")
    assert rows_of(other) == rows_of(result)
    assert scored == {"06", "07", "08"}
    kept = {path.name for path in other.out.rglob("*") if path.is_file()}
    assert not kept & {"predictions.csv", "metrics.json"}


def test_one_that_was_stopped_goes_on_where_it_was(whole: tuple[Path, SweepResult], tmp_path: Path) -> None:
    """A real process, killed by Ctrl-C in its second trial; the trials are those of an unbroken one."""
    data, unbroken = whole
    (tmp_path / "space.toml").write_text("mel.n_mels = [32, 48]\noptimizer.lr = {low = 1e-3, high = 1e-2, log = true}")
    (tmp_path / "r.toml").write_text(to_toml(es.Recipe.named("default", QUICK)))
    command = [
        *(sys.executable, "-m", "earsight", "sweep", data, "--space", tmp_path / "space.toml", "-r", "r.toml"),
        *("--split", "column:part", "--accelerator", "cpu", "--threads", "1", "--out", "out"),
    ]
    running = subprocess.Popen(
        [*command, "--trials", "500"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith("trial 1 complete"):
            running.send_signal(signal.SIGINT)
            break
    out, rest = running.communicate()
    assert running.returncode == 130
    assert "stopped; to continue, run the same command with --out out --resume" in rest
    assert "Traceback" not in rest
    begun = out.split(" ", 1)[0]
    assert begun.isdecimal()
    assert (tmp_path / "out" / "best.toml").is_file()
    again = searched(data, tmp_path / "out", resume=True)
    assert len(again.trials) == max(3, int(begun))
    assert rows_of(again)[:3] == rows_of(unbroken)


def test_a_sweep_of_other_settings_is_not_gone_on_with(whole: tuple[Path, SweepResult], tmp_path: Path) -> None:
    data, result = whole
    with pytest.raises(SettingsError, match="is not empty; pass --resume to continue it"):
        searched(data, result.out)
    wanted = (
        "recipe.epochs was 2, is 3; space.optimizer.lr.high was 0.01, is 0.02; splits was column:part, is random:0.3; "
        "parts was [0-9a-f]+, is [0-9a-f]+; space.mel.n_mels was \\[32, 48\\], is missing"
    )
    space = {"optimizer.lr": {"low": 1e-3, "high": 2e-2, "log": True}}
    with pytest.raises(SettingsError, match=wanted):
        searched(data, result.out, resume=True, recipe={"epochs": 3}, split="random:0.3", space=space)
    with pytest.raises(SettingsError, match="precision was 32-true, is bf16-mixed; use the same"):
        searched(data, result.out, resume=True, machine=replace(ONE, precision="bf16-mixed"))
    other = write_table(tmp_path / "other.csv", data.parent / "tones", swapped=True)
    with pytest.raises(SettingsError, match=r"names, labels and groups was [0-9a-f]+, is [0-9a-f]+; use the same"):
        searched(other, result.out, resume=True)


def test_trials_that_were_lost_are_not_written_over(whole: tuple[Path, SweepResult], tmp_path: Path) -> None:
    data, result = whole
    out = shutil.copytree(result.out, tmp_path / "out")
    before = (out / "sweep.csv").read_bytes()
    (out / "trials.db").write_bytes(b"")
    for _ in range(2):  # empty, and gone
        with pytest.raises(SettingsError, match=r"can't resume .*out: trials\.db is missing or empty"):
            searched(data, out, resume=True)
        (out / "trials.db").unlink(missing_ok=True)
    assert (out / "sweep.csv").read_bytes() == before


def test_a_trial_that_fails_is_recorded_and_the_others_go_on(whole: tuple[Path, SweepResult], tmp_path: Path) -> None:
    data, _ = whole
    recipe = {"optimizer": {"name": "sgd", "warmup_epochs": 0.0, "clip_grad_norm": 0.0}}
    space = {"optimizer.lr": [1e-3, 1e30]}
    result = searched(data, tmp_path / "out", recipe=recipe, space=space, trials=6)
    states = {(one.values["optimizer.lr"], one.state) for one in result.trials}
    assert states == {(1e-3, "complete"), (1e30, "failed")}
    reasons = [one.reason for one in result.trials if one.state == "failed"]
    assert all(reason.startswith("the loss or its gradient is NaN or infinite in epoch") for reason in reasons)
    assert reasons[0][:60] in (result.out / "sweep.csv").read_text()
    assert reasons[0][:60] in (result.out / "report.html").read_text()
    complete = [one for one in result.trials if one.state == "complete"]
    assert [one.seconds == 0 for one in complete] == [False, *[True] * (len(complete) - 1)]  # the same is known
    assert len({one.value for one in complete}) == 1


def test_trials_that_all_fail_alike_end_a_sweep(whole: tuple[Path, SweepResult], tmp_path: Path) -> None:
    data, _ = whole
    (tmp_path / "no.pth").write_text("no weights")
    recipe = {"network": {**QUICK["network"], "pretrained": True, "weights": str(tmp_path / "no.pth")}}  # type: ignore[dict-item]
    with pytest.raises(TrainingError, match=r"all 3 trials failed for the same reason: .*no\.pth"):
        searched(data, tmp_path / "out", recipe=recipe, trials=9)


def test_several_splits_count_with_their_mean_and_shared_clips_are_told(tones: Path, tmp_path: Path) -> None:
    splits = ["group:3:0", "group:3:1"]
    result = searched(tones, tmp_path / "out", split=splits, group_pattern=r"(\d)\.wav$", trials=1)
    values = []
    for number in range(2):
        with (result.out / "trials" / "0001" / f"split{number}" / "history.csv").open() as file:
            values.append(max(float(row["valid_uar"]) for row in csv.DictReader(file)))
    assert result.trials[0].value == pytest.approx(sum(values) / 2)
    assert "the mean over the splits group:3:0, group:3:1; no test clip was scored" in result.sentence
    assert "test clips of one split are validation clips of another" in result.caveat
    assert result.caveat in (result.out / "best.toml").read_text()


def test_copies_that_are_heard_while_decoding_are_told(whole: tuple[Path, SweepResult], tmp_path: Path) -> None:
    data, _ = whole
    rows = data.read_text().splitlines()
    copy = shutil.copy(next(row for row in rows if row.endswith("low,test")).split(",")[0], tmp_path / "copy.wav")
    leaking = tmp_path / "leaking.csv"
    leaking.write_text("\n".join([*rows, f"{copy},low,train"]) + "\n")
    assert searched(leaking, tmp_path / "out", leaks="allow", trials=1).caveat == "with leaks"
    again = searched(leaking, tmp_path / "out", leaks="allow", trials=1, resume=True)  # nothing is left to train
    assert again.caveat == "with leaks"
    assert "with leaks" in (again.out / "best.toml").read_text()


def test_clips_of_several_labels_are_searched_by_their_map(tones: Path, tmp_path: Path) -> None:
    result = searched(tones, tmp_path / "out", split="random:0.3", recipe={"task": "multilabel"}, trials=1)
    with (result.out / "trials" / "0001" / "split0" / "history.csv").open() as file:
        assert result.trials[0].value == pytest.approx(max(float(row["valid_map"]) for row in csv.DictReader(file)))
    assert "Validation mAP of the kept epoch" in result.sentence
    assert "best validation mAP" in (result.out / "report.html").read_text()


def test_a_pruned_trial_ends_before_its_last_epoch_and_its_later_splits(tones: Path, tmp_path: Path) -> None:
    """After five that nothing can reach."""
    splits = ["random:0.2", "random:0.25"]
    searched(tones, tmp_path / "out", split=splits, trials=1)
    study = Study(tmp_path / "out" / "trials.db", to_space(SPACE), 0, pruned_from_epoch=0)
    for _ in range(5):
        asked = study.ask()
        study.report(asked, 1, 2.0)
        study.tell(asked, "complete", 2.0, 1.0)
    result = searched(tones, tmp_path / "out", split=splits, trials=7, resume=True)
    assert [one.state for one in result.trials] == [*["complete"] * 6, "pruned"]
    with (tmp_path / "out" / "trials" / "0007" / "split0" / "history.csv").open() as file:
        (epoch,) = csv.DictReader(file)
    assert result.trials[6].value == pytest.approx(float(epoch["valid_uar"]))
    assert not (tmp_path / "out" / "trials" / "0007" / "split1").exists()
    assert "6 complete, 1 pruned" in result.sentence
    with pytest.raises(SettingsError, match="prune was True, is False"):
        searched(tones, tmp_path / "out", split=splits, trials=7, resume=True, prune=False)


def test_data_that_cannot_be_trained_on_ends_a_sweep_at_once(whole: tuple[Path, SweepResult], tmp_path: Path) -> None:
    data, _ = whole
    tones = data.parent / "tones"
    copy = tmp_path / "copy.wav"
    copy.write_bytes((tones / "low" / "low00.wav").read_bytes())
    table = tmp_path / "leaking.csv"
    table.write_text(data.read_text() + f"{copy},low,test\n")
    with pytest.raises(DataError, match="identical audio"):
        searched(table, tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "--trials must be 1 or more, got 0"),
        ({"split": "none"}, "--split none has no validation clips"),
        ({"split": ["random:0.2", "random:0.2"]}, "--split random:0.2 is given twice"),
        ({"space": {"network.model": ["resnet18", "rsnet34"]}}, "rsnet34"),
        ({"space": {"mel.n_mels": [2]}}, "mel.n_mels 2"),
        ({"machine": replace(ONE, devices=2)}, "a sweep trains on one device, got 2"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    changes: dict[str, Any], message: str, tones: Path, tmp_path: Path
) -> None:
    with pytest.raises(es.EarsightError) as caught:
        searched(tones, tmp_path / "out", **{"split": "random:0.2", **changes})
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_folders_in_the_space_may_hold_no_clip_that_is_held_out(tones: Path, tmp_path: Path) -> None:
    data = write_table(tmp_path / "clips.csv", tones)
    space = {"augment.background": [str(tones / "low")], "optimizer.lr": [1e-3]}
    with pytest.raises(
        DataError, match=r"augment\.background .*low holds 6 recordings of the validation and test clips"
    ):
        searched(data, tmp_path / "out", space=space)
    assert not (tmp_path / "out").exists()


def test_without_optuna_the_extra_is_named(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"needs optuna, .* run: pip install 'earsight\[sweep\]'"):
        searched(tones, tmp_path / "out")


def test_two_sweeps_in_one_folder_are_refused(whole: tuple[Path, SweepResult]) -> None:
    data, result = whole
    with locked_folder(result.out, "free"), pytest.raises(SettingsError, match="another sweep is running in"):
        searched(data, result.out, resume=True)


def test_a_setting_both_searched_and_given_is_refused_by_the_command(tones: Path, tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text('"network.model" = ["resnet18"]\n"optimizer.lr" = [1e-3]\n')
    command = ["sweep", tones, "--space", tmp_path / "space.toml", "--model", "resnet34", "--optimizer.lr", "1e-2"]
    done = subprocess.run(
        [sys.executable, "-m", "earsight", *map(str, command)], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"earsight: network.model, optimizer.lr: both searched in {tmp_path / 'space.toml'} and given as a flag; drop "
        "one of the two\n"
    )
