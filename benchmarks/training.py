"""Clips a second of a training epoch: the network alone, ours, and the tutorial's loop, interleaved in one run.

network alone: forward, backward and optimizer on ready images. ours: the same clips in the same batches, from the
store, with mel images and augmentation. tutorial: a DataLoader whose workers load each clip by librosa, trim, crop and
compute its mel spectrogram, in every epoch, with the workers and threads that suit it best of those tried.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import librosa
import numpy as np
import timm
import torch
from lightning_fabric import Fabric

from earsight.dataset.loader import training_batches
from earsight.network.classifier import Classifier
from earsight.tasks.bench import timed, write_noise
from earsight.tasks.cores import allowed_cores
from earsight.tasks.loop import Learner, train_epoch
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


def tutorial_epoch(network: torch.nn.Module, optimizer: torch.optim.Optimizer, data: Tutorial, workers: int) -> None:
    network.train()
    loader = torch.utils.data.DataLoader(data, data.recipe.batch_size, shuffle=True, num_workers=workers)
    for images, targets in loader:
        loss = torch.nn.functional.cross_entropy(network(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", help="several are measured one after the other")
    parser.add_argument("--recipe", default="article")
    parser.add_argument("--batch-size", type=int, action="append")
    parser.add_argument("--clips", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
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
    with tempfile.TemporaryDirectory() as folder:
        store = write_noise(Path(folder), recipe, clips)
        learner = Learner.of(
            Fabric(accelerator="cpu", devices=1),
            Classifier(("a", "b"), recipe.audio, recipe.mel, recipe.network),
            recipe,
        )
        ready = []
        for indices, crops in training_batches(store, range(clips), recipe.batch_size, np.random.default_rng(0)):
            with torch.no_grad():
                images = learner.classifier.image(torch.from_numpy(crops))
            ready.append((images, torch.eye(2)[torch.from_numpy(indices % 2)]))
        epochs = iter(range(1, 10_000))

        def alone() -> None:
            learner.classifier.train()
            for images, targets in ready:
                float(learner.step(images, targets)[1])

        def ours() -> None:
            for _ in train_epoch(learner, store, range(clips), iter([1e-3] * clips), next(epochs)):
                pass

        ways = {"network alone": alone, "our epoch": ours}
        threads = dict.fromkeys(ways, allowed_cores())
        if arguments.tutorial:
            slow = recipe.model_copy(update={"batch_size": 8})
            data = Tutorial([clip.path for clip in store.clips], [n % 2 for n in range(clips)], slow)
            network = timm.create_model(recipe.network.model, in_chans=1, num_classes=2)
            optimizer = torch.optim.SGD(network.parameters(), lr=0.005)
            best = {}
            for workers in (0, 1, 2):
                for count in (1, allowed_cores()):
                    torch.set_num_threads(count)
                    best[workers, count] = timed(lambda w=workers: tutorial_epoch(network, optimizer, data, w), "cpu")
            workers, count = min(best, key=lambda way: best[way])
            ways["tutorial"] = lambda: tutorial_epoch(network, optimizer, data, workers)
            threads["tutorial"] = count
            print(f"tutorial's best of {len(best)}: {workers} workers, {count} threads")
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(arguments.rounds + 1):
            for name, way in ways.items():
                torch.set_num_threads(threads[name])
                began = time.perf_counter()
                way()
                if number:
                    rates[name].append(clips / (time.perf_counter() - began))
    middle = {name: statistics.median(values) for name, values in rates.items()}
    if arguments.json:
        print(json.dumps({"model": recipe.network.model, "batch_size": recipe.batch_size, "clips_per_s": rates}))
        return
    print(f"{recipe.network.model}, batch {recipe.batch_size}, image {'×'.join(map(str, ready[0][0].shape[1:]))}")
    for name, values in rates.items():
        print(f"  {name:14}{middle[name]:8.1f} clips/s  ({min(values):.1f}–{max(values):.1f})")
    print(f"  ours / network alone: {middle['our epoch'] / middle['network alone']:.3f}", flush=True)
    if "tutorial" in middle:
        print(f"  ours / tutorial (batch 8): {middle['our epoch'] / middle['tutorial']:.2f}", flush=True)


if __name__ == "__main__":
    main()
