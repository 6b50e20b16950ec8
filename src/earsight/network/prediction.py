"""What a network answers to one recording; needs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """label: the likeliest class. probabilities: class → [0, 1], in the order of the network, summing to 1."""

    label: str
    probabilities: dict[str, float]

    @property
    def probability(self) -> float:
        return self.probabilities[self.label]
