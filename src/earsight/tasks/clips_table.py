"""clips.csv, the table of the clips that a run was trained, validated and tested on: written and read."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from earsight.dataset.clip import PARTS, Clip
from earsight.errors import ModelError
from earsight.files import csv_line

CLIPS_NAME = "clips.csv"
COLUMNS = ("part", "path", "label", "group", "fold", "start", "end")


@dataclass(frozen=True)
class RunClip:
    """A row of clips.csv. part: train, valid, test, or all where the run was scored on its training clips."""

    part: str
    clip: Clip
    digest: str


def parts_csv(
    clips: Sequence[Clip],
    parts: Mapping[str, Sequence[int]],
    *,
    whole: bool,
    digests: Sequence[str] | None = None,
) -> str:
    """A table of clips that earsight reads as data, with tags as columns. parts: name → indices. whole: there are no
    parts, "train" has all clips. digests: of the samples of each clip. Columns part and digest of an earlier such table
    are replaced."""
    rows = (
        (["all" if whole else part], clips[i], [] if digests is None else [digests[i]])
        for part in (PARTS[:1] if whole else PARTS)
        for i in parts[part]
    )
    return _csv(clips, COLUMNS[:1], rows, () if digests is None else ("digest",))


def clips_csv(clips: Sequence[Clip]) -> str:
    """A table of clips that earsight reads as data, with tags as columns."""
    return _csv(clips, (), (([], clip, []) for clip in clips), ())


def _csv(
    clips: Sequence[Clip],
    before: Sequence[str],
    rows: Iterable[tuple[list[str], Clip, list[str]]],
    after: Sequence[str],
) -> str:
    """before, after: additional columns, whose cells are before and after the clip in each of ``rows``."""
    columns = [*before, *COLUMNS[1:], *after]
    tags = [tag for tag in dict.fromkeys(tag for clip in clips for tag in clip.tags) if tag not in columns]
    lines = [csv_line([*columns, *tags])]
    for first, clip, last in rows:
        labels = ";".join(clip.labels) or ";"
        span = ("" if edge is None else edge for edge in (clip.start_s, clip.end_s))
        own = (clip.absolute().path, labels, clip.group, clip.fold, *span)
        lines.append(csv_line([*first, *own, *last, *(clip.tags.get(tag, "") for tag in tags)]))
    return "".join(f"{line}\n" for line in lines)


def split_labels(clip: Clip) -> Clip:
    """A clip of ``read_clips`` with its ``;``-separated labels as separate ones."""
    return clip.with_labels(label for label in clip.label.split(";") if label)


def read_clips(run: Path) -> list[RunClip]:
    """The clips that a run was trained, validated and tested on; [] where there is no table. Several labels are one
    string with ``;`` between them (``split_labels``). Raises ModelError where the table is damaged."""
    path = run / CLIPS_NAME
    if not path.is_file():
        return []

    def seconds(text: str | None) -> float | None:
        return float(text) if text else None

    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            text = file.read()
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        if not rows or not text.endswith("\n") or any(None in row.values() for row in rows):
            raise ValueError(f"cut off after {len(rows)} rows")
        return [
            RunClip(
                row["part"],
                Clip(
                    Path(row["path"]),
                    row["label"],
                    row["group"],
                    row["fold"],
                    seconds(row["start"]),
                    seconds(row["end"]),
                ),
                row["digest"],
            )
            for row in rows
        ]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ModelError(
            f"{path} is damaged ({error}); restore it, or remove it and pass the recordings to score"
        ) from error
