"""What a network answers to one recording; needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Prediction:
    """label: the likeliest class. probabilities: class → [0, 1], in the order of the network, summing to 1.

    labels: where clips can have several, those at or above their thresholds, the likeliest first, perhaps none; the
    probabilities are then each by themselves. None for a network that answers with one label.
    """

    label: str
    probabilities: dict[str, float]
    labels: tuple[str, ...] | None = None

    @property
    def probability(self) -> float:
        return self.probabilities[self.label]


def answer(
    labels: Sequence[str], row: npt.NDArray[np.floating], thresholds: Sequence[float] | None = None
) -> Prediction:
    """row: [classes] of probabilities. thresholds: of each label, where a clip can have several."""
    of = dict(zip(labels, row.tolist(), strict=True))
    over = None
    if thresholds is not None:
        found = [one for one, least in zip(labels, thresholds, strict=True) if of[one] >= least]
        over = tuple(sorted(found, key=lambda one: -of[one]))
    return Prediction(labels[int(row.argmax())], of, over)
