"""Results → lines of text for a terminal."""

from __future__ import annotations

import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from earsight.dataset.clip import PARTS
from earsight.dataset.doubts import doubts
from earsight.plain import counted, plain
from earsight.tasks.answers.row_formats import json_line as json_line
from earsight.tasks.sweeping.space import short

if TYPE_CHECKING:
    from pathlib import Path

    from earsight.dataset.sources.source import Source
    from earsight.scores.compare import Comparison
    from earsight.scores.crossval import CrossScores
    from earsight.scores.kinds import AnyMetrics
    from earsight.scores.metrics import Metrics
    from earsight.scores.multilabel import MultiMetrics
    from earsight.tasks.answers.heard import EventRow
    from earsight.tasks.bench import Bench
    from earsight.tasks.data import Divided
    from earsight.tasks.evaluate_events import EventEvaluation
    from earsight.tasks.inspect import Inspection
    from earsight.tasks.predict import Row
    from earsight.tasks.sweep import SweepResult
    from earsight.tasks.training.batch_size import BatchSizes

_LISTED = 10
_BARS = 20
_MATRIX = 25
_MISTAKES = 30


def note_unfinished(*runs: str | Path) -> None:
    """On standard error, of runs that are used though their training has not ended."""
    from earsight.tasks.training.plan import unfinished

    show(*(f"note: {plain(said)}" for said in map(unfinished, runs) if said), to=sys.stderr)


def show(*lines: str, to: TextIO | None = None) -> None:
    """Print; to: otherwise standard output."""
    (to or sys.stdout).writelines(f"{line}\n" for line in lines)


def _whole(sentence: str) -> str:
    """As ``plain``, however long; it may name files."""
    return plain(sentence, sys.maxsize)


def metrics_lines(metrics: AnyMetrics, sentence: str, caveat: str, *, table: bool = False) -> Iterator[str]:
    """The sentence and the three numbers; with ``table`` also each class, and the confusion matrix where a clip has one
    label."""
    yield _whole(sentence)
    yield f"{_numbers(metrics)}({metrics.clips} clips{f', {caveat}' if caveat else ''})"
    if absent := [plain(row.label, 24) for row in metrics.per_class if not row.support]:
        of = f"{len(metrics.per_class) - len(absent)} of {len(metrics.per_class)}"
        what, more = "labels" if metrics.several else "classes", " …" if len(absent) > _LISTED else ""
        yield f"note: the scored clips are of {of} {what}; none is of {', '.join(absent[:_LISTED])}{more}"
    if not table:
        return
    if metrics.several is True:
        yield from _label_lines(metrics)
        return
    labels = [plain(row.label, 24) for row in metrics.per_class]
    wide = max(len(label) for label in labels)
    yield f"\n{'':{wide}}  precision  recall     F1  support"
    for label, row in zip(labels, metrics.per_class, strict=True):
        yield f"{label:{wide}}  {row.precision:9.3f} {_share(row.recall, row.support, 7)} {row.f1:6.3f} {row.support:8}"
    if len(labels) > _MATRIX:
        yield from _mistake_lines(metrics, labels, wide)
        return
    yield "\ntruth in rows, answers in columns of the same numbers"
    yield f"{'':{wide + 4}}" + "".join(f"{number:6}" for number in range(1, len(labels) + 1))
    for number, (label, counts) in enumerate(zip(labels, metrics.confusion, strict=True), 1):
        yield f"{number:3} {label:{wide}}" + "".join(f"{int(count) or '·':>6}" for count in counts)


def _mistake_lines(metrics: Metrics, labels: Sequence[str], wide: int) -> Iterator[str]:
    """What is taken for what most often; a matrix of so many classes is wider than any terminal."""
    found = metrics.mistakes
    yield f"\nmost frequent mistakes ({len(found)} kinds; --json has the whole matrix)" if found else "\nno mistakes"
    for one in found[:_MISTAKES]:
        yield f"{labels[one.truth]:{wide}}  heard as {labels[one.answer]:{wide}} {one.clips:6}  of {one.of}"


def _share(value: float, support: int, wide: int) -> str:
    """A dash where no clip has the label: there is nothing of which it would be a share."""
    return f"{value:{wide}.3f}" if support else f"{'–':>{wide}}"


def _numbers(metrics: AnyMetrics) -> str:
    return "".join(f"{name} {getattr(metrics, key):.3f}   " for key, name in metrics.NAMES.items())


