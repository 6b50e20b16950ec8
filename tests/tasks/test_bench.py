import statistics
import subprocess
import sys
from collections.abc import Iterator

import pytest

from earsight.errors import ModelError, SettingsError
from earsight.tasks import bench as measuring
from earsight.tasks.bench import bench, in_turns
from earsight.tasks.machine.devices import Machine
from earsight.tasks.recipe import Recipe
from earsight.terminal import bench_lines

ONE = Machine(accelerator="cpu", threads=1)
TINY = {"batch_size": 4, "audio": {"crop_s": 0.5}, "network": {"model": "test_efficientnet"}}


def test_every_round_is_counted_and_the_stages_are_named() -> None:
    done = bench(Recipe.named("default", TINY), clips=10, rounds=2, machine=ONE)
    assert (done.model, done.device, done.threads, done.batch_size) == ("test_efficientnet", "cpu", 1, 4)
    assert done.image == (1, 128, 51)
    assert (len(done.network), len(done.epoch)) == (2, 2)
    assert done.ratios == [done.epoch[0] / done.network[0], done.epoch[1] / done.network[1]]
    assert done.ratio == statistics.median(done.ratios)
    assert list(done.stages) == ["crops", "mel image", "augmentation", "network"]
    assert all(seconds > 0 for seconds in done.stages.values())
    lines = list(bench_lines(done))
    assert lines[0] == "test_efficientnet on cpu, 1 threads, 32-true, batch 4, image 1×128×51, 10 clips, 2 rounds"
    low, high = sorted(done.ratios)
    assert f"epoch / network: {done.ratio:.3f} ({low:.3f}–{high:.3f})" in lines
    told = done.to_dict()
    assert (told["ratio"], told["precision"], told["compiled"]) == (done.ratio, "32-true", False)


def test_two_ways_take_turns_step_by_step_and_each_pays_for_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = [0.0], []
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: clock[0])

    def steps(name: str, seconds: list[float], at_the_end: float) -> Iterator[str]:
        for each in seconds:
            clock[0] += each
            order.append(name)
            yield name
        clock[0] += at_the_end

    assert in_turns(steps("a", [1.0, 2.0, 4.0], 0.5), steps("b", [10.0, 20.0, 30.0, 40.0], 5.0)) == (7.5, 105.0)
    assert order == ["a", "b", "b", "a", "a", "b", "b"]


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ModelError, match="did you mean"):
        bench(Recipe.named("default", {"network": {"model": "efficientnet_bo"}}))
    with pytest.raises(SettingsError, match="--threads must be 1 or more"):
        bench(Recipe.named("default", TINY), machine=Machine(threads=0))


def test_fabric_writes_no_notes_of_its_own() -> None:
    code = "from earsight.tasks.machine.devices import Machine; Machine('cpu', precision='bf16-mixed').fabric()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
