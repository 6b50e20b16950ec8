"""find_batch_size: speed and memory of training steps by batch size, until larger ones don't pay."""

import gc
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from earsight import extras
from earsight.network.names import check_model_name
from earsight.tasks.bench import peak_memory_mb, timed, untrained_learner
from earsight.tasks.machine.cores import free_cores, read_load
from earsight.tasks.machine.devices import Machine
from earsight.tasks.machine.memory import keep_freed_memory
from earsight.tasks.progress import Progress
from earsight.tasks.recipe import Recipe

_SMALLEST, _LARGEST = 8, 4096
_STEPS = 4
_NEAR = 0.97


@dataclass(frozen=True)
class Trial:
    """clips_per_s: of forward, backward and optimizer on ready images. memory_mb: peak until then, of the GPU or of
    this process."""

    batch_size: int
    clips_per_s: float
    memory_mb: float


@dataclass(frozen=True)
class BatchSizes:
    """best: the smallest batch size that reaches 0.97 of the fastest. ended: why no larger one was tried."""

    model: str
    device: str
    precision: str
    compiled: bool
    trials: tuple[Trial, ...]
    ended: str

    @property
    def best(self) -> int:
        fastest = max(trial.clips_per_s for trial in self.trials)
        return min(trial.batch_size for trial in self.trials if trial.clips_per_s >= _NEAR * fastest)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "best": self.best}


def find_batch_size(recipe: Recipe, machine: Machine, *, progress: bool = False) -> BatchSizes:
    """Try 8, 16, 32 … on images of noise. Ends where memory does, or where two doublings brought nothing. Raises
    EarsightError."""
    extras.check("torch", "timm", "lightning_fabric", "safetensors")
    check_model_name(recipe.network.model)
    before = read_load()
    machine.check()
    keep_freed_memory()
    import torch

    torch.set_num_threads(machine.threads or free_cores(before))
    torch.manual_seed(recipe.seed)
    learner = untrained_learner(recipe, machine)
    learner.classifier.train()
    device = learner.fabric.device
    trials: list[Trial] = []
    ended = f"{_LARGEST} is the largest batch size that is tried"
    with Progress(shown=progress) as shown:
        for size in _sizes():
            if trials and (reason := _too_large(trials, device)):
                ended = reason
                break
            shown.start(f"batch {size}", _STEPS + 1)
            try:
                trials.append(_try(learner, size, lambda done: shown.advance(done, _STEPS + 1)))
            except torch.cuda.OutOfMemoryError:
                gc.collect()
                torch.cuda.empty_cache()
                ended = f"{size} does not fit in the GPU's memory"
                break
            shown.say(f"batch {size}: {trials[-1].clips_per_s:.1f} clips/s, {trials[-1].memory_mb:,.0f} MB")
            if len(trials) > 2 and max(t.clips_per_s for t in trials[-2:]) < 1.02 * trials[-3].clips_per_s:
                ended = "larger batches were no faster"
                break
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    return BatchSizes(recipe.network.model, name, machine.precision, machine.compiled, tuple(trials), ended)


def _sizes() -> Iterator[int]:
    size = _SMALLEST
    while size <= _LARGEST:
        yield size
        size *= 2


def _try(learner: Any, size: int, advance: Callable[[int], object]) -> Trial:
    import torch

    device, audio = learner.fabric.device, learner.recipe.audio
    with torch.no_grad():
        noise = torch.rand(size, audio.channels, audio.crop_samples, device=device) - 0.5
        images = learner.classifier.image(noise)
    targets = torch.eye(2, device=device)[torch.arange(size, device=device) % 2]
    seconds = []
    for number in range(_STEPS + 1):
        seconds.append(timed(lambda: learner.step(images, targets), device.type))
        advance(number + 1)
    return Trial(size, size / statistics.median(seconds[1:]), peak_memory_mb(device))  # the first warms up


def _too_large(trials: list[Trial], device: Any) -> str | None:
    """Why twice the batch may be too large; None where it may fit, or on a GPU, which raises an error instead of
    killing."""
    free = _free_mb()
    if device.type == "cuda" or free is None:
        return None
    growth = trials[-1].memory_mb - (trials[-2].memory_mb if len(trials) > 1 else 0)
    return f"{2 * trials[-1].batch_size} may not fit in {free:,.0f} MB of free memory" if 2 * growth > free else None


def _free_mb() -> float | None:
    """Free memory by the system and the cgroup; None where they don't say."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(next(int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable")))
        group = Path("/sys/fs/cgroup")
        limit, used = (group / "memory.max").read_text(), (group / "memory.current").read_text()
        found.append((int(limit) - int(used)) / 2**20)
    except (OSError, ValueError, StopIteration):
        pass  # no limit, or not this system
    return min(found, default=None)