def _label_lines(metrics: MultiMetrics) -> Iterator[str]:
    labels = [plain(row.label, 24) for row in metrics.per_class]
    wide = max(len(label) for label in labels)
    yield f"\n{'':{wide}}     AP  precision  recall     F1  support"
    for label, row in zip(labels, metrics.per_class, strict=True):
        ap, recall = _share(row.ap, row.support, 6), _share(row.recall, row.support, 7)
        numbers = f"{ap}  {row.precision:9.3f} {recall} {row.f1:6.3f} {row.support:8}"
        yield f"{label:{wide}} {numbers}"
    yield f"\nevery label of a clip right: {metrics.accuracy:.3f}; micro-mAP {metrics.micro_map:.3f}"


def detection_lines(found: EventEvaluation) -> Iterator[str]:
    """The sentence, both measures with their intervals, a row a label, and what other thresholds would give."""
    segments, events, measure = found.by_segment, found.by_event, found.measure
    yield _whole(found.sentence)
    caveat = f", {found.caveat}" if found.caveat else ""
    minutes = f"{found.duration_s / 60:.1f} min, {counted(events.all_together.annotated, 'annotated event')}"
    yield f"{counted(found.recordings, 'recording')}, {minutes}{caveat}"
    ways = ((f"by {measure.segment_s:g} s segments", segments), (f"by events, overlap {measure.overlap:g}", events))
    wide = max(len(way) for way, _ in ways)
    for way, one in ways:
        whole, interval = one.all_together, one.f1_interval()
        parts = f"F1 {_or_dash(whole.f1)}   precision {_or_dash(whole.precision)}   recall {_or_dash(whole.recall)}"
        rate = f"   error rate {_or_dash(one.error_rate)}" if one is segments else ""
        sure = f"   F1 95 %: {interval.low:.3f} to {interval.high:.3f}" if interval else ""
        yield f"{way:<{wide}}   {parts}   macro-F1 {_or_dash(one.macro_f1)}{rate}{sure}"
    rows = {label: (one, events.of_labels[label]) for label, one in segments.of_labels.items()}
    shown = {plain(label, 24): row for label, row in rows.items() if any(of.annotated or of.found for of in row)}
    wide = max([5, *map(len, shown)])
    yield f"\n{'':{wide}}  segments: precision recall    F1   events: annotated found precision recall    F1"
    for label, (segment, event) in shown.items():
        by_segment = f"{_or_dash(segment.precision):>19} {_or_dash(segment.recall):>6} {_or_dash(segment.f1):>5}"
        by_event = f"{event.annotated:17} {event.found:5} {_or_dash(event.precision):>9}"
        yield f"{label:{wide}}  {by_segment} {by_event} {_or_dash(event.recall):>6} {_or_dash(event.f1):>5}"
    if len(shown) < len(rows):
        yield f"{counted(len(rows) - len(shown), 'other label')} neither annotated nor found"
    yield "\nF1 on these recordings with another --start-at; choose it on others than those that are reported"
    yield "start at   " + "".join(f"{start_at:7.1f}" for start_at in found.other_starts)
    for n, way in enumerate(("segments", "events")):
        yield f"{way:<11}" + "".join(f"{_or_dash(both[n]):>7}" for both in found.other_starts.values())


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def answer_line(row: Row | EventRow, width: int) -> str:
    """One recording, or one window of it: its label, or all those over their thresholds, and what else comes near; or
    an event."""
    from earsight.tasks.answers.heard import EventRow

    name = plain(row.path)
    if row.start_s is not None:
        between = f"{row.start_s:.2f} –" + (f" {row.end_s:.2f} s" if row.end_s is not None else "")
        name = f"{name:<{width}} {between:>20}"
    if isinstance(row, EventRow):
        return f"{name}  {plain(row.label, 24):<12} {row.probability:.2f}"
    if row.probabilities is None:
        return f"{name}  failed: {plain(row.error)}"
    ranked = sorted(row.probabilities.items(), key=lambda item: -item[1])
    over = ranked[:1] if row.labels is None else [item for item in ranked if item[0] in row.labels]
    first = "  ".join(f"{plain(label, 24):<12} {p:.2f}" for label, p in over) or "none"
    if row.unknown:
        first, over = f"{'unknown':<17}", []
    others = [item for item in ranked if item not in over][: 3 if row.unknown else 2]
    rest = "  ".join(f"{plain(label, 24)} {p:.2f}" for label, p in others)
    cut_off = f"  {plain(row.truncated)}" if row.truncated else ""
    return f"{name:<{width}}  {first}" + (f"   ({rest})" if rest else "") + cut_off


def show_bars(rows: Iterable[Row]) -> None:
    """One bar a label, redrawn with every answer; what was said last stays."""
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
    """What is known of each source, and whether it is downloaded."""
    for source in sources:
        got = "  [downloaded]" if source.name in present else "" if source.downloads else "  [by hand]"
        yield f"{source.name:<16} {source.title}{got}"
        yield f"{'':16} licence: {source.licence} · split: {source.protocol}"


