"""Results as lines of text for a terminal."""

from __future__ import annotations

import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from earsight.dataset.checks import dataset_warnings
from earsight.dataset.clip import PARTS
from earsight.plain import counts_text, plain, plain_full
from earsight.tasks.answers.row_formats import json_line as json_line
from earsight.tasks.sweeping.space import short_value

if TYPE_CHECKING:
    from pathlib import Path

    from earsight.dataset.sources.source import Source
    from earsight.tasks.answers.event_rows import EventRow
    from earsight.tasks.bench import Bench
    from earsight.tasks.data import SplitPreview
    from earsight.tasks.inspect import Inspection
    from earsight.tasks.predict import Row
    from earsight.tasks.sweeping.trials import SweepResult
    from earsight.tasks.training.batch_size import BatchSizes

_LISTED = 10
_BARS = 20


def note_unfinished(*runs: str | Path) -> None:
    """Note on standard error which of the runs have not finished training."""
    from earsight.tasks.training.plan import unfinished_note

    show(*(f"note: {plain(said)}" for said in map(unfinished_note, runs) if said), to=sys.stderr)


def show(*lines: str, to: TextIO | None = None) -> None:
    """Print lines. to: None: standard output."""
    (to or sys.stdout).writelines(f"{line}\n" for line in lines)


def answer_line(row: Row | EventRow, width: int) -> str:
    """A row as a line: the label, or all labels above their thresholds, and the next likely ones; or an event."""
    from earsight.tasks.answers.event_rows import EventRow

    name = plain(row.path)
    if row.start_s is not None:
        between = f"{row.start_s:.2f} –" + (f" {row.end_s:.2f} s" if row.end_s is not None else "")
        name = f"{name:<{width}} {between:>20}"
    if isinstance(row, EventRow):
        return f"{name}  {plain(row.label, 24):<12} {row.probability:.2f}"
    if row.probabilities is None:
        return f"{name}  failed: {plain(row.error)}"
    ranked = sorted(row.probabilities.items(), key=lambda item: -item[1])
    said = [row.label] if row.labels is None else row.labels
    over = [item for item in ranked if item[0] in said]
    first = "  ".join(f"{plain(label, 24):<12} {p:.2f}" for label, p in over) or "none"
    if row.unknown:
        first, over = f"{'unknown':<17}", []
    others = [item for item in ranked if item not in over][: 3 if row.unknown else 2]
    rest = "  ".join(f"{plain(label, 24)} {p:.2f}" for label, p in others)
    cut_off = f"  {plain(row.truncated)}" if row.truncated else ""
    return f"{name:<{width}}  {first}" + (f"   ({rest})" if rest else "") + cut_off


def show_bars(rows: Iterable[Row]) -> None:
    """A bar for each label, redrawn with every answer."""
    from rich.console import Group
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    with Live(Text("listening …"), refresh_per_second=20) as live:
        for row in rows:
            bars = Table.grid(padding=(0, 1))
            bars.add_column(width=24)
            bars.add_column(width=40)
            bars.add_column(width=4)
            ranked = sorted((row.probabilities or {}).items(), key=lambda item: -item[1])
            shown = {label for label, _ in ranked[:_BARS]}
            for label, share in (row.probabilities or {}).items():
                if label in shown:
                    said = label == row.label or label in (row.labels or ())
                    bar = ProgressBar(total=1, completed=share, width=40, complete_style="green" if said else "blue")
                    bars.add_row(Text(plain(label, 24), style="bold" if said else ""), bar, f"{share:.2f}")
            said_now = row.label if row.labels is None else ", ".join(row.labels) or "none"
            live.update(Group(Text(f"{row.end_s or 0.0:8.1f} s   {plain(said_now)}", style="bold"), bars))


def source_lines(sources: Iterable[Source], present: Sequence[str]) -> Iterator[str]:
    """Title, licence and protocol of each source, and whether it is downloaded."""
    for source in sources:
        got = "  [downloaded]" if source.name in present else "" if source.downloads else "  [download by hand]"
        yield f"{source.name:<16} {source.title}{got}"
        yield f"{'':16} licence: {source.licence} · split: {source.protocol}"


