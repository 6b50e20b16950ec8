"""The predictions of a network for a list of clips, with the truth."""

import csv
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt

from earsight.errors import DataError
from earsight.files import csv_line
from earsight.plain import plain

_UNEVEN = 1e-3


class AnswerText(NamedTuple):
    """One answer as text. confidence: its probability."""

    truth: str
    answer: str
    confidence: float


@dataclass(frozen=True)
class BasePredictions(ABC):
    """What predictions of one label and of several have in common. ARRAYS: names of the fields with a row for each
    clip."""

    ARRAYS: ClassVar[tuple[str, ...]]
    labels: tuple[str, ...]
    paths: tuple[str, ...]

    @property
    @abstractmethod
    def known(self) -> npt.NDArray[np.bool_]:
        """bool [clips]: whether the truth is known."""

    @property
    @abstractmethod
    def right(self) -> npt.NDArray[np.bool_]:
        """bool [clips]: whether the answer is correct; False where the truth is unknown."""

    @abstractmethod
    def mistakes(self, n: int) -> list[int]:
        """Up to ``n`` clips answered wrongly, the most confident first."""

    @abstractmethod
    def describe(self, row: int) -> AnswerText:
        """The answer of a row as text."""

    @abstractmethod
    def write_csv(self, path: Path) -> None:
        """Write a table with one row a clip."""

    def take(self, rows: Sequence[int]) -> Self:
        """These clips, in this order."""
        index = np.asarray(rows, dtype=np.int64)
        texts = {name: tuple(getattr(self, name)[row] for row in rows) for name in ("paths", "groups")}
        return replace(self, **texts, **{name: getattr(self, name)[index] for name in self.ARRAYS})


A = TypeVar("A", bound=BasePredictions)


@dataclass(frozen=True)
class Predictions(BasePredictions):
    """labels: class names in the order of the columns. paths: one a clip. truth: int64 [clips], −1 where unknown.
    probabilities: float64 [clips, classes] in [0, 1], rows sum to 1. groups: one a clip, "" where unknown.

    Raises DataError where the shapes do not fit each other, a label is named twice, or truth is not whole numbers.
    """

    ARRAYS: ClassVar[tuple[str, ...]] = ("truth", "probabilities")
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

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        return self.truth >= 0

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        return self.predicted == self.truth

    def mistakes(self, n: int) -> list[int]:
        wrong = np.flatnonzero(self.known & ~self.right)
        return [int(i) for i in wrong[np.argsort(-self.confidence[wrong], kind="stable")][:n]]

    def describe(self, row: int) -> AnswerText:
        truth = self.labels[self.truth[row]] if self.known[row] else ""
        return AnswerText(truth, self.labels[self.predicted[row]], float(self.confidence[row]))

    def write_csv(self, path: Path) -> None:
        """Columns path, group, label, predicted, and prob:NAME for every class; ``read_csv`` reads back
        the same values."""
        answers = zip(self.paths, self.groups, self.truth, self.predicted, self.probabilities, strict=True)
        rows = (
            [name, group, "" if truth < 0 else self.labels[truth], self.labels[predicted], *map(repr, row.tolist())]
            for name, group, truth, predicted, row in answers
        )
        write_rows(path, ["path", "group", "label", "predicted", *(f"prob:{label}" for label in self.labels)], rows)


def write_rows(path: Path, header: list[str], rows: Iterable[list[str]]) -> None:
    """Write a CSV table that reads back as it was written."""
    # surrogateescape: a file name that is not UTF-8 comes back as the same bytes
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.writelines(
            f"{csv_line(cells)}\n" for cells in chain([header], rows)
        )  # row by row: a table may have gigabytes


def concatenated(parts: Sequence[A]) -> A:
    """The clips of all parts together. Raises DataError where labels or kinds of predictions differ."""
    first = parts[0]
    if any(part.labels != first.labels or type(part) is not type(first) for part in parts):
        raise DataError("the folds have different labels; train them on one data set")
    rows: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in first.ARRAYS}
    for name in ("paths", "groups"):
        rows[name] = tuple(text for part in parts for text in getattr(part, name))
    return replace(first, **rows)


def read_csv(path: Path) -> Predictions:
    """Read what ``Predictions.write_csv`` wrote. Raises DataError for any other table; it names the row."""
    return from_table(path, *read_table(path))


def from_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Predictions:
    """As ``read_csv``, from cells. path: for messages."""
    if not header:
        raise DataError(f"{path} is empty, not a table of predictions; score the clips again")
    if list(header[:4]) != ["path", "group", "label", "predicted"]:
        names = ", ".join(plain(name, 40) for name in header[:6])
        raise DataError(f"{path} is not a table of predictions: its columns are {names}; give predictions.csv of a run")
    labels, rows, probabilities = parse_cells(path, header, rows)
    number = {label: n for n, label in enumerate(labels)}
    sums = probabilities.sum(axis=1)
    for which in np.flatnonzero(np.abs(sums - 1) > _UNEVEN):
        raise DataError(f"{path}, row {which + 2}: probabilities of {sums[which]:.3f} in sum, not 1; score them again")
    seen: set[str] = set()
    for n, row in enumerate(rows):
        where = f"{path}, row {n + 2}"
        if row[2] and row[2] not in number:
            raise DataError(f"{where}: label {row[2]!r} has no column prob:{row[2]}")
        if row[0] in seen:
            raise DataError(f"{where}: {plain(row[0])} stands there twice; each clip must be scored once")
        seen.add(row[0])
    return Predictions(
        labels=labels,
        paths=tuple(row[0] for row in rows),
        truth=np.array([number.get(row[2], -1) for row in rows], dtype=np.int64),
        probabilities=probabilities,
        groups=tuple(row[1] for row in rows),
    )


def read_table(path: Path) -> tuple[list[str], Iterator[list[str]]]:
    """Header, and an iterator over the rows. Raises DataError."""

    def lines() -> Iterator[list[str]]:
        try:
            with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                yield from csv.reader(file)
        except csv.Error as error:
            raise DataError(f"{path} is not a table of predictions: {error}") from error

    rows = lines()
    return next(rows, []), rows


def parse_cells(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]
) -> tuple[tuple[str, ...], list[Sequence[str]], npt.NDArray[np.float64]]:
    """Labels, the first four cells of each row, and the probabilities in the others, float64 [rows, labels]: converted
    at once, since strings take ten times the memory. Raises DataError."""
    labels = tuple(name.removeprefix("prob:") for name in header[4:])
    told, numbers = list[Sequence[str]](), array("d")
    for n, row in enumerate(rows):
        where = f"{path}, row {n + 2}"
        if len(row) != len(header):
            raise DataError(f"{where}: {len(row)} cells under {len(header)} columns; is the file cut off?")
        try:
            numbers.extend(map(float, row[4:]))
        except ValueError as error:
            raise DataError(f"{where}: a probability is not a number: {error}") from error
        told.append(row[:4])
    probabilities = np.frombuffer(numbers).reshape(len(told), len(labels))
    for which, column in np.argwhere(~((probabilities >= 0) & (probabilities <= 1))):  # NaN too
        wrong = f"a probability of {probabilities[which, column]:g}, not from 0 to 1"
        raise DataError(f"{path}, row {which + 2}: {wrong}; score the clips again")
    return labels, told, probabilities
