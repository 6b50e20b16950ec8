"""Clips a second of a training epoch: the network alone, ours, and the tutorial's loop, interleaved in one run.

network alone: forward, backward and optimizer on ready images. ours: the same clips in the same batches, from the
store, with mel images and augmentation. tutorial: a DataLoader whose workers load each clip by librosa, trim, crop and
compute its mel spectrogram, in every epoch, with the workers and threads that suit it best of those tried.
"""

import argparse
import json
import math
import multiprocessing
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing.connection import Connection
from pathlib import Path

import librosa
import numpy as np
import timm
import torch
from threadpoolctl import threadpool_limits

from earsight.tasks.bench import Subject, against_network, peak_memory_mb, ratios, spread, stage_seconds, timed
from earsight.tasks.machine.cores import allowed_cores
from earsight.tasks.machine.devices import Machine
from earsight.tasks.machine.memory import keep_freed_memory
from earsight.tasks.recipe import Recipe


class Tutorial(torch.utils.data.Dataset):
    """As the tutorial has it: everything again for every item of every epoch."""

    def __init__(self, paths: list[Path], labels: list[int], recipe: Recipe) -> None:
        self.paths, self.labels, self.recipe = paths, labels, recipe

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        audio, mel = self.recipe.audio, self.recipe.mel
        samples, _ = librosa.load(self.paths[index], sr=audio.rate_hz)
        trimmed, _ = librosa.effects.trim(samples, top_db=audio.trim_db or 60)
        samples = trimmed if len(trimmed) >= audio.crop_samples else samples
        samples = samples / max(1e-9, np.abs(samples).max())
        start = np.random.randint(0, max(1, len(samples) - audio.crop_samples))
        samples = samples[start : start + audio.crop_samples]
        image = librosa.feature.melspectrogram(
            y=samples,
            sr=audio.rate_hz,
            n_mels=mel.n_mels,
            n_fft=mel.n_fft,
            hop_length=mel.hop_length,
            fmax=mel.f_max_hz,
            power=mel.power,
        )
        return torch.from_numpy(image[None]).float(), self.labels[index]


def one_thread(_worker: int) -> None:
    """As many workers as cores, each with as many threads of numpy, would be in each other's way."""
    threadpool_limits(1)


def tutorial_loader(data: Tutorial, workers: int) -> torch.utils.data.DataLoader[tuple[torch.Tensor, int]]:
    return torch.utils.data.DataLoader(
        data,
        data.recipe.batch_size,
        shuffle=True,
        num_workers=workers,
        worker_init_fn=one_thread,
        persistent_workers=workers > 0,
    )


