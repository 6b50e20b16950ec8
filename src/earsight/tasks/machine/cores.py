"""The number of cores that are free for this process."""

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from earsight.errors import SettingsError
from earsight.plain import pluralise

_FEW = 8  # threads that do no harm on any machine


def check_threads(threads: int | None) -> int | None:
    """``threads`` unchanged. Raises SettingsError where it is below 1, or above ``max_threads``. None stands for a
    number that is chosen later."""
    if threads is not None and threads < 1:
        raise SettingsError(f"--threads must be 1 or more, got {threads}; leave it out to use the idle cores")
    if threads is not None and threads > max_threads():
        raise SettingsError(
            f"--threads {threads} is too many for {pluralise(allowed_cores(), 'core')}; lower it, or leave it out to "
            "use idle ones"
        )
    return threads


def max_threads() -> int:
    """The most threads that make sense: more would only wait for each other."""
    return max(_FEW, allowed_cores())


def allowed_cores() -> int:
    """Cores by CPU affinity and by the cgroup quota (of a container). At least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, math.floor(int(quota) / int(period))))
    except (OSError, ValueError):
        pass  # no control groups here
    return cores


@dataclass(frozen=True)
class LoadSample:
    """CPU seconds until a moment: busy_s of all processes, own_s of this one. wall_s: the moment, of a monotonic
    clock."""

    wall_s: float
    busy_s: float
    own_s: float


def read_load() -> LoadSample | None:
    """A sample of the load, or None where the system has no /proc/stat."""
    try:
        fields = [int(f) for f in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    busy_ticks = sum(fields) - fields[3] - fields[4]  # without idle and iowait
    own = os.times()
    return LoadSample(time.monotonic(), busy_ticks / os.sysconf("SC_CLK_TCK"), own.user + own.system)


def free_cores(since: LoadSample | None) -> int:
    """Allowed cores minus those that other processes kept busy on average since ``since``. At least 1."""
    allowed = allowed_cores()
    now = read_load()
    if since is None or now is None or now.wall_s - since.wall_s < 0.5:
        return allowed
    others = ((now.busy_s - since.busy_s) - (now.own_s - since.own_s)) / (now.wall_s - since.wall_s)
    return max(1, allowed - max(0, round(others)))


def set_torch_threads(threads: int | None) -> None:
    """Of the whole process; None leaves them, and does not import torch."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


@contextmanager
def torch_threads(threads: int | None = None) -> Iterator[None]:
    """Set torch's number of CPU threads inside (None: leave it), and restore it after."""
    import torch

    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(before)
