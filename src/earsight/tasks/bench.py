"""bench: how near a training epoch comes to the network alone, on this machine."""

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from earsight import extras
from earsight.dataset.clip import Clip
from earsight.dataset.store import Store, build_store
from earsight.network.names import check_model_name
from earsight.tasks.cores import check_threads, free_cores, read_load
from earsight.tasks.devices import check_accelerator
from earsight.tasks.progress import Progress
from earsight.tasks.recipe import Recipe


@dataclass(frozen=True)
class Bench:
    """Clips a second of each round. network: forward, backward and optimizer on ready images, the ceiling. epoch: our
    whole epoch, from the second one on, of the same clips in the same batches. stages: seconds of one epoch spent in
    each. peak_memory_mb: of this process (and of the GPU, where one is used)."""

    model: str
    device: str
    threads: int
    clips: int
    batch_size: int
    image: tuple[int, ...]
    network: tuple[float, ...]
    epoch: tuple[float, ...]
    stages: dict[str, float]
    peak_memory_mb: float

    @property
    def ratio(self) -> float:
        """Of the medians: 1 is an epoch that costs what the network costs."""
        return statistics.median(self.epoch) / statistics.median(self.network)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio}


def bench(
    recipe: Recipe,
    *,
    clips: int = 128,
    rounds: int = 5,
    accelerator: str = "cpu",
    precision: str = "32-true",
    threads: int | None = None,
    progress: bool = False,
) -> Bench:
    """Measure, interleaved, on clips of noise (what is in them costs nothing). The network's weights are drawn."""
    extras.check("torch", "timm", "lightning_fabric", "safetensors")
    check_model_name(recipe.network.model)
    check_threads(threads)
    before = read_load()
    import torch
    from lightning_fabric import Fabric

    from earsight.dataset.loader import training_batches
    from earsight.network.classifier import Classifier
    from earsight.tasks.loop import Learner, train_epoch

    check_accelerator(accelerator, 1)
    cores = threads or free_cores(before)
    torch.set_num_threads(cores)
    fabric = Fabric(accelerator=accelerator, devices=1, precision=precision)  # type: ignore[arg-type]
    network = recipe.network.model_copy(update={"pretrained": False, "weights": None})
    with Progress(shown=progress) as shown, tempfile.TemporaryDirectory() as folder:
        store = write_noise(Path(folder), recipe, clips)
        classifier = Classifier(("a", "b"), recipe.audio, recipe.mel, network)
        learner = Learner.of(fabric, classifier, recipe)
        rng = _generator(0)
        batches = list(training_batches(store, range(clips), recipe.batch_size, rng))
        ready = []
        for indices, crops in batches:
            with torch.no_grad():
                image = classifier.image(torch.from_numpy(crops).to(fabric.device))
            ready.append((image, torch.eye(2, device=fabric.device)[torch.from_numpy(indices % 2)]))

        def alone() -> None:
            classifier.train()
            for images, targets in ready:
                float(learner.step(images, targets)[1])

        def whole(epoch: int) -> None:
            rates = iter([recipe.optimizer.lr] * len(batches))
            for _ in train_epoch(learner, store, range(clips), rates, epoch):
                pass

        found: dict[str, list[float]] = {"network": [], "epoch": []}
        shown.start("measuring", 2 * (rounds + 1))
        for number in range(rounds + 1):
            ways: dict[str, Callable[[], object]] = {"network": alone, "epoch": partial(whole, number + 1)}
            for place, (name, way) in enumerate(ways.items()):
                seconds = timed(way, fabric.device.type)
                if number:  # the first of each warms up
                    found[name].append(clips / seconds)
                shown.advance(2 * number + place + 1, 2 * (rounds + 1))
        stages = _stages(learner, store, batches, clips)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
    if fabric.device.type == "cuda":
        peak_mb = torch.cuda.max_memory_allocated() / 2**20
    return Bench(
        model=recipe.network.model,
        device=torch.cuda.get_device_name() if fabric.device.type == "cuda" else fabric.device.type,
        threads=cores,
        clips=clips,
        batch_size=recipe.batch_size,
        image=tuple(ready[0][0].shape[1:]),
        network=tuple(found["network"]),
        epoch=tuple(found["epoch"]),
        stages=stages,
        peak_memory_mb=peak_mb,
    )


def write_noise(folder: Path, recipe: Recipe, clips: int) -> Store:
    """A store of clips of noise, a third longer than the crop."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    rng, audio = _generator(1), recipe.audio
    samples = round(1.3 * audio.crop_samples)
    listed = []
    for number in range(clips):
        path = folder / f"{number}.wav"
        soundfile.write(path, rng.uniform(-0.5, 0.5, (samples, audio.channels)), audio.rate_hz)
        listed.append(Clip(path, "ab"[number % 2]))
    return build_store(listed, audio, folder=folder / "store")


def timed(way: Callable[[], object], device: str) -> float:
    """Seconds, with all that the device still has to do."""
    import torch

    began = time.perf_counter()
    way()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _stages(learner: Any, store: Store, batches: list[Any], clips: int) -> dict[str, float]:
    """Seconds of one epoch, stage by stage."""
    import torch

    from earsight.dataset.loader import training_batches
    from earsight.mel.augment import augment

    device, recipe = learner.fabric.device, learner.recipe
    spent = dict.fromkeys(("crops", "mel image", "augmentation", "network"), 0.0)
    began = time.perf_counter()
    for _ in training_batches(store, range(clips), recipe.batch_size, _generator(2)):
        pass
    spent["crops"] = time.perf_counter() - began
    rng = _generator(3)
    learner.classifier.train()
    for indices, crops in batches:
        targets = torch.eye(2, device=device)[torch.from_numpy(indices % 2)]
        held: list[Any] = [None, None]

        def image(crops: Any = crops, held: list[Any] = held) -> None:
            held[0] = learner.classifier.image(torch.from_numpy(crops).to(device))

        def augmented(targets: Any = targets, held: list[Any] = held) -> None:
            held[:] = augment(held[0], targets, recipe.augment, rng)

        with torch.no_grad():
            spent["mel image"] += timed(image, device.type)
            spent["augmentation"] += timed(augmented, device.type)
        spent["network"] += timed(partial(learner.step, *held), device.type)
    return spent


def _generator(seed: int) -> Any:
    import numpy as np

    return np.random.default_rng(seed)
