"""Clips to be scored against those that a run, or a run that it started from, was trained on."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from earsight.dataset.clip import Clip, DataSet, Failure
from earsight.dataset.leaks import Policy, find_copies, find_leaks, resolve_leaks
from earsight.dataset.sources import known_sources, same_groups
from earsight.dataset.split import Split
from earsight.errors import DataError
from earsight.network.description import SETTINGS_NAME, read_description
from earsight.plain import pluralise
from earsight.tasks.clips_table import CLIPS_NAME, RunClip, read_clips

_UNKNOWN = "; whether the network heard their speakers or recordings is not known"


def _same_people(dataset: DataSet, described: dict[str, Any]) -> bool:
    """Whether the speakers or recordings of training may be in the data set; synthetic voices are nobody's."""
    data = described.get("data", {})
    return bool(data.get("synthetic")) == dataset.synthetic and same_groups(str(data.get("source")), dataset.source)


def _same_groups(dataset: DataSet, described: dict[str, Any]) -> bool:
    """Whether equal group names mean equal groups in training and in the data set. A table's column ``group`` may hold
    any kind of group."""
    was = described.get("data", {})
    alike = was.get("group_name") == dataset.group_name
    if was.get("source") == dataset.source == "table":
        alike = alike or "group" in {was.get("group_name"), dataset.group_name}
    return alike and _same_people(dataset, described)


def overlap_note(
    recorded: list[RunClip], dataset: DataSet, described: dict[str, Any], groups: set[str], *, some_left_out: bool
) -> str:
    """A note on speaker overlap where none was found, for the end of a sentence; "" where overlap is impossible or all
    groups are known. groups: those that are scored."""
    heard = [row.clip for row in recorded if row.part != "test"]
    grouped = all(clip.group for clip in (*heard, *dataset.clips))
    if {str(described.get("data", {}).get("source")), dataset.source} <= known_sources().keys():
        known = not _same_people(dataset, described) or (grouped and _same_groups(dataset, described))
        return "" if known else _UNKNOWN
    if heard and grouped and _same_groups(dataset, described):  # a table may name the same people otherwise
        which = f"{'other ' if some_left_out else ''}{dataset.group_name}"
        return f"; none of its {pluralise(len(groups), which)} has the name of one that the network heard"
    return _UNKNOWN


def _comparable_clips(clips: Sequence[Clip], dataset: DataSet, described: dict[str, Any]) -> list[Clip]:
    """Clips with absolute paths, as in clips.csv, and without groups where the names mean others than in the run:
    speaker 03 of another data set is another person."""
    known = _same_groups(dataset, described)
    return [clip if known else clip._replace(group="") for clip in (clip.absolute() for clip in clips)]


def _namesakes(heard: list[Clip], clips: list[Clip]) -> str:
    """A warning about files that share a name but not a folder with training files, where clips are spans: copies with
    other spans can't be found by digest."""
    there = {clip.path for clip in heard}
    names = {clip.path.name: clip.is_span for clip in sorted(heard, key=lambda clip: clip.is_span)}
    foreign = [clip for clip in clips if clip.path.name in names and clip.path not in there]
    alike = sorted({clip.path.name for clip in foreign if clip.is_span or names[clip.path.name]})
    if not alike:
        return ""
    return (
        f"{pluralise(len(alike), 'file')} here, such as {alike[0]}, have the name of a recording that was trained on; "
        "overlapping spans of copies are not found, so score files in the place that training had them in"
    )


def exclude_heard(
    recorded: list[RunClip],
    clips: list[Clip],
    digests: dict[int, str],
    dataset: DataSet,
    described: dict[str, Any],
    policy: Policy,
) -> tuple[tuple[int, ...], str, str, tuple[Failure, ...]]:
    """Indices of the clips to score, caveat, warning, and the clips left out. digests: index of a clip → digest of its
    samples. Raises DataError by ``policy``."""
    heard = [row for row in recorded if row.part != "test"]
    warning = "" if recorded else f"the run has no {CLIPS_NAME}, so whether these clips were trained on is unknown"
    data = described.get("data", {})
    clips = _comparable_clips(clips, dataset, described)
    warning = warning or _namesakes([row.clip for row in heard], clips)
    if not recorded and _same_groups(dataset, described):
        name = dataset.group_name
        groups = sorted({*data.get("trained_groups", ()), *data.get("validated_groups", ())} - {""})
        heard = [RunClip("train", Clip(Path(f"what was heard of {name} {group}"), "", group), "") for group in groups]
        if groups:
            warning = f"the run has no {CLIPS_NAME}, so only {name}s are checked for leaks, not copies of their clips"
    both = [*(row.clip for row in heard), *clips]
    sides = Split(tuple(range(len(heard))), (), tuple(range(len(heard), len(both))), "evaluate", "")
    known = dict(enumerate(row.digest for row in heard)) | {len(heard) + i: digest for i, digest in digests.items()}
    known = {i: digest for i, digest in known.items() if digest}
    names = partial(find_leaks, both, group_name=dataset.group_name)
    split, dropped = resolve_leaks(both, sides, lambda way: find_copies(way, known) or names(way), policy, "later")
    return tuple(i - len(heard) for i in split.test), split.caveat, warning, tuple(dropped)


def exclude_heard_by_weights(
    dataset: DataSet, drawn: Split, weights: str | None, policy: Policy
) -> tuple[Split, list[Failure]]:
    """The split without test clips that are leaks from the training of ``weights``, a file in a run folder: clips, or
    groups, that this run was trained or validated on. Nothing is known of a file elsewhere, nor of a run that this run
    started from. Raises DataError by ``policy``."""
    run = Path(weights or "").parent
    if weights is None or drawn.training_score or not (run / SETTINGS_NAME).is_file():
        return drawn, []
    heard = [row.clip for row in read_clips(run) if row.part != "test"]
    clips = _comparable_clips(dataset.clips, dataset, read_description(run))
    both = [*clips, *heard]
    sides = replace(drawn, train=tuple(range(len(clips), len(both))), valid=(), kind="weights")
    try:
        found, left_out = resolve_leaks(
            both, sides, lambda way: find_leaks(both, way, dataset.group_name), policy, "later"
        )
    except DataError as error:
        raise DataError(f"the run of --weights {weights} was trained on what is to be scored: {error}") from error
    return replace(found, train=drawn.train, valid=drawn.valid, kind=drawn.kind), left_out
