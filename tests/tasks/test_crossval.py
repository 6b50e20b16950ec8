"""Real trainings of a tiny network: what is finished stays, what was stopped goes on, what failed is named."""

import json
import os
import queue
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import earsight as es
from earsight.errors import DataError, SettingsError, SplitError, TrainingError
from earsight.scores import intervals
from earsight.scores.calibration import reliability
from earsight.scores.compare import compare as compare_runs
from earsight.scores.predictions import Predictions, concatenated, read_csv
from earsight.tasks import crossval as module
from earsight.tasks import train as training
from earsight.tasks.compare import compare
from earsight.tasks.crossval import CrossResult, _Fold, _take_gpu, _train, crossval
from earsight.tasks.machine.devices import Machine
from tests.pages import CHROMIUM, faults

QUICK = {
    "epochs": 1,
    "batch_size": 8,
    "audio": {"crop_s": 0.4},
    "mel": {"n_mels": 32},
    "network": {"model": "test_efficientnet", "pretrained": False},
}
ONE = Machine(accelerator="cpu", threads=1)


def cross(tones: Path, out: Path, **changes: Any) -> CrossResult:
    settings: dict[str, Any] = {"folds": "group:3", "group_pattern": r"(\d)\.wav$", "store": False, "machine": ONE}
    recipe = es.Recipe.named("default", {**QUICK, **changes.pop("recipe", {})})
    return crossval(tones, out=out, recipe=recipe, **{**settings, **changes})


def same(one: Predictions, two: Predictions) -> bool:
    return one.paths == two.paths and np.array_equal(one.probabilities, two.probabilities)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CrossResult]:
    from tests.conftest import write_tones

    root = tmp_path_factory.mktemp("crossval")
    write_tones(root / "tones")
    return root / "tones", cross(root / "tones", root / "out")


def test_every_clip_is_scored_once_by_strangers(whole: tuple[Path, CrossResult]) -> None:
    tones, result = whole
    assert result.scores is not None
    (run,) = result.scores.runs
    assert sorted(run.paths) == sorted(map(str, tones.rglob("*.wav")))
    assert result.sentence.startswith("3 folds, 1 seed: each of 10 groups scored once by a network that never heard")
    for number in range(3):
        folder = result.out / f"seed0-fold{number}"
        tested = read_csv(folder / "predictions.csv")
        heard = json.loads((folder / "model.json").read_text())["data"]["trained_groups"]
        assert not set(tested.groups) & set(heard)
    assert same(run, read_csv(result.out / "predictions-seed0.csv"))
    told = json.loads((result.out / "metrics.json").read_text())
    assert told["clips"] == 24
    assert told["accuracy"]["mean"] == np.mean(run.predicted == run.truth)
    alike = len({one.accuracy for one in result.scores.groups}) == 1  # then they tell nothing of others
    assert [told["accuracy"][edge] is None for edge in ("low95", "high95")] == [alike, alike]
    page = (result.out / "report.html").read_text()
    assert page.count("<audio") == len(run.mistakes(12))
    sure = [told[name]["low95"] for name in ("accuracy", "uar", "macro_f1") if told[name]["low95"] is not None]
    assert page.count("95 % interval:") == len(sure) + len(told["ranking95"])
    assert not CHROMIUM or faults(result.out / "report.html") == []


