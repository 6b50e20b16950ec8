"""How much of what a run was not trained on comes out "unknown": silence, noise, tones, made-up music, recordings.

For each: the share that is unknown at the run's own limit, and at a limit on confidence that keeps as many validation
clips; and the area under the ROC curve of familiarity, and of confidence, against the run's test clips.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from earsight.audio.decode import Samples, Sound
from earsight.audio.load import fixed_crops, load_waveform, prepare
from earsight.dataset.walk import walk
from earsight.network.classifier import Classifier
from earsight.tasks.clips_table import read_clips

Floats = npt.NDArray[np.float64]
LENGTH_S = 3.5
BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", help="a run folder; without one there is nothing to measure")
    parser.add_argument("--foreign", type=Path, action="append", default=[], help="a folder of other recordings")
    parser.add_argument("--clips", type=int, default=100, help="of each kind")
    arguments = parser.parse_args()
    if arguments.run is None:
        print("left out: it needs a run folder")
        return
    classifier = Classifier.load(arguments.run)
    recorded = read_clips(arguments.run)
    parts = {
        part: [load_waveform(row.clip.path, classifier.audio) for row in recorded if row.part == part]
        for part in ("valid", "test")
    }
    valid, test = (heard(classifier, parts[part]) for part in ("valid", "test"))
    limit = classifier.unknown.least_familiarity
    kept = float((valid[0] >= limit).mean())
    unsure = float(np.quantile(valid[1], 1 - kept)) if kept < 1 else float(valid[1].min())
    print(f"familiarity at least {limit:.3f}: {kept:.1%} of {len(valid[0])} validation clips are answered")
    print(f"{'':26}{'unknown':>9}{'by confidence':>15}{'area':>8}{'by confidence':>15}")
    kinds = {"test clips": test} | {
        name: heard(classifier, made(classifier, make, arguments.clips)) for name, make in MADE.items()
    }
    for folder in arguments.foreign:
        listing = walk(folder)
        paths = [listing.path(name) for name in listing.names]
        chosen = paths[:: max(1, len(paths) // arguments.clips)]
        kinds[folder.name] = heard(classifier, [load_waveform(path, classifier.audio) for path in chosen])
    for name, (familiar, confidence) in kinds.items():
        pairs = zip(test, (familiar, confidence), strict=True)
        areas = ["", ""] if name == "test clips" else [f"{area(known, other):.3f}" for known, other in pairs]
        print(
            f"{name:26}{(familiar < limit).mean():9.2f}{(confidence < unsure).mean():15.2f}{areas[0]:>8}{areas[1]:>15}"
        )


def heard(classifier: Classifier, sounds: list[Samples]) -> tuple[Floats, Floats]:
    """Familiarity and confidence of each."""
    found = []
    for start in range(0, len(sounds), BATCH):
        crops = [fixed_crops(sound, classifier.audio) for sound in sounds[start : start + BATCH]]
        found.append(classifier.answers(np.concatenate(crops)))
    familiar = np.concatenate([answers.familiarity for answers in found])
    return familiar, np.concatenate([answers.probabilities.max(axis=1) for answers in found])


def area(known: Floats, foreign: Floats) -> float:
    truth = np.concatenate([np.ones(len(known)), np.zeros(len(foreign))])
    return float(roc_auc_score(truth, np.concatenate([known, foreign])))


def made(classifier: Classifier, make: "Callable[[int, np.random.Generator], Floats]", count: int) -> list[Samples]:
    """As recordings of the network's rate, prepared as all are."""
    audio, sounds = classifier.audio, []
    for seed in range(count):
        samples = make(audio.rate_hz, np.random.default_rng(seed)).astype(np.float32)
        sounds.append(prepare(Sound(np.tile(samples, (audio.channels, 1)), audio.rate_hz), audio).floats())
    return sounds


def noise(exponent: float) -> Callable[[int, np.random.Generator], Floats]:
    """Of power 1/f^exponent."""

    def make(rate_hz: int, rng: np.random.Generator) -> Floats:
        spectrum = np.fft.rfft(rng.standard_normal(round(LENGTH_S * rate_hz)))
        coloured = np.fft.irfft(spectrum * np.maximum(np.arange(len(spectrum)), 1) ** (-exponent / 2))
        return np.asarray(rng.uniform(0.05, 1) * coloured / np.abs(coloured).max())

    return make


def near_silence(rate_hz: int, rng: np.random.Generator) -> Floats:
    return 1e-4 * rng.standard_normal(round(LENGTH_S * rate_hz))


def tone(rate_hz: int, rng: np.random.Generator) -> Floats:
    seconds = np.arange(round(LENGTH_S * rate_hz)) / rate_hz
    return np.asarray(np.sin(2 * np.pi * rng.uniform(100, 0.25 * rate_hz) * seconds))


def music(rate_hz: int, rng: np.random.Generator) -> Floats:
    """Decaying chords of six harmonics on a beat, with drums of noise."""
    seconds = np.arange(round(LENGTH_S * rate_hz)) / rate_hz
    sound, beat_s, root = np.zeros(len(seconds)), 60 / rng.uniform(70, 160), rng.integers(40, 60)
    for start in range(0, len(seconds), round(beat_s * rate_hz)):
        since = seconds[: len(seconds) - start]
        for interval in (0, 4 if rng.random() < 0.5 else 3, 7):
            hz = 440 * 2 ** ((root + interval + rng.choice([0, 5, 7, 12]) - 69) / 12)
            decay = np.exp(-since * rng.uniform(1, 5))
            for harmonic in range(1, 7):
                sound[start:] += decay * np.sin(2 * np.pi * hz * harmonic * since) / harmonic ** rng.uniform(1, 2)
        if rng.random() < 0.8:
            sound[start:] += rng.uniform(0.2, 1.5) * np.exp(-30 * since) * rng.standard_normal(len(since))
    return np.asarray(sound / np.abs(sound).max())


MADE: dict[str, Callable[[int, np.random.Generator], Floats]] = {
    "near silence": near_silence,
    "white noise": noise(0),
    "pink noise": noise(1),
    "brown noise": noise(2),
    "pure tones": tone,
    "music": music,
}


if __name__ == "__main__":
    main()
