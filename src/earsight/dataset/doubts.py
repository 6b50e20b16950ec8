"""What is allowed in a data set and hardly meant: labels that differ in case alone, spans that contradict others."""

from collections import defaultdict

from earsight.dataset.clip import Clip, DataSet
from earsight.plain import counted

_SHOWN = 3


def doubts(dataset: DataSet) -> tuple[str, ...]:
    """One line each; none where there is nothing to be said."""
    return tuple(filter(None, (_unfilled(dataset), _alike(dataset), _contradicting(dataset))))


def _unfilled(dataset: DataSet) -> str:
    if not dataset.unfilled:
        return ""
    named = ", ".join(folder.name for folder in dataset.unfilled[:10])
    return f"{counted(len(dataset.unfilled), 'folder')} without a recording, so no class: {named}"


def _alike(dataset: DataSet) -> str:
    """Labels that are one but for case and blanks."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for label in dataset.labels:
        found[" ".join(label.split()).casefold()].append(label)
    alike = [" and ".join(map(repr, labels)) for labels in found.values() if len(labels) > 1]
    if not alike:
        return ""
    return f"labels that differ in case or blanks alone are classes of their own: {'; '.join(alike[:_SHOWN])}"


def _contradicting(dataset: DataSet) -> str:
    """Spans that overlap an earlier one of their recording, with other labels, by more than half of the shorter. Clips
    come sorted by path and start."""
    shown, count = "", 0
    open_: list[Clip] = []  # spans of this recording that reach beyond the start of the current one
    last = None
    for clip in dataset.clips:
        if clip.path != last:
            open_, last = [], clip.path
        start_s = clip.start_s or 0.0
        open_ = [one for one in open_ if one.end_s is None or one.end_s > start_s]
        if other := next((one for one in open_ if set(one.labels) != set(clip.labels) and _overlap(one, clip)), None):
            count += 1
            shown = shown or f"{other.name} {other.told} and {clip.name} {clip.told}"
        open_.append(clip)
    if not count:
        return ""
    return (
        f"{counted(count, 'span')} overlapping one of other labels by more than half of the shorter, such as {shown}; "
        "if both sound there, give both labels to both (docs/multilabel.md)"
    )


def _overlap(one: Clip, two: Clip) -> bool:
    """two: begins later, or at once."""
    ends_s = [end_s for end_s in (one.end_s, two.end_s) if end_s is not None]
    lengths_s = [clip.end_s - (clip.start_s or 0.0) for clip in (one, two) if clip.end_s is not None]
    if not ends_s:
        return True  # both to the end of the recording
    return 2 * (min(ends_s) - (two.start_s or 0.0)) > min(lengths_s)
