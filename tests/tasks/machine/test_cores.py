import os
import subprocess
import sys
import time

import pytest

from earsight.tasks.machine import cores
from earsight.tasks.machine.cores import LoadSample, allowed_cores, free_cores, read_load


def test_affinity_is_followed() -> None:
    one = min(os.sched_getaffinity(0))
    code = "from earsight.tasks.machine.cores import allowed_cores; print(allowed_cores())"
    pinned = f"import os; os.sched_setaffinity(0, {{{one}}})\n{code}"
    done = subprocess.run([sys.executable, "-c", pinned], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("busy_s", "own_s", "free"),
    [(0, 0, 8), (10, 10, 8), (40, 10, 5), (74, 0, 1), (99, 0, 1), (24, 30, 8)],
)
def test_what_others_keep_busy_is_taken_off(
    monkeypatch: pytest.MonkeyPatch, busy_s: float, own_s: float, free: int
) -> None:
    """Ten seconds in which all programs used busy_s and this one own_s, on eight cores."""
    monkeypatch.setattr(cores, "allowed_cores", lambda: 8)
    monkeypatch.setattr(cores, "read_load", lambda: LoadSample(10, 100 + busy_s, 5 + own_s))
    assert free_cores(LoadSample(0, 100, 5)) == free


def test_without_a_reading_all_allowed_cores_count() -> None:
    assert free_cores(None) == allowed_cores()
    assert free_cores(read_load()) == allowed_cores()  # too short a time to tell


def test_a_busy_process_shows_in_the_reading() -> None:
    before = read_load()
    until_s = time.process_time() + 0.3
    while time.process_time() < until_s:
        pass
    after = read_load()
    assert before is not None
    assert after is not None
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    assert after.own_s - before.own_s >= 0.3 - 2 * tick_s
    assert after.busy_s - before.busy_s >= 0.3 - 4 * tick_s
