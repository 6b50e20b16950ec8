"""evaluate: a run folder and labelled recordings → scores."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from earsight import extras
from earsight.dataset.clip import Clip, Failure
from earsight.dataset.sources import read_dataset
from earsight.dataset.store import build_store
from earsight.errors import DataError
from earsight.tasks.cores import free_cores, read_load

if TYPE_CHECKING:
    from earsight.scores.metrics import Metrics
    from earsight.scores.predictions import Predictions


@dataclass(frozen=True)
class Evaluation:
    """sentence: what was scored, in words. warning: what makes the number less than honest, "" where nothing does.
    failures: clips that could not be read and are not in the score."""

    metrics: "Metrics"
    predictions: "Predictions"
    sentence: str
    warning: str
    failures: tuple[Failure, ...]


def evaluate(
    run: str | Path,
    data: str | Path | None = None,
    *,
    device: str = "cpu",
    threads: int | None = None,
    strict: bool = False,
) -> Evaluation:
    """Score a trained run: on the test clips of its own split, or on all clips of ``data``.

    Says so where the clips, or their speakers, were heard in training. Raises EarsightError.
    """
    run = Path(run)
    extras.check("torch", "timm", "safetensors")
    before = read_load()
    trained = _read_clips(run)
    failures: tuple[Failure, ...] = ()
    if data is None:
        clips = [clip for part, clip in trained if part in {"test", "all"}]
        missing = [clip.path for clip in clips if not clip.path.is_file()]
        if missing:
            raise DataError(
                f"{len(missing)} of the run's {len(clips)} test clips are gone, such as {missing[0]}; "
                "pass the folder where the recordings lie now"
            )
    else:
        dataset = read_dataset(data, strict=strict)
        clips, failures = list(dataset.clips), dataset.failures
    import torch

    from earsight.network.checkpoint import read_description
    from earsight.network.classifier import Classifier
    from earsight.scores.metrics import measure
    from earsight.tasks.scoring import score

    described = read_description(run)
    strange = sorted({clip.label for clip in clips} - set(described["labels"]))
    if strange:
        raise DataError(f"the model does not know {', '.join(strange)}; its labels: {', '.join(described['labels'])}")
    cores = threads or free_cores(before)
    torch.set_num_threads(cores)
    classifier = Classifier.load(run, device)
    store = build_store(clips, classifier.audio, threads=cores, strict=strict)
    if not store.clips:
        raise DataError(f"none of {len(clips)} clips could be read; the first: {store.failures[0].reason}")
    predictions = score(classifier, store, range(len(store.clips)))
    sentence = described["split"]["sentence"] if data is None else f"Scored on all {len(store.clips)} clips of {data}."
    warning = _warning(trained, list(store.clips), own=data is None, split=described["split"])
    return Evaluation(measure(predictions), predictions, sentence, warning, failures + store.failures)


def _read_clips(run: Path) -> list[tuple[str, Clip]]:
    """(part, clip) of every row of clips.csv; an empty list where the model was moved without it."""
    path = run / "clips.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["part"], Clip(Path(row["path"]), row["label"], row["group"])) for row in csv.DictReader(file)]


def _warning(trained: list[tuple[str, Clip]], clips: list[Clip], *, own: bool, split: dict[str, object]) -> str:
    if own:
        return "These are the clips that it was trained on." if split["training_score"] else ""
    heard = [clip for part, clip in trained if part in {"train", "all"}]
    names = {clip.path.stem for clip in heard}
    same = sum(clip.path.stem in names for clip in clips)
    if same:
        return (
            f"{same} of {len(clips)} clips have the file name of a training clip: this is not a score on unseen clips."
        )
    groups = {clip.group for clip in heard if clip.group} & {clip.group for clip in clips}
    if groups:
        return f"{len(groups)} of these groups (speakers) were heard in training: {', '.join(sorted(groups))}."
    return ""
