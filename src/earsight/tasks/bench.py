"""bench: the time of a training epoch relative to the network alone, on this machine."""

import resource
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from earsight import extras
from earsight.dataset.clip import Clip
from earsight.dataset.store import Store, build_store
from earsight.network.names import check_model_name
from earsight.tasks.machine.cores import free_cores, read_load
from earsight.tasks.machine.devices import Machine
from earsight.tasks.machine.memory import keep_freed_memory
from earsight.tasks.progress import Progress
from earsight.tasks.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from earsight.audio.decode import Samples
    from earsight.dataset.loader import Ints
    from earsight.tasks.training.learner import Learner
    from earsight.tasks.training.loop import Step

_CPU = Machine(accelerator="cpu")
_REST_S = 0.1  # threads of the last way (OpenBLAS) spin for a while and would slow down the next


@dataclass(frozen=True)
class Bench:
    """network: clips/s of each round of forward, backward and optimizer on ready images, the upper limit. epoch:
    clips/s of each round of a whole epoch of the same clips in the same batches. stages: seconds of an epoch in each
    stage. peak_memory_mb: of the GPU where one is used, else of this process."""

    model: str
    device: str
    precision: str
    compiled: bool
    threads: int
    clips: int
    batch_size: int
    image: tuple[int, ...]
    network: tuple[float, ...]
    epoch: tuple[float, ...]
    stages: dict[str, float]
    peak_memory_mb: float

    @property
    def ratios(self) -> list[float]:
        """Of each round; 1 for an epoch as fast as the network alone."""
        return ratios(self.epoch, self.network)

    @property
    def ratio(self) -> float:
        """The median over rounds, since both values of a round have the same machine noise."""
        return statistics.median(self.ratios)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "ratios": self.ratios}


def bench(
    recipe: Recipe, *, clips: int = 128, rounds: int = 5, machine: Machine = _CPU, progress: bool = False
) -> Bench:
    """Measure on clips of noise with random weights; neither matters for speed."""
    extras.check("torch", "timm", "lightning_fabric", "safetensors")
    check_model_name(recipe.network.model)
    before = read_load()
    machine.check()
    keep_freed_memory()
    import torch

    cores = machine.threads or free_cores(before)
    torch.set_num_threads(cores)
    with Progress(shown=progress) as shown, tempfile.TemporaryDirectory() as folder:
        subject = Subject.of(recipe, machine, clips, Path(folder))
        shown.start("measuring", rounds + 1)
        found = against_network(subject, rounds, advance=lambda done: shown.advance(done, rounds + 1))
        stages = stage_seconds(subject)
    return Bench(
        model=recipe.network.model,
        device=torch.cuda.get_device_name() if subject.device.type == "cuda" else subject.device.type,
        precision=machine.precision,
        compiled=machine.compiled,
        threads=cores,
        clips=clips,
        batch_size=recipe.batch_size,
        image=tuple(subject.ready[0][0].shape[1:]),
        network=tuple(clips / seconds for seconds in found["network"]),
        epoch=tuple(clips / seconds for seconds in found["epoch"]),
        stages=stages,
        peak_memory_mb=peak_memory_mb(subject.device),
    )


@dataclass
class Subject:
    """A network to measure. store: its clips. ready: (images, targets) of each batch, on the device."""

    learner: "Learner"
    store: Store
    batches: "list[tuple[Ints, Samples]]"
    ready: "list[tuple[Tensor, Tensor]]"
    epochs: int = 0

    @classmethod
    def of(cls, recipe: Recipe, machine: Machine, clips: int, folder: Path) -> Self:
        import numpy as np
        import torch

        from earsight.dataset.loader import training_batches

        store = write_noise(folder, recipe, clips)
        learner = untrained_learner(recipe, machine)
        classifier, device = learner.classifier, learner.fabric.device
        batches = list(training_batches(store, range(clips), recipe.batch_size, np.random.default_rng(0)))
        ready = []
        for indices, crops in batches:
            with torch.no_grad():
                image = classifier.image(torch.from_numpy(crops).to(device))
            ready.append((image, torch.eye(2, device=device)[torch.from_numpy(indices % 2)]))
        return cls(learner, store, batches, ready)

    @property
    def device(self) -> "torch.device":
        return self.learner.fabric.device

    def network_alone(self) -> Iterator[None]:
        """Forward, backward and optimizer on every ready batch, step by step."""
        self.learner.classifier.train()
        for images, targets in self.ready:
            float(self.learner.step(images, targets)[1])
            yield

    def epoch(self) -> "Iterator[Step]":
        """Every clip once, as in training, step by step."""
        from earsight.tasks.training.loop import train_epoch

        self.epochs += 1
        rates = iter([self.learner.recipe.optimizer.lr] * len(self.ready))
        return train_epoch(self.learner, self.store, range(len(self.store.clips)), rates, self.epochs)


