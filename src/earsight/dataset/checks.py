"""What is allowed in a data set but hardly meant: labels that differ by case alone, contradicting spans."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from earsight.dataset.clip import Clip, DataSet
from earsight.plain import pluralise

_SHOWN = 3


def dataset_warnings(dataset: DataSet) -> tuple[str, ...]:
    """Warnings, one line each."""
    return tuple(filter(None, (_empty_class_folders(dataset), _similar_labels(dataset), _conflicting_spans(dataset))))


def _empty_class_folders(dataset: DataSet) -> str:
    if not dataset.empty_class_folders:
        return ""
    named = ", ".join(folder.name for folder in dataset.empty_class_folders[:10])
    return f"{pluralise(len(dataset.empty_class_folders), 'folder')} ignored as a class for lack of recordings: {named}"


def _similar_labels(dataset: DataSet) -> str:
    """Labels that differ only by case, blanks, or how their letters are composed."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for label in dataset.labels:
        found[_as_read(label)].append(label)
    alike = [labels for labels in found.values() if len(labels) > 1]
    if not alike:
        return ""
    shown = (" and ".join(_told_apart(label, labels) for label in labels) for labels in alike[:_SHOWN])
    how = "case, blanks or the encoding of a letter" if any(map(_looks_the_same, alike)) else "case or blanks"
    return f"labels that differ only in {how} count as different classes: {'; '.join(shown)}"


def _as_read(label: str) -> str:
    return " ".join(unicodedata.normalize("NFC", label).split()).casefold()


def _looks_the_same(labels: Sequence[str]) -> bool:
    return len({unicodedata.normalize("NFC", label) for label in labels}) < len(labels)


def _told_apart(label: str, labels: Sequence[str]) -> str:
    """In quotes; by code points where another looks the same."""
    return ascii(label) if _looks_the_same(labels) else repr(label)


def _conflicting_spans(dataset: DataSet) -> str:
    """Spans that overlap an earlier one of their recording by more than half of the shorter, with other labels. Relies
    on clips being sorted by path and start."""
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
            shown = shown or f"{other.name} {other.label_text} and {clip.name} {clip.label_text}"
        open_.append(clip)
    if not count:
        return ""
    return (
        f"spans with different labels that overlap by more than half of the shorter one: {count}, such as {shown}"
        "; if both labels are right, give both spans both labels (docs/multilabel.md)"
    )


def _overlap(one: Clip, two: Clip) -> bool:
    """Whether the spans overlap by more than half of the shorter. two: starts no earlier than one."""
    ends_s = [end_s for end_s in (one.end_s, two.end_s) if end_s is not None]
    lengths_s = [clip.end_s - (clip.start_s or 0.0) for clip in (one, two) if clip.end_s is not None]
    if not ends_s:
        return True  # both to the end of the recording
    return 2 * (min(ends_s) - (two.start_s or 0.0)) > min(lengths_s)
