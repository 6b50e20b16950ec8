import pytest
import torch

from earsight.tasks.machine.devices import Machine
from earsight.tasks.recipe import Recipe
from earsight.tasks.training import batch_size
from earsight.tasks.training.batch_size import BatchSizes, Trial, find_batch_size
from earsight.terminal import batch_size_lines

RECIPE = Recipe.named("default", {"audio": {"crop_s": 0.5}, "network": {"model": "test_efficientnet"}})
MACHINE = Machine(accelerator="cpu", threads=1)


def test_the_smallest_of_the_fast_ones_is_taken() -> None:
    rates = {8: 50.0, 16: 97.5, 32: 99.0, 64: 100.0}
    sizes = BatchSizes(
        "net", "cpu", "bf16-mixed", True, tuple(Trial(size, rate, 1000.0) for size, rate in rates.items()), "…"
    )
    assert sizes.best == 16
    assert next(batch_size_lines(sizes)) == "net on cpu, bf16-mixed, compiled"
    assert list(batch_size_lines(sizes))[-1].startswith("--batch-size 16 is the smallest within 3 %")


def test_it_doubles_until_nothing_is_won(monkeypatch: pytest.MonkeyPatch) -> None:
    speed = {8: 0.0010, 16: 0.0005, 32: 0.0005, 64: 0.0005, 128: 0.0005}  # seconds a clip
    monkeypatch.setattr(batch_size, "_try", lambda learner, size, advance: Trial(size, 1 / speed[size], 1000.0))
    found = find_batch_size(RECIPE, MACHINE)
    assert [trial.batch_size for trial in found.trials] == [8, 16, 32, 64]
    assert (found.best, found.ended) == (16, "larger batches were no faster")


def test_it_ends_where_memory_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size, "_free_mb", lambda: 700.0)
    monkeypatch.setattr(batch_size, "_try", lambda learner, size, advance: Trial(size, float(size), 100.0 * size / 8))
    found = find_batch_size(RECIPE, MACHINE)
    assert [trial.batch_size for trial in found.trials] == [8, 16, 32, 64]  # 128 would need 800 MB more
    assert found.ended == "128 may not fit in 700 MB of free memory"

    def full(learner: object, size: int, advance: object) -> Trial:
        if size > 16:
            raise torch.cuda.OutOfMemoryError
        return Trial(size, float(size), 100.0)

    monkeypatch.setattr(batch_size, "_try", full)
    found = find_batch_size(RECIPE, MACHINE)
    assert (found.best, found.ended) == (16, "32 does not fit in the GPU's memory")


def test_a_real_step_is_timed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(batch_size, "_LARGEST", 16)
    found = find_batch_size(RECIPE, MACHINE, progress=True)
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("batch ")]
    assert [line.split(":")[0] for line in told] == ["batch 8", "batch 16"]
    assert f"{found.trials[0].clips_per_s:.1f} clips/s" in told[0]
    assert [trial.batch_size for trial in found.trials] == [8, 16]
    assert all(trial.clips_per_s > 0 and trial.memory_mb > 50 for trial in found.trials)
    assert found.to_dict()["best"] == found.best