def inspection_lines(inspection: Inspection, about: Mapping[str, str]) -> Iterator[str]:
    """Counts, levels, and suspicious files by kind."""
    values = inspection.to_dict()
    dataset = inspection.dataset
    groups, folds = values["groups"], values["folds"]
    yield f"{dataset.place}: {about.get('title') or f'read as {dataset.source}'}"
    lost = len(dataset.clips) - len(inspection.clips)
    unusable = f" ({lost} of them can't be used)" if lost else ""
    parts = [f"{len(dataset.clips)} clips from {dataset.files} files{unusable}", f"{len(dataset.labels)} classes"]
    parts += [f"{len(groups)} {dataset.group_name}s"] if groups else ["no groups known"]
    parts += [f"{len(folds)} folds"] if folds else []
    yield " · ".join(parts)
    if dataset.synthetic:
        yield "synthetic: these clips were generated, not recorded"
    wide = max(len(plain(label, 32)) for label in dataset.labels)
    yield ""
    groups_of: defaultdict[str, set[str]] = defaultdict(set)  # one pass: clips and classes may be many
    for clip in dataset.clips if groups else ():
        for label in clip.labels if clip.group else ():
            groups_of[label].add(clip.group)
    for label, count in values["classes"].items():
        of = groups_of.get(label, ())
        yield f"  {plain(label, 32):{wide}} {count:7} clips" + (f"  {len(of):5} {dataset.group_name}s" if of else "")
    yield ""
    if dataset.multilabel:
        most = max(len(clip.labels) for clip in dataset.clips)
        yield f"multilabel: up to {most} labels per clip; {values['unlabelled']} clips have none"
    if groups:
        yield f"{dataset.group_name + 's':<10} {min(groups.values())} to {max(groups.values())} clips each"
    if folds:
        yield f"folds      {counts_text(folds)}"
    for name, key, unit in (("duration", "duration_s", "s"), ("peak", "peak_dbfs", "dB"), ("level", "rms_dbfs", "dB")):
        if spread := values[key]:
            total = f", {spread['sum'] / 60:.1f} min in total" if key == "duration_s" else ""
            yield f"{name:<10} {spread['min']:.2f} to {spread['max']:.2f} {unit}, median {spread['median']:.2f}{total}"
    yield f"rate       {counts_text(values['rates_hz'], ' Hz')}"
    yield f"channels   {counts_text(values['channels'])}"
    yield ""
    yield from _listed("silent", values["silent"])
    yield from _listed("clipped", values["clipped"])
    yield from _listed("mostly a constant offset", values["offset"])
    yield from _listed("with a silent channel", values["silent_channels"])
    yield from _listed(f"shorter than {inspection.short_s:g} s", values["short"])
    yield from _listed("identical audio", [" = ".join(names) for names in values["identical"]], "set")
    contradicting = [_contradiction(clips) for clips in values["contradicting"]]
    yield from _listed("identical audio with different labels", contradicting, "set")
    yield from _listed("truncated", [failure["path"] for failure in values["truncated"]])
    yield from _listed("left out", [f"{failure['path']}: {failure['reason']}" for failure in values["failures"]])
    yield from (f"note: {plain(doubt)}" for doubt in values["doubts"])
    for key in ("licence", "citation", "protocol", "page"):
        if key in about:
            yield f"{key:<10} {about[key]}"


def _contradiction(clips: Sequence[Mapping[str, str]]) -> str:
    """Identical clips as text, with ≠ between those of different labels."""
    of: defaultdict[str, list[str]] = defaultdict(list)
    for clip in clips:
        of[clip["label"]].append(clip["path"])
    return " ≠ ".join(f"{' = '.join(paths)}: {label}" for label, paths in of.items())


def division_lines(divided: SplitPreview) -> Iterator[str]:
    """Clips by class and groups in each part of a split, warnings, leaks, and what is left out."""
    dataset, split = divided.dataset, divided.split
    yield plain_full(split.sentence)
    parts = {part: getattr(split, part) for part in (PARTS[:1] if split.training_score else PARTS)}
    wide = max(len(dataset.group_name) + 1, 5, *(len(plain(label, 32)) for label in dataset.labels))
    yield f"\n{'':{wide}}" + "".join(f"{part:>8}" for part in parts)
    counted_in = [Counter(label for i in part for label in dataset.clips[i].labels) for part in parts.values()]
    for label in dataset.labels:
        counts = (found[label] for found in counted_in)
        yield f"{plain(label, 32):{wide}}" + "".join(f"{count:8}" for count in counts)
    yield f"{'clips':{wide}}" + "".join(f"{len(part):8}" for part in parts.values())
    if dataset.groups:
        groups = (len({dataset.clips[i].group for i in part} - {""}) for part in parts.values())
        yield f"{dataset.group_name + 's':{wide}}" + "".join(f"{count:8}" for count in groups)
    yield ""
    yield from (f"note: {plain(doubt)}" for doubt in dataset_warnings(dataset))
    yield from _listed("leaks between parts, by name, group or span", list(divided.leaks), "leak", rest="")
    left_out = [f"{failure.path}: {failure.reason}" for failure in dataset.failures]
    yield from _listed("left out", left_out, rest=" (earsight data inspect --json lists all)")


