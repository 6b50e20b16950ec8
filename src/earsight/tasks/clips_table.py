"""clips.csv: the table of the clips that a run was trained, validated and tested on; written, and read again."""

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
    """One row of a run's table of clips. part: train, valid, test, or all."""

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
    """A table of clips that earsight reads as data. parts: name → indices; whole: they are no parts, train has all of
    them. digests: of the samples of each clip. The tags become columns; where the clips came from such a table, its
    part and digest give way to these."""
    rows = (
        (["all" if whole else part], clips[i], [] if digests is None else [digests[i]])
        for part in (PARTS[:1] if whole else PARTS)
        for i in parts[part]
    )
    return _csv(clips, COLUMNS[:1], rows, () if digests is None else ("digest",))


def clips_csv(clips: Sequence[Clip]) -> str:
    """A table of clips that earsight reads as data; the tags become columns."""
    return _csv(clips, (), (([], clip, []) for clip in clips), ())


def _csv(
    clips: Sequence[Clip],
    before: Sequence[str],
    rows: Iterable[tuple[list[str], Clip, list[str]]],
    after: Sequence[str],
) -> str:
    """before, after: columns beside what each clip tells of itself, whose cells each of ``rows`` has beside its
    clip."""
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
    """A recorded clip with its labels taken apart."""
    return clip.with_labels(label for label in clip.label.split(";") if label)


def read_clips(run: Path) -> list[RunClip]:
    """The clips that a run was trained, validated and tested on; none where the model was moved without them. Several
    labels stand in one text, with ``;`` between them. Raises ModelError where the table is damaged."""
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