def inspection_lines(inspection: Inspection, about: Mapping[str, str]) -> Iterator[str]:
    """Counts, levels, and every kind of suspicious file."""
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
        yield "synthetic: nobody spoke these clips"
    wide = max(len(plain(label, 32)) for label in dataset.labels)
    yield ""
    groups_of: defaultdict[str, set[str]] = defaultdict(set)  # once over the clips: they and the classes may be many
    for clip in dataset.clips if groups else ():
        for label in clip.labels if clip.group else ():
            groups_of[label].add(clip.group)
    for label, count in values["classes"].items():
        of = groups_of.get(label, ())
        yield f"  {plain(label, 32):{wide}} {count:7} clips" + (f"  {len(of):5} {dataset.group_name}s" if of else "")
    yield ""
    if dataset.multilabel:
        most = max(len(clip.labels) for clip in dataset.clips)
        yield f"multilabel: up to {most} labels a clip; {values['unlabelled']} clips have none"
    if groups:
        yield f"{dataset.group_name + 's':<10} {min(groups.values())} to {max(groups.values())} clips each"
    if folds:
        yield f"folds      {_counted(folds)}"
    for name, key, unit in (("duration", "duration_s", "s"), ("peak", "peak_dbfs", "dB"), ("level", "rms_dbfs", "dB")):
        if spread := values[key]:
            total = f", {spread['sum'] / 60:.1f} min in all" if key == "duration_s" else ""
            yield f"{name:<10} {spread['min']:.2f} to {spread['max']:.2f} {unit}, median {spread['median']:.2f}{total}"
    yield f"rate       {_counted(values['rates_hz'], ' Hz')}"
    yield f"channels   {_counted(values['channels'])}"
    yield ""
    yield from _listed("silent", values["silent"])
    yield from _listed("clipped", values["clipped"])
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
    """One sound: the clips of each label, and ≠ between labels."""
    of: defaultdict[str, list[str]] = defaultdict(list)
    for clip in clips:
        of[clip["label"]].append(clip["path"])
    return " ≠ ".join(f"{' = '.join(paths)}: {label}" for label, paths in of.items())


def division_lines(divided: Divided) -> Iterator[str]:
    """Clips of each class and groups in each part of a split, and what is in none."""
    dataset, split = divided.dataset, divided.split
    yield _whole(split.sentence)
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
    yield from (f"note: {plain(doubt)}" for doubt in doubts(dataset))
    yield from _listed("leaks between the sides by name, group or span", list(divided.leaks), "leak", rest="")
    left_out = [f"{failure.path}: {failure.reason}" for failure in dataset.failures]
    yield from _listed("left out", left_out, rest=" (earsight data inspect --json has them all)")


def _arithmetic(measured: Bench | BatchSizes) -> str:
    return measured.precision + (", compiled" if measured.compiled else "")


def bench_lines(bench: Bench) -> Iterator[str]:
    """Medians with the range of all rounds, and where an epoch's time goes. The ratio is that of the same round."""
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
    """One row a batch size, and which to take."""
    yield f"{sizes.model} on {sizes.device}, {_arithmetic(sizes)}"
    yield "batch   clips/s  peak memory"
    for trial in sizes.trials:
        yield f"{trial.batch_size:5} {trial.clips_per_s:9.1f}  {trial.memory_mb:8,.0f} MB"
    yield f"stopped: {sizes.ended}"
    yield f"--batch-size {sizes.best}: the smallest within 3 % of the fastest; a learning rate belongs to a batch size"


def cross_lines(scores: CrossScores, sentence: str, caveat: str, group_name: str) -> Iterator[str]:
    """Folds, seeds, the hardest and easiest group, and the numbers of all clips with their intervals."""
    width = max(len(plain(one.fold, 32)) for one in scores.folds)
    for one in scores.folds:
        yield (f"{plain(one.fold, 32):<{width}}  seed {one.seed}  {_numbers(one.metrics)}({one.metrics.clips} clips)")
    if scores.groups:
        worst, best = scores.groups[0], scores.groups[-1]
        rate = "clips with every label right" if scores.every_answer.several else "accuracy"
        yield (
            f"hardest {group_name}: {plain(worst.group, 32)}, {rate} {worst.accuracy:.3f}; "
            f"easiest: {plain(best.group, 32)}, {best.accuracy:.3f}"
        )
    yield _whole(sentence)
    drawn = scores.drawn(group_name)
    for key, name in scores.every_answer.NAMES.items():
        spread = scores.scores[key]
        between = "" if spread.sd is None else f"  ± {spread.sd:.3f} between seeds"
        interval = f"no interval: {drawn} are too few, or all are answered alike"
        if spread.interval:
            interval = f"95 % by {drawn}: {spread.interval.low:.3f} to {spread.interval.high:.3f}"
        yield f"{name:<8} {spread.mean:.3f}{between}   {interval}{f', {caveat}' if caveat else ''}"


