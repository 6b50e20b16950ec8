"""predict: a run folder, or an exported file without torch, and recordings → labels and probabilities."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earsight import extras
from earsight.audio.decode import SUFFIXES
from earsight.audio.load import fixed_crops, load_waveform
from earsight.dataset.walk import walk
from earsight.errors import DataError, DecodeError, ModelError, SettingsError
from earsight.network.exported import Exported
from earsight.tasks.cores import check_threads, free_cores, read_load
from earsight.tasks.devices import check_device_name, find_device
from earsight.tasks.memory import keep_freed_memory

if TYPE_CHECKING:
    from earsight.network.classifier import Classifier

_BATCH = 16


@dataclass(frozen=True)
class Row:
    """One recording's answer. label and probabilities are None where error says why it could not be read; label is
    "unknown" where the model does not know (``Prediction.unknown``). labels: where clips can have several, those at or
    above their thresholds, the likeliest first; None for a network that answers with one label. likeliest: the class
    that would have been said."""

    path: Path
    label: str | None
    probabilities: dict[str, float] | None
    error: str | None = None
    labels: tuple[str, ...] | None = None
    likeliest: str | None = None

    @property
    def unknown(self) -> bool:
        return self.likeliest is not None and self.label != self.likeliest

    def to_dict(self) -> dict[str, Any]:
        """For JSON: ``label``, or ``labels`` where clips can have several; null where it could not be read. What would
        have been said of what is unknown stands under ``likeliest``."""
        answer: dict[str, Any] = {"label": self.label}
        if self.labels is not None:
            answer = {"labels": None if self.error else list(self.labels)}
        if self.unknown:
            answer |= {"unknown": True, "likeliest": self.likeliest}
        error = {} if self.error is None else {"error": self.error}
        return {"path": str(self.path), **answer, "probabilities": self.probabilities, **error}


def predict(
    run: str | Path,
    sources: Sequence[str | Path],
    *,
    device: str = "cpu",
    threads: int | None = None,
    unknown: bool = True,
) -> Iterator[Row]:
    """Classify files and all recordings under folders, lazily, in the order given; a bad file is a row with its error.

    unknown: say so of silence and of what the model does not know; otherwise the likeliest class is always said.
    Raises ModelError and DataError at once, before the first row.
    """
    run = Path(run)
    exported = run.suffix == ".onnx"
    if not run.is_dir() and not exported:
        raise ModelError(f"no such run folder, or file of earsight export (.onnx): {run}")
    check_device_name(device)
    check_threads(threads)
    before = read_load()
    if exported:
        if device != "cpu":
            raise SettingsError(f"an exported file runs on the CPU here, got --device {device}; leave it out")
        model = Exported.load(run, threads or free_cores(before))
        return _rows(model, list_recordings(sources), unknown)
    paths = list_recordings(sources)
    extras.check("torch", "timm", "safetensors")
    import torch

    from earsight.network.classifier import Classifier

    classifier = Classifier.load(run, str(find_device(device)))
    torch.set_num_threads(threads or free_cores(before))
    keep_freed_memory()
    return _rows(classifier, paths, unknown)


def list_recordings(sources: Sequence[str | Path]) -> list[Path]:
    """Files as given, folders walked for sound files in sorted order. Raises DataError where nothing is there."""
    paths: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            listing = walk(source)
            if not listing.names and len(sources) == 1:
                raise DataError(f"no recordings in {source}; looked for {', '.join(sorted(SUFFIXES))}")
            unread = [failure.path for failure in listing.left_out]  # they and an empty folder are rows that fail
            paths += [*map(listing.path, listing.names), *unread] or [source]
        else:
            paths.append(source)
    if not paths:
        raise DataError("no recordings given; name files or folders")
    return paths


def _rows(classifier: "Classifier | Exported", paths: list[Path], unknown: bool) -> Iterator[Row]:
    import numpy as np

    for start in range(0, len(paths), _BATCH):
        part = paths[start : start + _BATCH]
        loaded: list[object] = []
        for path in part:
            try:
                loaded.append(fixed_crops(load_waveform(path, classifier.audio), classifier.audio))
            except DecodeError as error:
                loaded.append(error)
        crops = [item for item in loaded if isinstance(item, np.ndarray)]
        answers = iter(classifier.predictions(np.concatenate(crops))) if crops else iter(())
        for path, item in zip(part, loaded, strict=True):
            if isinstance(item, DecodeError):
                yield Row(path, None, None, str(item), () if classifier.multilabel else None)
            else:
                answer = next(answers)
                said, labels = (answer.answer, answer.labels) if unknown else (answer.label, answer.labels)
                if said != answer.label and labels is not None:
                    labels = ()
                yield Row(path, said, answer.probabilities, labels=labels, likeliest=answer.label)
