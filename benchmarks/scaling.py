"""How a training run grows with the data: seconds, memory and disk at 1, 4 and 16 times the clips.

Each size runs in a process of its own: a first pass that fills the store, then one epoch from it with a tiny network.
memory: resident beyond what the process had before it opened the store, at its peak in the epoch.
"""

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from earsight.tasks.bench import spread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=250, help="at 1×")
    parser.add_argument("--rounds", type=int, default=3, help="of all three sizes; the medians of their ratios count")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(Path(arguments.child[0]), int(arguments.child[1]))))
        return
    rounds = []
    print(f"{'clips':>8}{'first pass':>12}{'epoch':>10}{'resident':>12}{'disk':>10}")
    for _ in range(arguments.rounds):
        rows = []
        for times in (1, 4, 16):
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, __file__, "--child", folder, str(times * arguments.clips)]
                rows.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
            print(line(rows[-1]), flush=True)
        rounds.append(rows)
    print("medians")
    for same_size in zip(*rounds, strict=True):
        print(line({what: statistics.median(row[what] for row in same_size) for what in same_size[0]}))
    for what in ("build_s", "epoch_s", "disk_mb"):
        exponents = [math.log(rows[-1][what] / rows[0][what], 16) for rows in rounds]
        print(f"{what}: grows as clips to the power of {spread(exponents)}")
    print(f"resident, 16× over 1×: {spread([rows[-1]['resident_mb'] / rows[0]['resident_mb'] for rows in rounds])}")


def line(row: dict[str, float]) -> str:
    return (
        f"{row['clips']:8,.0f}{row['build_s']:10.2f} s{row['epoch_s']:8.2f} s{row['resident_mb']:9.0f} MB"
        f"{row['disk_mb']:7.0f} MB"
    )


def child(folder: Path, clips: int) -> dict[str, float]:
    import torch
    from lightning_fabric import Fabric

    from earsight.files import folder_bytes
    from earsight.network.classifier import Classifier
    from earsight.tasks.bench import write_noise
    from earsight.tasks.recipe import Recipe
    from earsight.tasks.training.learner import Learner
    from earsight.tasks.training.loop import train_epoch

    network = {"model": "test_efficientnet", "pretrained": False}
    recipe = Recipe.named("default", {"network": network, "mel": {"n_mels": 64, "hop_length": 320}})
    torch.set_num_threads(1)
    learner = Learner.of(
        Fabric(accelerator="cpu", devices=1), Classifier(("a", "b"), recipe.audio, recipe.mel, recipe.network), recipe
    )
    warm = write_noise(folder / "warm", recipe, 64)
    for _ in train_epoch(learner, warm, range(64), iter([1e-3] * 64), 1):
        pass
    began = time.perf_counter()
    store = write_noise(folder / "data", recipe, clips)
    build_s = time.perf_counter() - began
    began = time.perf_counter()
    for _ in train_epoch(learner, store, range(clips), iter([1e-3] * clips), 2):
        pass
    epoch_s = time.perf_counter() - began
    return {
        "clips": clips,
        "build_s": build_s,
        "epoch_s": epoch_s,
        "resident_mb": anonymous_mb(),
        "disk_mb": folder_bytes(folder / "data" / "store") / 1e6,
    }


def anonymous_mb() -> float:
    """What the process holds itself; pages of the mapped store are the system's, and given back when it needs them."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
