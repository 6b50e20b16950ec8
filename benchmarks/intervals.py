"""How often a 95 % interval contains the truth, and how often two equal networks are called different.

The speakers are those of docs/results/, with the answers that networks gave to their clips: all 24 are the population,
whose score is known; some are drawn from it, with replacement, and an interval is made of them alone. Two simulated
populations stand beside them, of networks that are nearly always right, and of clips with four labels.

Per number of speakers: the share of intervals that contain the score of the population, or that exclude zero where two
networks are equal, by the jackknife (earsight's) and by the percentile bootstrap with the tails of Hesterberg 2015.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import NormalDist

import numpy as np

from earsight.scores.intervals import Floats, Interval, Jackknife, group_tallies, rates, student_quantile
from earsight.scores.multilabel import Ranking
from earsight.scores.predictions import read_csv

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
SPEAKERS = (3, 4, 5, 8, 12, 24)
Scores = Callable[[Floats], Floats]
"""Sums over speakers, or how often each counts [ways, ...] → scores [ways]."""


def bootstrap(scores: Scores, tallies: Floats, rng: np.random.Generator) -> Interval:
    n = len(tallies)
    times = rng.multinomial(n, np.full(n, 1 / n), size=500).astype(float)
    tail = NormalDist().cdf(-np.sqrt(n / (n - 1)) * student_quantile(0.975, n - 1))
    return Interval(*np.quantile(scores(np.tensordot(times, tallies, axes=1)), [tail, 1 - tail]))


def jackknife(scores: Scores, tallies: Floats, difference: bool) -> Interval | None:
    whole = tallies.sum(axis=0)
    found = Jackknife(len(tallies), {"": float(scores(whole[None])[0])}, {"": scores(whole - tallies)})
    return found.interval_of_difference("") if difference else found.interval("")


def answers(seed: int) -> Floats:
    """[24 speakers, 3, classes]: see ``Tallies``."""
    return group_tallies([read_csv(RESULTS / f"luna5-tf_efficientnet_lite0-seed{seed}.csv")]).counts[0]


def nearly_right(rng: np.random.Generator) -> Floats:
    """[400 speakers, 3, 2]: 12 clips a class, each speaker's recalls from a beta distribution with mean 0.95."""
    right = rng.binomial(12, rng.beta(0.95 * 8, 0.05 * 8, size=(400, 2)))
    return np.stack([right, np.full((400, 2), 12), right + (12 - right[:, ::-1])], axis=1).astype(float)


def four_labels(rng: np.random.Generator) -> tuple[np.ndarray, Floats]:
    """truth, logits [300 speakers, 8 clips, 4]: labels of 5 to 50 % of clips, a bias of each speaker for each."""
    truth = rng.random((300, 8, 4)) < (0.5, 0.3, 0.1, 0.05)
    bias, noise = rng.normal(0, 0.8, (300, 1, 4)), rng.normal(0, 1, (300, 8, 4))
    return truth, 1.5 * truth - 1 + bias + noise


def mean_average_precision(truth: np.ndarray, logits: Floats) -> Scores:
    """Of how often each speaker counts [ways, speakers]."""
    rankings = [Ranking.of(*columns) for columns in zip(truth.reshape(-1, 4).T, logits.reshape(-1, 4).T, strict=True)]

    def scores(times: Floats) -> Floats:
        of_clips = np.repeat(np.rint(times).astype(np.int64), truth.shape[1], axis=1)
        found = np.stack([ranking.average_precision(of_clips) for ranking in rankings])
        return np.asarray(np.nansum(found, axis=0) / np.maximum(np.isfinite(found).sum(axis=0), 1))

    return scores


class Populations:
    def __init__(self) -> None:
        self.first, self.second = answers(0), answers(1)
        self.easy = nearly_right(np.random.default_rng(0))
        self.truth, self.logits = four_labels(np.random.default_rng(0))
        self.map = float(mean_average_precision(self.truth, self.logits)(np.ones((1, len(self.truth))))[0])

    def studies(self, rng: np.random.Generator, speakers: int) -> Iterator[tuple[str, Scores, Floats, float, bool]]:
        """Name, scores, tallies of the speakers drawn, the truth, and whether it is a difference."""
        who, easy = rng.integers(0, 24, speakers), rng.integers(0, len(self.easy), speakers)
        pair = np.stack([self.first, self.second], axis=1)[who]
        swapped = rng.random(speakers) < 0.5  # which of the two is which is drawn for each speaker: they are equal
        pair[swapped] = pair[swapped, ::-1]
        for name in ("accuracy", "uar"):

            def score(sums: Floats, name: str = name) -> Floats:
                return rates(sums)[name]

            def difference(sums: Floats, name: str = name) -> Floats:
                return rates(sums[..., 1, :, :])[name] - rates(sums[..., 0, :, :])[name]

            for kind, all_of_them, some in (
                ("RAVDESS", self.first, self.first[who]),
                ("nearly right", self.easy, self.easy[easy]),
            ):
                yield f"{name}, {kind}", score, some, float(score(all_of_them.sum(axis=0)[None])[0]), False
            yield f"{name}, two networks", difference, pair, 0.0, True
        some = rng.integers(0, len(self.truth), speakers)
        yield (
            "mAP, four labels",
            mean_average_precision(self.truth[some], self.logits[some]),
            np.eye(speakers),
            self.map,
            False,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000)
    rounds = parser.parse_args().rounds
    print("| score | speakers | " + " | ".join(map(str, SPEAKERS)) + " |\n|---|---|" + "---|" * len(SPEAKERS))
    populations, share = Populations(), dict[tuple[str, str], list[float]]()
    for speakers in SPEAKERS:
        rng, pluralise = np.random.default_rng(speakers), dict[tuple[str, str], list[bool]]()
        for _ in range(rounds):
            for name, scores, tallies, truth, difference in populations.studies(rng, speakers):
                for way, interval in (
                    ("jackknife", jackknife(scores, tallies, difference)),
                    ("bootstrap", bootstrap(scores, tallies, rng)),
                ):
                    inside = interval is not None and interval.low <= truth <= interval.high
                    pluralise.setdefault((name, way), []).append(inside != difference)
        for key, found in pluralise.items():
            share.setdefault(key, []).append(float(np.mean(found)))
    for (name, way), shares in sorted(share.items(), key=lambda one: one[0][1], reverse=True):
        print(f"| {name} | {way} | " + " | ".join(f"{one:.3f}" for one in shares) + " |")


if __name__ == "__main__":
    main()
