"""The answer of a model to one recording, and what all models have in common. Needs no torch."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from numbers import Real
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt

from earsight.audio.decode import Samples, Source
from earsight.audio.load import fixed_crops, load_waveform
from earsight.audio.settings import AudioSettings
from earsight.errors import EarsightError, SettingsError
from earsight.network.description import damaged

UNKNOWN = "unknown"
"""The answer to silence, and to a recording that the model does not know."""


@dataclass(frozen=True)
class UnknownLimits:
    """Limits below which the answer is "unknown", fitted on validation clips. least_familiarity: of the similarity to
    the training clips (``network.familiarity``), in [0, 1]. least_confidence: of the probability of the likeliest
    class, in [0, 1]. By default nothing is unknown."""

    least_familiarity: float = -1.0
    least_confidence: float = 0.0

    @classmethod
    def from_dict(cls, values: Any, where: object) -> Self:
        """values: of ``to_dict``; None for the default. where: named in the error. Raises ModelError."""
        if values is None:
            return cls()
        names = [field.name for field in fields(cls)]
        if not isinstance(values, Mapping) or not all(_is_number(values.get(name)) for name in names):
            raise damaged(where, f"its limits of the unknown are {values!r}")
        return cls(**{name: float(values[name]) for name in names})

    def to_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def to_probabilities(
    logits: npt.NDArray[np.floating[Any]], temperature: float, *, several: bool
) -> npt.NDArray[np.float64]:
    """Probabilities of logits [clips, classes]: sigmoid with ``several``, else softmax over each row."""
    scaled = logits.astype(np.float64) / temperature
    if several:
        return np.asarray(1 / (1 + np.exp(-np.clip(scaled, -500, 500))))
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Prediction:
    """label: the likeliest class, unless ``Predictor.set_answer_thresholds`` asks for another. probabilities: class →
    [0, 1], in the order of the network, summing to 1.

    labels: where clips can have several, those at or above their thresholds, the likeliest first, perhaps none; then
    the probabilities don't sum to 1. None for a network that answers with one label. familiarity: similarity to the
    training clips, in [0, 1]. unknown: the answer is "unknown", whatever the likeliest class is.
    """

    label: str
    probabilities: dict[str, float]
    labels: tuple[str, ...] | None = None
    familiarity: float = 1.0
    unknown: bool = False

    def with_answer_thresholds(self, thresholds: Mapping[str, float]) -> Self:
        """thresholds: class → the probability from which it is the answer. If several are reached, the class whose
        probability exceeds its threshold by the largest factor; if none, the likeliest class without a threshold."""
        reached = [label for label, least in thresholds.items() if self.probabilities[label] >= least]
        if reached:
            # thresholds may be 0, and probabilities as small as 1e-30
            said = max(reached, key=lambda label: self.probabilities[label] / max(thresholds[label], 1e-300))
        else:
            said = max(
                (label for label in self.probabilities if label not in thresholds), key=self.probabilities.__getitem__
            )
        return replace(self, label=said)

    @property
    def probability(self) -> float:
        return self.probabilities[self.label]

    @property
    def answer(self) -> str:
        """The label, or "unknown"."""
        return UNKNOWN if self.unknown else self.label


@dataclass(frozen=True)
class Answers:
    """The answers to a batch. probabilities: float64 [clips, classes]. familiarity: float64 [clips]. silent: bool
    [clips]."""

    probabilities: npt.NDArray[np.float64]
    familiarity: npt.NDArray[np.float64]
    silent: npt.NDArray[np.bool_]

    def predictions(
        self, labels: Sequence[str], unknown: UnknownLimits, thresholds: Sequence[float] | None = None
    ) -> list[Prediction]:
        """thresholds: one a label, where a clip can have several; ``least_confidence`` is not applied then."""
        found = []
        for row, familiarity, silent in zip(self.probabilities, self.familiarity, self.silent, strict=True):
            of = dict(zip(labels, row.tolist(), strict=True))
            over = None
            if thresholds is not None:
                above = [one for one, least in zip(labels, thresholds, strict=True) if of[one] >= least]
                over = tuple(sorted(above, key=lambda one: -of[one]))
            foreign = silent or familiarity < unknown.least_familiarity
            unsure = thresholds is None and row.max() < unknown.least_confidence
            found.append(Prediction(labels[int(row.argmax())], of, over, float(familiarity), bool(foreign or unsure)))
        return found


AudioInput = Source | tuple[npt.ArrayLike, float]
"""A recording, or samples and their rate in Hz (``audio.arrays.sound_from_array``)."""


class Predictor(ABC):
    """A model of any kind: crops → answers."""

    labels: tuple[str, ...]
    audio: AudioSettings
    unknown: UnknownLimits
    thresholds: tuple[float, ...] | None
    _answer_thresholds: Mapping[str, float] = {}

    def set_answer_thresholds(self, thresholds: Mapping[str, float]) -> None:
        """From now on, answer a class of ``thresholds`` wherever its probability reaches its threshold, likeliest or
        not, and nowhere else; {}: answer the likeliest class again. "unknown" stays so. Raises SettingsError."""
        if thresholds and self.thresholds is not None:
            raise SettingsError("the model answers any number of labels, and has a threshold for each (model.json)")
        if strange := sorted(set(thresholds) - set(self.labels)):
            raise SettingsError(
                f"a threshold for {strange[0]!r}, which the model does not know; its labels: {', '.join(self.labels)}"
            )
        for label, least in thresholds.items():
            if not 0 <= least <= 1:
                raise SettingsError(f"the threshold of {label!r} must be from 0 to 1, got {least:g}")
        if len(thresholds) == len(self.labels):
            raise SettingsError(
                "every class has a threshold, so that none is left where no threshold is reached; leave one out"
            )
        self._answer_thresholds = dict(thresholds)

    @abstractmethod
    def answers(self, crops: Samples) -> Answers:
        """crops: float32 [batch × score_crops, channels, crop_samples], those of a clip one after the other."""

    def probabilities(self, crops: Samples) -> npt.NDArray[np.float64]:
        """crops: as for ``answers``. Returns float64 [batch, classes]; rows sum to 1 unless clips can have several
        labels."""
        return self.answers(crops).probabilities

    def predict(self, source: Source | npt.ArrayLike, *, rate_hz: float | None = None) -> Prediction:
        """Classify one recording: a path, encoded bytes, or a binary file object, which is read from its start.

        Or, with their rate_hz, samples: [samples] or [channels, samples], floats with full scale at ±1, int16 or int32.
        Raises DecodeError, and SettingsError for samples of another kind.
        """
        return next(self.predict_many([cast(AudioInput, source if rate_hz is None else (source, rate_hz))]))

    def predict_many(self, sources: AudioInput | Iterable[AudioInput], batch_size: int = 16) -> Iterator[Prediction]:
        """Classify recordings, or samples as pairs (samples, rate_hz), lazily and in order. Raises DecodeError or
        SettingsError as ``predict`` does at the first that can't be read, when those before it are answered."""
        if not hasattr(batch_size, "__index__") or batch_size < 1:
            raise SettingsError(f"batch_size must be a whole number, 1 or more, got {batch_size!r}")
        alone = isinstance(sources, str | bytes | bytearray | memoryview | os.PathLike) or hasattr(sources, "read")
        alone = alone or (isinstance(sources, tuple) and len(sources) == 2 and isinstance(sources[1], Real))
        several = sources if not alone and isinstance(sources, Iterable) else [sources]
        return _predict_batches(cast(Iterable[AudioInput], several), self.audio, batch_size, self.predictions)

    def predictions(self, crops: Samples) -> Iterator[Prediction]:
        """As ``probabilities``, one Prediction a clip."""
        found = self.answers(crops).predictions(self.labels, self.unknown, self.thresholds)
        yield from (
            (one.with_answer_thresholds(self._answer_thresholds) for one in found) if self._answer_thresholds else found
        )


def _predict_batches(
    sources: Iterable[AudioInput],
    audio: AudioSettings,
    batch_size: int,
    answer: Callable[[Samples], Iterable[Prediction]],
) -> Iterator[Prediction]:
    failure: EarsightError | None = None
    rest = iter(sources)
    while failure is None:
        batch: list[Samples] = []
        try:
            for source in islice(rest, batch_size):
                batch.append(fixed_crops(_waveform(source, audio), audio))
        except EarsightError as error:
            failure = error
        if not batch:
            break
        yield from answer(np.concatenate(batch))
    if failure is not None:
        raise failure


def _waveform(source: AudioInput, audio: AudioSettings) -> Samples:
    if isinstance(source, tuple) and len(source) == 2:
        return load_waveform(source[0], audio, rate_hz=source[1])
    return load_waveform(source, audio)
