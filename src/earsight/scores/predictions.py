"""What a network answered for a list of clips, beside the truth."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from earsight.errors import DataError


@dataclass(frozen=True)
class Predictions:
    """labels: class names in the order of the columns. paths: one a clip. truth: int64 [clips], −1 where unknown.
    probabilities: float64 [clips, classes] in [0, 1], rows sum to 1. groups: one a clip, "" where unknown.

    Raises DataError where the shapes do not fit each other, a label is named twice, or truth is not whole numbers.
    """

    labels: tuple[str, ...]
    paths: tuple[str, ...]
    truth: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        clips, classes = len(self.paths), len(self.labels)
        if len(set(self.labels)) != classes:
            raise DataError(f"a label is named twice among {', '.join(self.labels)}; name each class once")
        if self.truth.dtype.kind != "i":
            raise DataError(f"truth of type {self.truth.dtype}, not int64: give column numbers, −1 where unknown")
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

    def take(self, rows: Sequence[int]) -> Self:
        """These clips, in this order."""
        names, groups = (tuple(texts[row] for row in rows) for texts in (self.paths, self.groups))
        index = np.asarray(rows, dtype=np.int64)
        return replace(
            self, paths=names, truth=self.truth[index], probabilities=self.probabilities[index], groups=groups
        )

    def mistakes(self, n: int) -> list[int]:
        """Up to ``n`` clips answered wrongly, the most confident first."""
        wrong = np.flatnonzero((self.truth >= 0) & (self.predicted != self.truth))
        return [int(i) for i in wrong[np.argsort(-self.confidence[wrong], kind="stable")][:n]]

    def write_csv(self, path: Path) -> None:
        """Columns path, group, label, predicted, and prob:NAME for every class; read back exactly by ``read_csv``."""
        # surrogateescape: a file name that is not UTF-8 comes back as the same bytes
        with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            plain = csv.writer(file, lineterminator="\n")
            quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

            def write(cells: list[str]) -> None:
                # Python 3.11 leaves a lone \r unquoted, and its reader then ends the row there.
                (quoted if any("\r" in cell for cell in cells) else plain).writerow(cells)

            write(["path", "group", "label", "predicted", *(f"prob:{label}" for label in self.labels)])
            answers = zip(self.paths, self.groups, self.truth, self.predicted, self.probabilities, strict=True)
            for name, group, truth, predicted, row in answers:
                known = "" if truth < 0 else self.labels[truth]
                write([name, group, known, self.labels[predicted], *(repr(float(p)) for p in row)])


def concatenated(parts: Sequence[Predictions]) -> Predictions:
    """All clips of all parts. Raises DataError where the labels differ."""
    labels = parts[0].labels
    if any(part.labels != labels for part in parts):
        raise DataError("the folds have different labels; train them on one data set")
    return Predictions(
        labels,
        tuple(path for part in parts for path in part.paths),
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        tuple(group for part in parts for group in part.groups),
    )


def read_csv(path: Path) -> Predictions:
    """What ``Predictions.write_csv`` wrote. Raises DataError for any other table, naming the row."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        table = list(csv.reader(file))
    if not table:
        raise DataError(f"{path} is empty, not a table of predictions; score the clips again")
    header, *rows = table
    if header[:4] != ["path", "group", "label", "predicted"]:
        raise DataError(f"{path} is not a table of predictions: its columns are {', '.join(header[:6])}")
    labels = tuple(name.removeprefix("prob:") for name in header[4:])
    number = {label: n for n, label in enumerate(labels)}
    probabilities = np.empty((len(rows), len(labels)))
    for n, row in enumerate(rows):
        where = f"{path}, row {n + 2}"
        if len(row) != len(header):
            raise DataError(f"{where}: {len(row)} cells under {len(header)} columns; is the file cut off?")
        if row[2] and row[2] not in number:
            raise DataError(f"{where}: label {row[2]!r} has no column prob:{row[2]}")
        try:
            probabilities[n] = [float(p) for p in row[4:]]
        except ValueError as error:
            raise DataError(f"{where}: a probability is not a number: {error}") from error
    return Predictions(
        labels=labels,
        paths=tuple(row[0] for row in rows),
        truth=np.array([number.get(row[2], -1) for row in rows], dtype=np.int64),
        probabilities=probabilities,
        groups=tuple(row[1] for row in rows),
    )