def tutorial_epoch(
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: torch.utils.data.DataLoader[tuple[torch.Tensor, int]],
    device: str,
) -> None:
    network.train()
    for images, targets in loader:
        loss = torch.nn.functional.cross_entropy(network(images.to(device)), targets.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()


def tutorial_process(pipe: Connection, recipe: Recipe, paths: list[Path], device: str) -> None:
    """In a process of its own, which our settings of threads and memory do not reach: an epoch for every message, with
    the workers and threads that suited it best of those tried, in their second epoch each; sends how long it took. On a
    GPU, where one worker would be far too slow, half of the cores and all of them are tried."""
    recipe = recipe.model_copy(update={"batch_size": 8})  # its own
    data = Tutorial(paths, [n % 2 for n in range(len(paths))], recipe)
    network = timm.create_model(recipe.network.model, in_chans=1, num_classes=2).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.005)

    def epoch(loader: torch.utils.data.DataLoader[tuple[torch.Tensor, int]], threads: int) -> float:
        torch.set_num_threads(threads)
        return timed(lambda: tutorial_epoch(network, optimizer, loader, device), device)

    data[0]  # librosa imports and compiles its parts when they are first used: here, not in every worker
    cores = allowed_cores()
    fastest = math.inf
    for workers in (0, 1, 2) if device == "cpu" else sorted({max(1, cores // 2), cores}):
        loader = tutorial_loader(data, workers)
        for threads in sorted({1, cores} if device == "cpu" else {1}):
            epoch(loader, threads)
            seconds = epoch(loader, threads)
            if seconds < fastest:
                fastest, best = seconds, (loader, threads)
    del loader  # and its workers, where others were better
    told = f"{best[0].num_workers} workers, {best[1]} threads"
    pipe.send(f"tutorial's best: {told} ({len(paths) / fastest:.1f} clips/s)")
    while pipe.recv():
        pipe.send(epoch(*best))


@contextmanager
def tutorial(subject: Subject) -> Iterator[Callable[[], None]]:
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    paths = [clip.path for clip in subject.store.clips]
    process = context.Process(target=tutorial_process, args=(its, subject.learner.recipe, paths, subject.device.type))
    process.start()
    print(ours.recv(), flush=True)

    def epoch() -> None:
        ours.send(True)
        ours.recv()

    yield epoch
    ours.send(False)
    process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", help="several are measured one after the other")
    parser.add_argument("--recipe", default="article")
    parser.add_argument("--batch-size", type=int, action="append")
    parser.add_argument("--clips", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", default="32-true", help="as of earsight train; the tutorial's is 32-true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--tutorial", action="store_true", help="the tutorial's loop too, at its own batch size 8")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for model in arguments.model or ["efficientnet_b0"]:
        for batch_size in arguments.batch_size or [8, 32]:
            changes = {"network": {"model": model, "pretrained": False}, "batch_size": batch_size}
            measure(Recipe.named(arguments.recipe, changes), arguments)


def measure(recipe: Recipe, arguments: argparse.Namespace) -> None:
    clips = arguments.clips
    torch.set_num_threads(allowed_cores())
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(arguments.device, precision=arguments.precision, compiled=arguments.compile)
        subject = Subject.of(recipe, machine, clips, Path(folder))
        with tutorial(subject) if arguments.tutorial else nullcontext() as its:
            seconds = against_network(subject, arguments.rounds, {"tutorial": its} if its else None)
        stages = stage_seconds(subject)
    rates = {name: [clips / value for value in values] for name, values in seconds.items()}
    middle = {name: statistics.median(values) for name, values in rates.items()}
    found = {
        "model": recipe.network.model,
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else f"{allowed_cores()} cores",
        "precision": arguments.precision + (", compiled" if arguments.compile else ""),
        "batch_size": recipe.batch_size,
        "image": list(subject.ready[0][0].shape[1:]),
        "clips_per_s": rates,
        "ours_to_network": ratios(rates["epoch"], rates["network"]),
        "ours_to_tutorial": ratios(rates["epoch"], rates["tutorial"]) if arguments.tutorial else None,
        "stage_shares": {name: value / sum(stages.values()) for name, value in stages.items()},
        "peak_memory_mb": peak_memory_mb(subject.device),
    }
    if arguments.json:
        print(json.dumps(found), flush=True)
        return
    names = {"network": "network alone", "epoch": "our epoch", "tutorial": "tutorial"}
    where = f"{found['device']}, {found['precision']}"
    print(f"{found['model']}, batch {recipe.batch_size}, image {'×'.join(map(str, found['image']))}, {where}")
    for name, values in rates.items():
        print(f"  {names[name]:14}{middle[name]:8.1f} clips/s  ({min(values):.1f}–{max(values):.1f})")
    print(f"  ours / network alone: {spread(found['ours_to_network'])}")
    if arguments.tutorial:
        print(f"  ours / tutorial (batch 8): {spread(found['ours_to_tutorial'], 2)}")
    print("  time: " + ", ".join(f"{name} {100 * share:.1f} %" for name, share in found["stage_shares"].items()))
    print(f"  peak memory: {found['peak_memory_mb']:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