def sweep_lines(result: SweepResult) -> Iterator[str]:
    """The best trials, what failed, and what it depends on."""
    yield _whole(result.sentence)
    complete = sorted((one for one in result.trials if one.state == "complete"), key=lambda one: -(one.value or 0))
    if complete:
        names = list(complete[0].values)
        wide = [max(len(name), *(len(plain(short(one.values[name]), 32)) for one in complete)) for name in names]
        yield f"trial    {result.measure}  " + "  ".join(
            f"{name:>{width}}" for name, width in zip(names, wide, strict=True)
        )
        for one in complete[:_LISTED]:
            cells = (f"{plain(short(one.values[name]), 32):>{width}}" for name, width in zip(names, wide, strict=True))
            yield f"{one.number:5}  {one.value:.3f}  " + "  ".join(cells)
        if len(complete) > _LISTED:
            yield f"… and {len(complete) - _LISTED} more complete (sweep.csv has all)"
    yield from _listed(
        "failed", [f"trial {one.number}: {one.reason}" for one in result.trials if one.reason], "trial", " (sweep.csv)"
    )
    if result.importance:
        yield "importance: " + ", ".join(f"{name} {share:.2f}" for name, share in result.importance.items())
    if result.caveat:
        yield f"note: {result.caveat}"


def comparison_lines(found: Comparison) -> Iterator[str]:
    """Scores, classes, and what would have to be so for them to be the same."""
    sure = found.scores["accuracy"]
    few = sure.interval is None
    what = "group" if found.named else "single clip" if found.groups == found.clips else "groups and single clip"
    drawn = counted(found.groups, what)
    yield f"{found.clips} clips that both have scored, {drawn}{'' if few else ' drawn again for the intervals'}"
    for name, caveat in (("A", found.caveat_a), ("B", found.caveat_b)):
        if caveat:
            yield f"note: {name} is not a score on strangers: {caveat}"
    if not found.named:
        yield "note: the groups (speakers, recordings …) of some clips are not known: others might change this more"
    yield f"{'':<16}{'A':>7}{'B':>7}{'B − A':>8}{'' if few else '   95 %'}"
    rows = [
        (name, found.scores[key]) for name, key in (("accuracy", "accuracy"), ("UAR", "uar"), ("macro-F1", "macro_f1"))
    ]
    rows += [(f"recall {plain(label, 24)}", one) for label, one in found.recall.items()]
    for n, (name, one) in enumerate(rows):
        interval = f"   {one.interval.low:+.3f} to {one.interval.high:+.3f}" if one.interval else ""
        star = "  *" if one.sure and n < len(found.scores) else ""  # of many classes some would have it by chance
        yield f"{name:<16}{one.a:7.3f}{one.b:7.3f}{one.difference:+8.3f}{interval}{star}"
    sure_of = "" if found.groups == found.clips else " if clips were independent, which those of one group are not"
    p = f"p = {found.p:.3g}{sure_of}"
    yield f"only A is right: {found.only_a} clips; only B: {found.only_b}; McNemar's exact test: {p}"
    yield _verdict(found)


def _verdict(found: Comparison) -> str:
    sure = found.scores["accuracy"]
    what, others = ("group", "groups") if found.named else ("clip", "clips like these")
    if found.only_a == found.only_b == 0 and sure.difference == 0:
        return "Both are right on the same clips."
    if sure.interval is None:
        return f"{counted(found.groups, what)} {'is' if found.groups == 1 else 'are'} too few to tell which is better."
    better = "B" if sure.difference > 0 else "A"
    if sure.sure:
        return f"{better} is better in accuracy, with other {others} too."
    return f"Which is better in accuracy is not settled: with other {others} it might be either."


def _listed(
    what: str, entries: Sequence[Any], each: str = "file", rest: str = " (--json has them all)"
) -> Iterator[str]:
    """rest: where to find those that are only counted."""
    if not entries:
        yield f"{what}: none"
        return
    yield f"{what}: {len(entries)} {each}{'s' if len(entries) > 1 else ''}"
    for entry in entries[:_LISTED]:
        yield f"  {plain(entry)}"
    if len(entries) > _LISTED:
        yield f"  … and {len(entries) - _LISTED} more{rest}"


def _counted(found: Mapping[str, int], unit: str = "") -> str:
    return ", ".join(f"{value}{unit} ({count})" for value, count in found.items())
