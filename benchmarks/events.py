"""How well events are found in recordings, with and without clips of what lies between them in training.

Synthetic: chirps, clicks and hums in noise; twelve recordings of half a minute to learn from, six others to find them
in. One row a seed, of the sounds and of the training, and the median.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from earsight.files import write_atomic
from earsight.tasks.data import add_background
from earsight.tasks.evaluate import ScoringOptions
from earsight.tasks.evaluate_events import evaluate_events
from earsight.tasks.recipe import Recipe
from earsight.tasks.train import train

RATE_HZ, LENGTH_S = 16000, 30


def sound_of(label: str, length_s: float, rng: np.random.Generator) -> np.ndarray:
    """float64 [samples]"""
    t = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    if label == "chirp":
        return 0.2 * np.sin(2 * np.pi * (rng.uniform(1300, 1700) * t + 60 * np.sin(2 * np.pi * 4 * t)))
    if label == "hum":
        return 0.2 * np.sign(np.sin(2 * np.pi * rng.uniform(90, 140) * t))
    return 0.3 * rng.standard_normal(len(t)) * (np.sin(2 * np.pi * 8 * t) > 0.9)


def write_recordings(folder: Path, count: int, rng: np.random.Generator) -> None:
    folder.mkdir()
    for number in range(count):
        samples = 0.003 * rng.standard_normal(LENGTH_S * RATE_HZ)
        lines, at_s = [], rng.uniform(0.3, 2)
        while at_s < LENGTH_S - 3:
            label, length_s = str(rng.choice(["chirp", "click", "hum"])), rng.uniform(0.7, 2.5)
            sound = sound_of(label, length_s, rng)
            start = round(at_s * RATE_HZ)
            samples[start : start + len(sound)] += sound
            lines.append(f"{at_s:.3f}\t{at_s + length_s:.3f}\t{label}\n")
            at_s += length_s + rng.uniform(0.3, 3)
        soundfile.write(folder / f"{number}.wav", samples, RATE_HZ)
        (folder / f"{number}.txt").write_text("".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="test_efficientnet.r160_in1k")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    network = {"model": options.model, "pretrained": False}
    print(f"{options.model}, {options.epochs} epochs, windows of 1 s every 0.25 s\n")
    print("| seed | learned from | F1 by segments | F1 by events |\n|---|---|---|---|")
    all_f1: dict[str, list[tuple[float, float]]] = {"annotated spans": [], "… and what lies between": []}
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as home:
            root, rng = Path(home), np.random.default_rng(seed)
            for name, count in (("learn", 12), ("find", 6)):
                write_recordings(root / name, count, rng)
            write_atomic(root / "spans.csv", add_background(root / "learn").to_csv())
            recipe = Recipe.named(
                "default", {"network": network, "epochs": options.epochs, "seed": seed, "audio": {"crop_s": 1.5}}
            )
            for (name, scores), data in zip(all_f1.items(), (root / "learn", root / "spans.csv"), strict=True):
                run = root / f"run-{data.stem}"
                train(data, recipe=recipe, out=run, threads=1, store=False)
                found = evaluate_events(run, root / "find", window_s=1, hop_s=0.25, options=ScoringOptions(threads=1))
                scores.append((found.by_segment.micro.f1 or 0.0, found.by_event.micro.f1 or 0.0))
                print(f"| {seed} | {name} | {scores[-1][0]:.3f} | {scores[-1][1]:.3f} |", flush=True)
    for name, scores in all_f1.items():
        segments, events = (statistics.median(column) for column in zip(*scores, strict=True))
        print(f"| median | {name} | {segments:.3f} | {events:.3f} |")


if __name__ == "__main__":
    main()