def untrained_learner(recipe: Recipe, machine: Machine) -> "Learner":
    """Of two classes, with random weights."""
    from earsight.network.classifier import Classifier
    from earsight.network.compatibility import ensure_trainable
    from earsight.tasks.training.learner import Learner

    network = recipe.network.model_copy(update={"pretrained": False, "weights": None})
    classifier = Classifier(("a", "b"), recipe.audio, recipe.mel, network)
    ensure_trainable(classifier)
    return Learner.of(machine.fabric(), classifier, recipe, compiled=machine.compiled)


def against_network(
    subject: Subject,
    rounds: int,
    others: Mapping[str, Callable[[], object]] | None = None,
    advance: Callable[[int], object] | None = None,
) -> dict[str, list[float]]:
    """Seconds of each round of the network alone ("network"), of our epoch ("epoch"), and of the others.

    On a CPU, steps of both alternate: the speed of shared cores changes by a tenth from second to second, which hardly
    affects neighbouring steps. On a GPU, one runs after the other, since batches are prepared during the steps before.
    """
    device, others = subject.device.type, others or {}
    if device != "cpu":
        ways = {"network": lambda: deque(subject.network_alone(), 0), "epoch": lambda: deque(subject.epoch(), 0)}
        return interleaved({**ways, **others}, rounds, device, advance)
    pairs: list[tuple[float, float]] = []

    def both() -> None:
        pairs.append(in_turns(subject.network_alone(), subject.epoch()))

    found = interleaved({"both": both, **others}, rounds, device, advance)
    del found["both"]
    counted = pairs[-rounds:]
    return {"network": [pair[0] for pair in counted], "epoch": [pair[1] for pair in counted], **found}


def in_turns(one: Iterator[object], other: Iterator[object]) -> tuple[float, float]:
    """Total seconds of each, with alternating steps and alternating order."""
    ended = object()
    spent, going, turn = [0.0, 0.0], {0: one, 1: other}, 0
    while going:
        for side in sorted(going, reverse=turn % 2 == 1):
            began = time.perf_counter()
            step = next(going[side], ended)
            spent[side] += time.perf_counter() - began
            if step is ended:
                del going[side]
        turn += 1
    return spent[0], spent[1]


def interleaved(
    ways: Mapping[str, Callable[[], object]], rounds: int, device: str, advance: Callable[[int], object] | None = None
) -> dict[str, list[float]]:
    """Seconds of each way in each round, in alternating order, after a warm-up round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in list(ways.items())[:: -1 if number % 2 else 1]:
            time.sleep(_REST_S)
            took = timed(way, device)
            if number:
                seconds[name].append(took)
        if advance:
            advance(number + 1)
    return seconds


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """``above / below``, round by round."""
    return [one / other for one, other in zip(above, below, strict=True)]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Median (min–max)."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def write_noise(folder: Path, recipe: Recipe, clips: int) -> Store:
    """A store of clips of noise, a third longer than the crop."""
    import numpy as np
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    rng, audio = np.random.default_rng(1), recipe.audio
    samples = round(1.3 * audio.crop_samples)
    listed = []
    for number in range(clips):
        path = folder / f"{number}.wav"
        soundfile.write(path, rng.uniform(-0.5, 0.5, (samples, audio.channels)), audio.rate_hz)
        listed.append(Clip(path, "ab"[number % 2]))
    return build_store(listed, audio, folder=folder / "store")


def peak_memory_mb(device: "torch.device") -> float:
    """Peak memory until now, of the GPU or of this process."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def timed(way: Callable[[], object], device: str) -> float:
    """Seconds until the device has finished."""
    import torch

    began = time.perf_counter()
    way()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def stage_seconds(subject: Subject) -> dict[str, float]:
    """Seconds of one epoch in each stage."""
    import numpy as np
    import torch

    from earsight.dataset.loader import training_batches
    from earsight.mel.augment import augmented_images, draw

    learner, device, rng = subject.learner, subject.device, np.random.default_rng(0)
    recipe, classifier = learner.recipe, learner.classifier
    spent = dict.fromkeys(("crops", "mel image", "augmentation", "network"), 0.0)
    began = time.perf_counter()
    for _ in training_batches(subject.store, range(len(subject.store.clips)), recipe.batch_size, rng):
        pass
    spent["crops"] = time.perf_counter() - began
    classifier.train()
    for (_, crops), (_, targets) in zip(subject.batches, subject.ready, strict=True):
        held: list[Any] = [None, targets]

        def image(crops: Any = crops) -> None:
            classifier.image(torch.from_numpy(crops).to(device))

        def augmented(crops: Any = crops, held: list[Any] = held) -> None:
            drawn = draw(len(crops), classifier.image, recipe.audio.crop_samples, recipe.augment, rng)
            held[:] = augmented_images(classifier.image, torch.from_numpy(crops).to(device), held[1], drawn)

        with torch.no_grad():
            plain = timed(image, device.type)
            spent["mel image"] += plain
            spent["augmentation"] += max(0.0, timed(augmented, device.type) - plain)
        spent["network"] += timed(partial(learner.step, *held), device.type)
    return spent
