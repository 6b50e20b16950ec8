"""What a network answered for a list of clips, beside the truth."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from earsight.errors import DataError


@dataclass(frozen=True)
class Predictions:
    """labels: class names in the order of the columns. paths: one a clip. truth: int64 [clips], −1 where unknown.
    probabilities: float64 [clips, classes] in [0, 1], rows sum to 1. groups: one a clip, "" where unknown.

    Raises DataError where the shapes do not fit each other.
    """

    labels: tuple[str, ...]
    paths: tuple[str, ...]
    truth: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        clips, classes = len(self.paths), len(self.labels)
        if self.truth.shape != (clips,) or len(self.groups) != clips:
            raise DataError(f"{clips} paths, but {self.truth.shape} truths and {len(self.groups)} groups")
        if self.probabilities.shape != (clips, classes):
            raise DataError(f"probabilities of shape {self.probabilities.shape}, not {(clips, classes)}")
        if clips and not (self.truth.min() >= -1 and self.truth.max() < classes):
            raise DataError(f"a truth outside of −1 … {classes - 1}")

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """int64 [clips]: the column of the likeliest class."""
        return self.probabilities.argmax(axis=1)

    @property
    def confidence(self) -> npt.NDArray[np.float64]:
        """float64 [clips]: the probability of the likeliest class."""
        return self.probabilities.max(axis=1)

    def mistakes(self, n: int) -> list[int]:
        """Up to ``n`` clips answered wrongly, the most confident first."""
        wrong = np.flatnonzero((self.truth >= 0) & (self.predicted != self.truth))
        return [int(i) for i in wrong[np.argsort(-self.confidence[wrong], kind="stable")][:n]]

    def write_csv(self, path: Path) -> None:
        """Columns path, group, label, predicted, and prob:NAME for every class; read back exactly by ``read_csv``."""
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["path", "group", "label", "predicted", *(f"prob:{label}" for label in self.labels)])
            answers = zip(self.paths, self.groups, self.truth, self.predicted, self.probabilities, strict=True)
            for name, group, truth, predicted, row in answers:
                known = "" if truth < 0 else self.labels[truth]
                writer.writerow([name, group, known, self.labels[predicted], *(repr(float(p)) for p in row)])


def read_csv(path: Path) -> Predictions:
    """What ``Predictions.write_csv`` wrote. Raises DataError."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    if header[:4] != ["path", "group", "label", "predicted"]:
        raise DataError(f"{path} is not a table of predictions: its columns are {', '.join(header[:6])}")
    labels = tuple(name.removeprefix("prob:") for name in header[4:])
    number = {label: n for n, label in enumerate(labels)}
    return Predictions(
        labels=labels,
        paths=tuple(row[0] for row in rows),
        truth=np.array([number.get(row[2], -1) for row in rows], dtype=np.int64),
        probabilities=np.array([[float(p) for p in row[4:]] for row in rows]).reshape(len(rows), len(labels)),
        groups=tuple(row[1] for row in rows),
    )
