"""evaluate: a run folder and labelled recordings → scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from earsight.tasks.machine.cores import LoadSample, check_threads, free_cores, read_load, torch_threads
from earsight.tasks.machine.memory import keep_freed_memory
from earsight.tasks.progress import Progress

if TYPE_CHECKING:
    from earsight.network.classifier import Classifier
    from earsight.scores.dispatch import AnyMetrics, AnyPredictions

_LOOKED_AT_S = 1.0


@dataclass(frozen=True)
class ScoringOptions:
    """How recordings are read, and what is done where training heard them: see ``evaluate``."""

    source: str | None = None
    group_pattern: str | None = None
    leaks: Policy = "refuse"
    device: str = "cpu"
    threads: int | None = None
    strict: bool = False
    progress: bool = False


@dataclass(frozen=True)
class ScoreContext:
    """What is reported beside every score. sentence: what was scored, in words. caveat: two or three words that belong
    beside every number; "" for none. warning: what else a reader should know; "" for nothing. failures: files that
    could not be used. dropped: clips that were left out because they, or their speakers, were in the training."""

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
    group_pattern, strict: see ``read_dataset``. leaks: what to do where clips of ``data``, copies of them, or their
    speakers were in the training: "refuse", "drop" (score the others) or "allow" (and say so). Raises EarsightError.
    """
    from earsight.scores.dispatch import measure
    from earsight.tasks.training.scoring import score

    options = ScoringOptions(source, group_pattern, leaks, device, threads, strict, progress)
    to_score = prepare_scoring(run, data, options)
    with torch_threads(to_score.cores), Progress(shown=progress) as shown:
        shown.start("scoring", len(to_score.indices))
        predictions = score(to_score.classifier, to_score.store, to_score.indices, progress=shown.advance)
    return Evaluation(**vars(to_score.context), metrics=measure(predictions), predictions=predictions)


@dataclass(frozen=True)
class ScoringSet:
    """Clips that may be scored. indices: of these, in the store. cores: threads to score them with."""

    classifier: "Classifier"
    store: Store
    indices: list[int]
    cores: int
    context: ScoreContext


def prepare_scoring(
    run: str | Path, data: str | Path | DataSet | None, options: ScoringOptions, *, for_events: bool = False
) -> ScoringSet:
    """Read and decode the clips to score, without those that training heard, and load the model.

    run, data: as for ``evaluate``. for_events: the clips are annotated spans of recordings; labels that the model does
    not know are removed from them, with a warning, as long as it knows any. Raises EarsightError.
    """
    extras.check("torch", "timm", "safetensors")
    run = resolve_run(run)
    if not run.is_dir():
        raise run_folder_error(run)
    check_device_name(options.device)
    check_threads(options.threads)
    before = read_load()
    recorded, described = read_clips(run), read_description(run)
    multilabel = described.get("task") == "multilabel"
    dataset: DataSet | None = None
    named = data.place if isinstance(data, DataSet) else data
    if data is None:
        clips = _recorded_test_clips(run, recorded, whole=for_events)
        clips = [split_labels(clip) for clip in clips] if multilabel else clips
    else:
        dataset = read_dataset(
            ensure_downloaded(data),
            source=options.source,
            group_pattern=options.group_pattern,
            strict=options.strict,
            fewest_classes=1,
        )
        clips = [*dataset.clips, *(map(_first_second, dataset.empty) if for_events else ())]
        if dataset.multilabel and not (multilabel or for_events):
            raise DataError(
                f"clips of {named} have several labels or none, but the model of {run} gives each clip one; use "
                "other data"
            )
    clips, unknown_labels = _without_unknown_labels(clips, described["labels"], for_events)
    cores, classifier, store = _load_and_decode(run, clips, options, before)
    if dataset is None:
        scored, context = tuple(range(len(clips))), _recorded_context(clips, recorded, described, store.digest_of)
    else:
        scored, caveat, warning, left_out = exclude_heard(
            recorded, clips, store.digest_of, dataset, described, options.leaks
        )
        groups = {clips[i].group for i in scored}
        note = ""
        if not (warning or caveat):
            note = overlap_note(recorded, dataset, described, groups, some_left_out=bool(left_out))
        sentence = f"Scored on clips of {named}{note}."
        context = ScoreContext(sentence, caveat, warning, dataset.failures, left_out)
    if unknown_labels:
        note = f"annotated labels that the model does not know were ignored: {', '.join(unknown_labels)}"
        context = replace(context, warning=f"{context.warning}; {note}" if context.warning else note)
    place = store.index_of
    indices = [place[i] for i in scored if i in place]
    if not indices:
        left_out = context.dropped or store.failures
        raise DataError(f"nothing is left to score: {left_out[0].reason}")
    context = replace(context, failures=(*context.failures, *store.failures))
    return ScoringSet(classifier, store, indices, cores, context)


