"""evaluate: a run folder and labelled recordings → scores."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from earsight import extras
from earsight.audio.decode import header_length_s
from earsight.dataset.clip import Clip, DataSet, Failure
from earsight.dataset.leaks import Policy
from earsight.dataset.sources import read_dataset
from earsight.dataset.store import Store, build_store
from earsight.dataset.walk import store_folder
from earsight.errors import DataError
from earsight.network.description import read_description, run_folder_error
from earsight.network.device import check_device_name, find_device
from earsight.network.hub import resolve_run
from earsight.plain import pluralise
from earsight.tasks.clips_table import CLIPS_NAME, RunClip, read_clips, split_labels
from earsight.tasks.contamination import exclude_heard, overlap_note
from earsight.tasks.data import ensure_downloaded
from earsight.tasks.machine.cores import check_threads, free_cores, read_load, torch_threads
from earsight.tasks.machine.memory import keep_freed_memory
from earsight.tasks.progress import Progress

if TYPE_CHECKING:
    from earsight.network.classifier import Classifier
    from earsight.scores.dispatch import AnyMetrics, AnyPredictions

_LOOKED_AT_S = 1.0


@dataclass(frozen=True)
class ScoreContext:
    """What stands beside every score. sentence: what was scored, in words. caveat: two or three words that belong
    beside every number, "" where there is nothing to add. warning: what else a reader should know, "" where nothing.
    failures: files that could not be used. dropped: clips that were left out because they, or their speakers, were
    heard in training."""

    sentence: str
    caveat: str
    warning: str
    failures: tuple[Failure, ...]
    dropped: tuple[Failure, ...]


@dataclass(frozen=True)
class Evaluation(ScoreContext):
    metrics: "AnyMetrics"
    predictions: "AnyPredictions"


def evaluate(
    run: str | Path,
    data: str | Path | DataSet | None = None,
    *,
    source: str | None = None,
    group_pattern: str | None = None,
    leaks: Policy = "refuse",
    device: str = "cpu",
    threads: int | None = None,
    strict: bool = False,
    progress: bool = False,
) -> Evaluation:
    """Score a trained run: on the test clips of its own split, or on all clips of ``data``.

    run: a run folder, or a model of the hub by its name (user/name), which has no clips of its own. data, source,
    group_pattern, strict: see ``read_dataset``. leaks: what to do where clips of ``data``, copies of
    them, or their speakers were heard in training: "refuse", "drop" (score the others) or "allow" (and say so). Raises
    EarsightError.
    """
    from earsight.scores.dispatch import measure
    from earsight.tasks.training.scoring import score

    to_score = prepare_scoring(run, data, source, group_pattern, leaks, device, threads, strict, progress=progress)
    with torch_threads(to_score.cores), Progress(shown=progress) as shown:
        shown.start("scoring", len(to_score.indices))
        predictions = score(to_score.classifier, to_score.store, to_score.indices, progress=shown.advance)
    return Evaluation(**vars(to_score.context), metrics=measure(predictions), predictions=predictions)


@dataclass(frozen=True)
class ScoringSet:
    """What of some clips may be scored. indices: of clips of the store. cores: to score them by."""

    classifier: "Classifier"
    store: Store
    indices: list[int]
    cores: int
    context: ScoreContext


def prepare_scoring(
    run: str | Path,
    data: str | Path | DataSet | None,
    source: str | None,
    group_pattern: str | None,
    leaks: Policy,
    device: str,
    threads: int | None,
    strict: bool,
    *,
    progress: bool = False,
    for_events: bool = False,
) -> ScoringSet:
    """for_events: clips are what is annotated in recordings; labels that the model does not know are left out of
    them and told, and otherwise refused. Other arguments as those of ``evaluate``. Raises EarsightError."""
    extras.check("torch", "timm", "safetensors")
    run = resolve_run(run)
    if not run.is_dir():
        raise run_folder_error(run)
    check_device_name(device)
    check_threads(threads)
    before = read_load()
    recorded = read_clips(run)
    dataset: DataSet | None = None
    named = data.place if isinstance(data, DataSet) else data
    if data is None:
        clips = _recorded_test_clips(run, recorded, whole=for_events)
    else:
        dataset = read_dataset(
            ensure_downloaded(data), source=source, group_pattern=group_pattern, strict=strict, fewest_classes=1
        )
        clips = list(dataset.clips)
        if for_events:
            clips += map(_first_second, dataset.empty)
    from earsight.network.classifier import Classifier

    described = read_description(run)
    several = described.get("task") == "multilabel"
    if dataset is None and several:
        clips = [split_labels(clip) for clip in clips]
    if dataset is not None and dataset.multilabel and not (several or for_events):
        raise DataError(
            f"clips of {named} have several labels or none, and the model of {run} gives each one; score it on others"
        )
    strange = sorted({label for clip in clips for label in clip.labels} - set(described["labels"]))
    if strange and for_events and any(set(clip.labels) & set(described["labels"]) for clip in clips):
        clips = [clip.with_labels(label for label in clip.labels if label not in strange) for clip in clips]
    elif strange:
        raise DataError(f"the model does not know {', '.join(strange)}; its labels: {', '.join(described['labels'])}")
    keep_freed_memory()
    cores = threads or free_cores(before)
    classifier = Classifier.load(run, str(find_device(device)))
    with Progress(shown=progress) as shown:
        shown.start("decoding", len(clips))
        store = build_store(
            clips, classifier.audio, folder=store_folder(), threads=cores, strict=strict, progress=shown.advance
        )
    if not store.clips:
        raise DataError(f"none of {len(clips)} clips could be read; the first: {store.failures[0].reason}")
    digests = store.digest_of
    left_out: tuple[Failure, ...] = ()
    if dataset is None:
        split = described.get("split", {})
        scored = tuple(range(len(clips)))
        sentence = str(split.get("sentence", "How these clips were split is not known."))
        caveat = str(split.get("caveat", ""))
        was = [row.digest for row in recorded if row.part in {"test", "all"}]
        changed = sum(was[i] != digest for i, digest in digests.items())
        warning = f"{changed} of {len(clips)} test clips are no longer what they were in training" if changed else ""
    else:
        scored, caveat, warning, left_out = exclude_heard(recorded, clips, digests, dataset, described, leaks)
        groups = {clips[i].group for i in scored}
        beside = (
            ""
            if warning or caveat
            else overlap_note(recorded, dataset, described, groups, some_left_out=bool(left_out))
        )
        sentence = f"Scored on clips of {named}{beside}."
    place = store.index_of
    indices = [place[i] for i in scored if i in place]
    if strange:
        unasked = f"annotated labels that the model does not know are not looked for: {', '.join(strange)}"
        warning = f"{warning}; {unasked}" if warning else unasked
    if not indices:
        raise DataError(f"nothing is left to score: {left_out[0].reason if left_out else store.failures[0].reason}")
    failures = (*(dataset.failures if dataset else ()), *store.failures)
    return ScoringSet(classifier, store, indices, cores, ScoreContext(sentence, caveat, warning, failures, left_out))


def _first_second(path: Path) -> Clip:
    """Of a recording in which nothing is: whether it was heard is seen by where it lies, and an hour of it need not be
    decoded for that."""
    length_s = header_length_s(path)
    return Clip(path, "", str(path), "", 0.0, None if length_s is None else min(_LOOKED_AT_S, length_s))


def _recorded_test_clips(run: Path, recorded: list[RunClip], *, whole: bool) -> list[Clip]:
    """whole: their recordings are heard from end to end. Raises DataError."""
    clips = [row.clip for row in recorded if row.part in {"test", "all"}]
    if not clips:
        raise DataError(f"{run} does not tell its test clips (no {CLIPS_NAME}); pass labelled recordings to score")
    missing = [clip.path for clip in clips if not clip.path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of the run's {len(clips)} test clips are gone, such as {missing[0]}; "
            "pass the folder where the recordings lie now"
        )
    heard = {row.clip.path for row in recorded if row.part in {"train", "valid"}}
    if whole and (shared := heard.intersection(clip.path for clip in clips)):
        raise DataError(
            f"other pieces of {pluralise(len(shared), 'recording')} with test clips of {run} were heard in training, "
            f"such as of {min(shared)}; pass other annotated recordings"
        )
    return clips