def _arithmetic(measured: Bench | BatchSizes) -> str:
    return measured.precision + (", compiled" if measured.compiled else "")


def bench_lines(bench: Bench) -> Iterator[str]:
    """Medians with ranges over rounds, and the time of each stage of an epoch."""
    yield (
        f"{bench.model} on {bench.device}, {bench.threads} threads, {_arithmetic(bench)}, batch {bench.batch_size}, "
        f"image {'×'.join(map(str, bench.image))}, {bench.clips} clips, {len(bench.epoch)} rounds"
    )
    for name, rates in (("network alone", bench.network), ("our epoch", bench.epoch)):
        yield f"{name:14} {statistics.median(rates):8.1f} clips/s  ({min(rates):.1f}–{max(rates):.1f})"
    yield f"epoch / network: {bench.ratio:.3f} ({min(bench.ratios):.3f}–{max(bench.ratios):.3f})"
    total_s = sum(bench.stages.values())
    yield "time: " + ", ".join(f"{name} {100 * s / total_s:.1f} %" for name, s in bench.stages.items())
    yield f"peak memory: {bench.peak_memory_mb:.0f} MB"


def batch_size_lines(sizes: BatchSizes) -> Iterator[str]:
    """A row for each batch size, and the recommended one."""
    yield f"{sizes.model} on {sizes.device}, {_arithmetic(sizes)}"
    yield "batch   clips/s  peak memory"
    for trial in sizes.trials:
        yield f"{trial.batch_size:5} {trial.clips_per_s:9.1f}  {trial.memory_mb:8,.0f} MB"
    yield f"stopped: {sizes.ended}"
    yield f"--batch-size {sizes.best} is the smallest within 3 % of the fastest; adapt --optimizer.lr to the batch size"


def sweep_lines(result: SweepResult) -> Iterator[str]:
    """The best trials, failures, and importance of settings."""
    yield plain_full(result.sentence)
    complete = sorted((one for one in result.trials if one.state == "complete"), key=lambda one: -(one.value or 0))
    if complete:
        names = list(complete[0].values)
        wide = [max(len(name), *(len(plain(short_value(one.values[name]), 32)) for one in complete)) for name in names]
        yield f"trial    {result.measure}  " + "  ".join(
            f"{name:>{width}}" for name, width in zip(names, wide, strict=True)
        )
        for one in complete[:_LISTED]:
            cells = (
                f"{plain(short_value(one.values[name]), 32):>{width}}" for name, width in zip(names, wide, strict=True)
            )
            yield f"{one.number:5}  {one.value:.3f}  " + "  ".join(cells)
        if len(complete) > _LISTED:
            yield f"… and {len(complete) - _LISTED} more completed trials (sweep.csv lists all)"
    yield from _listed(
        "failed", [f"trial {one.number}: {one.reason}" for one in result.trials if one.reason], "trial", " (sweep.csv)"
    )
    if result.importance:
        yield "importance: " + ", ".join(f"{name} {share:.2f}" for name, share in result.importance.items())
    if result.caveat:
        yield f"note: {result.caveat}"


def _listed(what: str, entries: Sequence[Any], each: str = "file", rest: str = " (--json lists all)") -> Iterator[str]:
    """The first entries, and the number of others. rest: where these can be found."""
    if not entries:
        yield f"{what}: none"
        return
    yield f"{what}: {len(entries)} {each}{'s' if len(entries) > 1 else ''}"
    for entry in entries[:_LISTED]:
        yield f"  {plain(entry)}"
    if len(entries) > _LISTED:
        yield f"  … and {len(entries) - _LISTED} more{rest}"