def test_the_same_clips_by_a_relative_path_are_compared_and_heard(
    whole: tuple[Path, CrossResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tones, absolute = whole
    monkeypatch.chdir(tones.parent)
    result = cross(Path("tones"), tmp_path / "out")
    assert result.scores is not None
    assert compare(absolute.out, result.out).clips == 24
    mistakes = result.scores.runs[0].mistakes(12)
    assert mistakes
    assert (result.out / "report.html").read_text().count("<audio") == len(mistakes)


def test_a_stopped_one_goes_on_where_it_was(
    whole: tuple[Path, CrossResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tones, undisturbed = whole
    real, done = training.run_plan, []

    def stopping(plan: Any, *rest: Any, **more: Any) -> Any:
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(plan.run.name)
        return real(plan, *rest, **more)

    monkeypatch.setattr(training, "run_plan", stopping)
    stopped = cross(tones, tmp_path / "out")
    assert (stopped.interrupted, stopped.scores, done) == (True, None, ["seed0-fold0"])
    with pytest.raises(SettingsError, match="is not empty; pass --resume"):
        cross(tones, tmp_path / "out")
    with pytest.raises(SettingsError, match=r"folds was group:3:0, .* is group:4:0, .*; recipe\.epochs was 1, is 2"):
        cross(tones, tmp_path / "out", resume=True, recipe={"epochs": 2}, folds="group:4")
    monkeypatch.setattr(
        training, "run_plan", lambda plan, *a, **k: (done.append(plan.run.name), real(plan, *a, **k))[1]
    )
    result = cross(tones, tmp_path / "out", resume=True)
    assert done == ["seed0-fold0", "seed0-fold1", "seed0-fold2"]
    assert result.scores is not None
    assert undisturbed.scores is not None
    assert same(result.scores.runs[0], undisturbed.scores.runs[0])


def test_seeds_are_scored_apart_and_told_together(whole: tuple[Path, CrossResult], tmp_path: Path) -> None:
    """The second seed is the first one, with the answers to some clips turned around: nothing is trained."""
    tones, first = whole
    shutil.copytree(first.out, tmp_path / "out")
    for number in range(3):
        run = shutil.copytree(tmp_path / "out" / f"seed0-fold{number}", tmp_path / "out" / f"seed1-fold{number}")
        answers = read_csv(run / "predictions.csv")
        turned = answers.probabilities.copy()
        turned[0] = turned[0, ::-1]
        replace(answers, probabilities=turned).write_csv(run / "predictions.csv")
    result = cross(tones, tmp_path / "out", seeds=2, resume=True)
    assert result.scores is not None
    assert "3 folds, 2 seeds: " in result.sentence
    assert "Folds: group:3, divided anew for each seed." in result.sentence
    one, two = (read_csv(result.out / f"predictions-seed{seed}.csv") for seed in range(2))
    assert same(one, first.scores.runs[0] if first.scores else one)
    assert int((one.predicted != two.predicted).sum()) == 3
    told = json.loads((result.out / "metrics.json").read_text())
    of_seeds = [float(np.mean(run.predicted == run.truth)) for run in (one, two)]
    assert told["accuracy"]["mean"] == pytest.approx(np.mean(of_seeds))
    assert told["accuracy"]["sd_over_seeds"] == pytest.approx(np.std(of_seeds, ddof=1))
    assert told["calibration"]["ece"] == pytest.approx(reliability(concatenated([one, two])).error)
    with pytest.raises(SettingsError, match="begun with seed 1 too; pass --seeds 2 to go on with it"):
        cross(tones, tmp_path / "out", resume=True)
    assert json.loads((result.out / "metrics.json").read_text()) == told


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        *(
            ("metrics.json", text, r"metrics\.json or model\.json in .*seed0-fold1 is damaged; remove that folder")
            for text in ("", "{", "{}", "[1]", '{"calibration": {}}')
        ),
        ("predictions.csv", 3, r"seed0-fold1/predictions\.csv has 2 of \d+ test clips; remove that folder"),
        (
            "model.json",
            "b" * 32,
            r"seed0-fold0 and seed0-fold1 of .* trained on other recordings \(data .*bbbbbbbb",
        ),
    ],
)
def test_a_finished_fold_that_was_changed_is_seen_before_anything_is_trained(
    whole: tuple[Path, CrossResult], tmp_path: Path, name: str, text: str | int, message: str
) -> None:
    tones, first = whole
    out = shutil.copytree(first.out, tmp_path / "out")
    shutil.rmtree(out / "seed0-fold2")
    file = out / "seed0-fold1" / name
    if name == "model.json":
        described = json.loads(file.read_text())
        described["data"]["fingerprint"] = text
        text = json.dumps(described)
    elif isinstance(text, int):
        text = "".join(file.read_text().splitlines(keepends=True)[:text])
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        cross(tones, out, resume=True)
    assert not (out / "seed0-fold2").exists()


@pytest.mark.parametrize(("folds", "anew"), [("loso", ""), ("group:3", ", divided anew for each seed")])
def test_only_folds_of_other_test_clips_are_said_to_be_divided_anew(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: str, anew: str
) -> None:
    """Validation groups are others with each seed in both."""

    def stopping(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "run_plan", stopping)
    assert cross(tones, tmp_path / "out", folds=folds, seeds=2).sentence.endswith(f"Folds: {folds}{anew}.")


def test_copies_that_are_heard_while_decoding_are_told_beside_all_folds(tones: Path, tmp_path: Path) -> None:
    shutil.copy(tones / "low" / "low00.wav", tones / "low" / "copy01.wav")  # of group 0, under a name of group 1
    result = cross(tones, tmp_path / "out", leaks="allow")
    assert result.scores is not None
    assert result.caveat == "with leaks"
    assert "never heard" not in result.sentence
    told = json.loads((result.out / "metrics.json").read_text())
    assert (told["caveat"], told["sentence"]) == ("with leaks", result.sentence)
    assert "with leaks" in (result.out / "report.html").read_text()


def test_it_goes_on_with_the_same_speakers_only(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopping(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "run_plan", stopping)
    assert cross(tones, tmp_path / "out").interrupted
    with pytest.raises(SettingsError, match="names, labels and groups was "):
        cross(tones, tmp_path / "out", resume=True, group_pattern=r"(\d\d)\.wav$")
    with pytest.raises(SettingsError, match="leaks was refuse, is allow"):
        cross(tones, tmp_path / "out", resume=True, leaks="allow")
    about = json.loads((tmp_path / "out" / "crossval.json").read_text())
    del about["recipe"]["refit"]  # as a version wrote it that had no such setting
    (tmp_path / "out" / "crossval.json").write_text(json.dumps(about))
    assert cross(tones, tmp_path / "out", resume=True).interrupted
    with pytest.raises(SettingsError, match="refit was False, is True"):
        cross(tones, tmp_path / "out", resume=True, recipe={"refit": True})


def test_it_goes_on_with_the_same_parts_and_precision_only(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopping(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    def folds_of(size: int) -> Path:
        rows = [f"{path},{path.parent.name},{n // size % 3}" for n, path in enumerate(sorted(tones.rglob("*.wav")))]
        (tmp_path / "clips.csv").write_text("\n".join(["path,label,fifth", *rows]) + "\n")
        return tmp_path / "clips.csv"

    monkeypatch.setattr(training, "run_plan", stopping)
    settings = {"folds": "column:fifth", "group_pattern": None}
    assert cross(folds_of(1), tmp_path / "out", **settings).interrupted
    with pytest.raises(SettingsError, match=r"parts was [0-9a-f]+, is [0-9a-f]+; use the same"):
        cross(folds_of(2), tmp_path / "out", resume=True, **settings)
    half = replace(ONE, precision="bf16-mixed")
    with pytest.raises(SettingsError, match="precision was 32-true, is bf16-mixed"):
        cross(folds_of(1), tmp_path / "out", resume=True, **{**settings, "machine": half})


def test_it_goes_on_with_the_same_pipeline_only(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopping(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    place = tmp_path / "pipeline.toml"
    monkeypatch.setattr(training, "run_plan", stopping)
    changes = {"recipe": {"augment": {"pipeline": str(place)}}}
    place.write_text('[[transforms]]\ntransform = "Reverse"\n')
    assert cross(tones, tmp_path / "out", **changes).interrupted
    assert cross(tones, tmp_path / "out", resume=True, **changes).interrupted
    place.write_text('[[transforms]]\ntransform = "PolarityInversion"\n')
    with pytest.raises(SettingsError, match=r"pipeline was .*Reverse.*, is .*PolarityInversion.*; use the same"):
        cross(tones, tmp_path / "out", resume=True, **changes)


def test_spans_of_one_file_are_scored_and_compared_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "FEWEST_GROUPS", 5)
    rng = np.random.default_rng(0)
    rows = ["path,label,group,start,end"]
    for number in range(4):
        hz = np.repeat([300.0, 3000.0, 300.0, 3000.0], 8000)
        sound = np.sin(2 * np.pi * np.cumsum(hz) / 16000) + 0.01 * rng.standard_normal(32000)
        soundfile.write(tmp_path / f"{number}.wav", 0.4 * sound, 16000)
        rows += [f"{number}.wav,{'low' if n % 2 == 0 else 'high'},g{number},{n / 2},{n / 2 + 0.5}" for n in range(4)]
    (tmp_path / "spans.csv").write_text("\n".join(rows) + "\n")
    result = cross(tmp_path / "spans.csv", tmp_path / "out", folds="group:4", group_pattern=None)
    assert result.scores is not None
    (run,) = result.scores.runs
    assert len(set(run.paths)) == 16
    assert f"{tmp_path / '2.wav'} [0.5–1 s]" in run.paths
    assert compare_runs([run], [run]).clips == 16
    page = (result.out / "report.html").read_text()
    assert page.count("<audio") == len(run.mistakes(12))
    assert "there are no intervals: 4 groups are too few, or all are answered alike" in page
    assert "95 %" not in page


def test_two_at_once_are_the_same_as_one_by_one(whole: tuple[Path, CrossResult], tmp_path: Path) -> None:
    tones, one_by_one = whole
    result = cross(tones, tmp_path / "out", jobs=2)
    assert result.scores is not None
    assert one_by_one.scores is not None
    assert same(result.scores.runs[0], one_by_one.scores.runs[0])


class _Deadly:
    """A plan that ends the process that receives it, as the kernel does where memory ends."""

    run = Path("nowhere")

    def __reduce__(self) -> Any:
        return _killed, ()


def _killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _folds(count: int, plan: Any) -> list[_Fold]:
    return [_Fold(plan, ONE, f"fold {number}", 0) for number in range(count)]


def test_a_process_that_is_killed_is_told_in_one_line() -> None:
    found = list(_train(_folds(4, _Deadly()), 2, False))
    assert sorted(fold.name for fold, _ in found) == [f"fold {number}" for number in range(4)]
    assert {reason for _, reason in found} == {
        "a process was killed, perhaps for lack of memory; lower --jobs, and pass --resume"
    }


def test_after_an_interrupt_no_other_fold_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """With threads in the place of processes."""
    begun = []

    def interrupted(fold: _Fold, progress: bool = False) -> str:
        begun.append(fold.name)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_train_one", interrupted)
    monkeypatch.setattr(module, "ProcessPoolExecutor", lambda jobs, *_, **__: ThreadPoolExecutor(jobs))
    with pytest.raises(KeyboardInterrupt):
        list(_train(_folds(6, _Deadly()), 2, False))
    assert begun == ["fold 0", "fold 1"]


def test_a_fold_that_fails_does_not_end_the_others(
    whole: tuple[Path, CrossResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tones, _ = whole
    real = training.run_plan

    def failing(plan: Any, *rest: Any, **more: Any) -> Any:
        if plan.run.name == "seed0-fold1":
            raise TrainingError("the loss is no longer a number")
        if plan.run.name == "seed0-fold0":
            raise RuntimeError("CUDA out of memory.\nTried to allocate 20 MiB")  # as torch says it
        return real(plan, *rest, **more)

    monkeypatch.setattr(training, "run_plan", failing)
    result = cross(tones, tmp_path / "out")
    assert result.scores is None
    assert result.failures == {
        "group:3:0, seed 0": "CUDA out of memory. Tried to allocate 20 MiB",
        "group:3:1, seed 0": "the loss is no longer a number",
    }
    assert (result.out / "seed0-fold2" / "metrics.json").is_file()


def test_what_cannot_be_is_refused_before_anything_is_trained(tones: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--seeds must be from 1 to 1000, got 0"):
        cross(tones, tmp_path / "out", seeds=0)
    with pytest.raises(SettingsError, match="--jobs must be from 1 to 1000, got 100000000000"):
        cross(tones, tmp_path / "out", jobs=10**11)
    with pytest.raises(SettingsError, match="2 seeds from 4294967295 on exceed 4294967295; lower --seed"):
        cross(tones, tmp_path / "out", seeds=2, recipe={"seed": 2**32 - 1})
    with pytest.raises(SplitError, match="unknown folds 'luna'"):
        cross(tones, tmp_path / "out", folds="luna")
    with pytest.raises(SplitError, match="RAVDESS's actors; not in this data"):
        cross(tones, tmp_path / "out", folds="luna5")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(SettingsError, match="is not empty, but holds no cross-validation"):
        cross(tones, tmp_path / "full")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("given", "taken"), [("2,3", ["2", "3", "2"]), (None, ["0", "1", "0"])])
def test_each_process_takes_one_of_the_gpus_that_it_may_use(
    monkeypatch: pytest.MonkeyPatch, given: str | None, taken: list[str]
) -> None:
    """Mocked: torch's count, on a machine without two GPUs."""
    found = []
    for number in range(3):
        monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if given is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        numbers: queue.Queue[int] = queue.Queue()
        numbers.put(number)
        _take_gpu(numbers)
        found.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert found == taken


def test_names_that_are_not_utf8_are_scored_as_any_other(tones: Path, tmp_path: Path) -> None:
    (tones / "low").rename(tones / os.fsdecode(b"l\xf6w"))
    settings: dict[str, Any] = {"recipe": {"epochs": 1}, "folds": "group:2"}
    result = cross(tones, tmp_path / "out", **settings)
    assert result.scores is not None, result.failures
    assert sum(row.support for row in result.scores.every_answer.per_class) == 24
    assert cross(tones, tmp_path / "out", **settings, resume=True).scores is not None