def _without_unknown_labels(
    clips: Sequence[Clip], labels: Sequence[str], for_events: bool
) -> tuple[list[Clip], list[str]]:
    """The clips with the labels that the model knows, and the others. Raises DataError unless for_events, and where it
    knows none."""
    unknown = sorted({label for clip in clips for label in clip.labels} - set(labels))
    if not unknown:
        return list(clips), []
    if not for_events or not any(set(clip.labels) & set(labels) for clip in clips):
        raise DataError(f"the model does not know {', '.join(unknown)}; its labels: {', '.join(labels)}")
    return [clip.with_labels(label for label in clip.labels if label not in unknown) for clip in clips], unknown


def _load_and_decode(
    run: Path, clips: Sequence[Clip], options: ScoringOptions, before: LoadSample | None
) -> "tuple[int, Classifier, Store]":
    """before: a sample of the load, to see how many cores are free. Raises DataError where no clip can be read."""
    from earsight.network.classifier import Classifier

    keep_freed_memory()
    cores = options.threads or free_cores(before)
    classifier = Classifier.load(run, str(find_device(options.device)))
    with Progress(shown=options.progress) as shown:
        shown.start("decoding", len(clips))
        store = build_store(
            clips,
            classifier.audio,
            folder=store_folder(),
            threads=cores,
            strict=options.strict,
            progress=shown.advance,
        )
    if not store.clips:
        raise DataError(f"none of {len(clips)} clips could be read; the first: {store.failures[0].reason}")
    return cores, classifier, store


def _recorded_context(
    clips: Sequence[Clip], recorded: Sequence[RunClip], described: Mapping[str, Any], digests: Mapping[int, str]
) -> ScoreContext:
    """For the run's own test clips. digests: index of a clip → digest of its samples as they are now."""
    split = described.get("split", {})
    was = [row.digest for row in recorded if row.part in {"test", "all"}]
    changed = sum(was[i] != digest for i, digest in digests.items())
    warning = f"{changed} of {len(clips)} test clips have changed since the training" if changed else ""
    sentence = str(split.get("sentence", "How these clips were split is not known."))
    return ScoreContext(sentence, str(split.get("caveat", "")), warning, (), ())


def _first_second(path: Path) -> Clip:
    """A clip that stands for a recording without events: whether training heard it is seen by its path, so that an hour
    of it need not be decoded."""
    length_s = header_length_s(path)
    return Clip(path, "", str(path), "", 0.0, None if length_s is None else min(_LOOKED_AT_S, length_s))


def _recorded_test_clips(run: Path, recorded: list[RunClip], *, whole: bool) -> list[Clip]:
    """The test clips of a run. whole: their recordings will be scored from end to end, so no other piece of them may
    have been trained on. Raises DataError."""
    clips = [row.clip for row in recorded if row.part in {"test", "all"}]
    if not clips:
        raise DataError(f"{run} has no list of its test clips ({CLIPS_NAME}); pass labelled recordings to score")
    missing = [clip.path for clip in clips if not clip.path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of the run's {len(clips)} test clips were not found, such as {missing[0]}; "
            "pass the folder that they are in now"
        )
    heard = {row.clip.path for row in recorded if row.part in {"train", "valid"}}
    if whole and (shared := heard.intersection(clip.path for clip in clips)):
        raise DataError(
            f"other pieces of {pluralise(len(shared), 'recording')} with test clips of {run} were heard in training, "
            f"such as of {min(shared)}; pass other annotated recordings"
        )
    return clips
