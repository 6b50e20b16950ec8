"""What a run has heard, against the clips that it, or what starts from it, is to be scored on."""

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
    """Whether a speaker or recording of training may be here; synthetic voices are nobody's."""
    data = described.get("data", {})
    return bool(data.get("synthetic")) == dataset.synthetic and same_groups(str(data.get("source")), dataset.source)


def _same_groups(dataset: DataSet, described: dict[str, Any]) -> bool:
    """Whether groups of one name are one group in training and here. A table's column group may be of anything."""
    was = described.get("data", {})
    alike = was.get("group_name") == dataset.group_name
    if was.get("source") == dataset.source == "table":
        alike = alike or "group" in {was.get("group_name"), dataset.group_name}
    return alike and _same_people(dataset, described)


def overlap_note(
    recorded: list[RunClip], dataset: DataSet, described: dict[str, Any], groups: set[str], *, some_left_out: bool
) -> str:
    """What is to be said of whether somebody who is scored was heard in training, when nobody was found. Nothing where
    all is known: both are known data sets, of other people or with all their groups. groups: that are scored."""
    heard = [row.clip for row in recorded if row.part != "test"]
    grouped = all(clip.group for clip in (*heard, *dataset.clips))
    if {str(described.get("data", {}).get("source")), dataset.source} <= known_sources().keys():
        known = not _same_people(dataset, described) or (grouped and _same_groups(dataset, described))
        return "" if known else _UNKNOWN
    if heard and grouped and _same_groups(dataset, described):  # a table may call the same people otherwise
        which = f"{'other ' if some_left_out else ''}{dataset.group_name}"
        return f"; none of its {pluralise(len(groups), which)} has the name of one that was heard"
    return _UNKNOWN


def _comparable_clips(clips: Sequence[Clip], dataset: DataSet, described: dict[str, Any]) -> list[Clip]:
    """Clips as a run's own table has them; without their groups where these are not those of the run: speaker 03 of
    another data set is another person."""
    known = _same_groups(dataset, described)
    return [clip if known else clip._replace(group="") for clip in (clip.absolute() for clip in clips)]


def _namesakes(heard: list[Clip], clips: list[Clip]) -> str:
    """A warning where files here have the names, and not the places, of files that were heard, and only spans of the
    one or the other were: in another span a copy is not found."""
    there = {clip.path for clip in heard}
    names = {clip.path.name: clip.is_span for clip in sorted(heard, key=lambda clip: clip.is_span)}
    foreign = [clip for clip in clips if clip.path.name in names and clip.path not in there]
    alike = sorted({clip.path.name for clip in foreign if clip.is_span or names[clip.path.name]})
    if not alike:
        return ""
    return (
        f"{pluralise(len(alike), 'file')} here, such as {alike[0]}, with the name of a recording that was trained on; "
        "of copies, spans that overlap are not found: score them where training had them"
    )


def exclude_heard(
    recorded: list[RunClip],
    clips: list[Clip],
    digests: dict[int, str],
    dataset: DataSet,
    described: dict[str, Any],
    policy: Policy,
) -> tuple[tuple[int, ...], str, str, tuple[Failure, ...]]:
    """Which clips to score, caveat, warning, and the clips left out."""
    heard = [row for row in recorded if row.part != "test"]
    warning = "" if recorded else f"the run has no {CLIPS_NAME}: whether these clips were trained on is unknown"
    data = described.get("data", {})
    clips = _comparable_clips(clips, dataset, described)
    warning = warning or _namesakes([row.clip for row in heard], clips)
    if not recorded and _same_groups(dataset, described):
        name = dataset.group_name
        groups = sorted({*data.get("trained_groups", ()), *data.get("validated_groups", ())} - {""})
        heard = [RunClip("train", Clip(Path(f"what was heard of {name} {group}"), "", group), "") for group in groups]
        if groups:
            warning = f"the run has no {CLIPS_NAME}: it tells the {name}s that it has heard, but not their clips"
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
    """The split without the test clips that the weights, a file of a run, have heard, or of whose groups they have
    heard others: training and validation clips of that run. They are leaks like others. A file that lies in no run
    folder tells nothing, and a run that started from another tells of its own clips alone. Raises DataError."""
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
        raise DataError(f"--weights {weights} are of a run that has heard what is to be scored: {error}") from error
    return replace(found, train=drawn.train, valid=drawn.valid, kind=drawn.kind), left_out
