"""Scores as lines of text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from earsight.plain import plain, plain_full, pluralise

if TYPE_CHECKING:
    from earsight.scores.compare import Comparison
    from earsight.scores.crossval import CrossScores
    from earsight.scores.dispatch import AnyMetrics
    from earsight.scores.metrics import Metrics
    from earsight.scores.multilabel import MultiMetrics
    from earsight.tasks.evaluate_events import EventEvaluation

_LISTED = 10
_MATRIX = 25
_MISTAKES = 30


def metrics_lines(metrics: AnyMetrics, sentence: str, caveat: str, *, table: bool = False) -> Iterator[str]:
    """The sentence and the main scores; with ``table`` also those of each class, and the confusion matrix for one label
    a clip."""
    yield plain_full(sentence)
    yield f"{_numbers(metrics)}({metrics.clips} clips{f', {caveat}' if caveat else ''})"
    if metrics.several is False and metrics.rarer is not None:
        yield from _rarer_lines(metrics, metrics.rarer, caveat)
    if absent := [plain(row.label, 24) for row in metrics.per_class if not row.support]:
        of = f"{len(metrics.per_class) - len(absent)} of {len(metrics.per_class)}"
        what, more = "labels" if metrics.several else "classes", " …" if len(absent) > _LISTED else ""
        yield f"note: the scored clips have only {of} {what}; not {', '.join(absent[:_LISTED])}{more}"
    if not table:
        return
    if metrics.several is True:
        yield from _label_lines(metrics)
        return
    labels = [plain(row.label, 24) for row in metrics.per_class]
    wide = max(len(label) for label in labels)
    yield f"\n{'':{wide}}  precision  recall     F1    AUC     AP  support"
    for label, row in zip(labels, metrics.per_class, strict=True):
        of_answers = f"{row.precision:9.3f} {_share(row.recall, row.support, 7)} {row.f1:6.3f}"
        yield f"{label:{wide}}  {of_answers} {_or_dash(row.auc):>6} {_or_dash(row.ap):>6} {row.support:8}"
    if len(labels) > _MATRIX:
        yield from _mistake_lines(metrics, labels, wide)
        return
    yield "\nrows: true class; columns: predicted class, by the same numbers"
    yield f"{'':{wide + 4}}" + "".join(f"{number:6}" for number in range(1, len(labels) + 1))
    for number, (label, counts) in enumerate(zip(labels, metrics.confusion, strict=True), 1):
        yield f"{number:3} {label:{wide}}" + "".join(f"{int(count) or '·':>6}" for count in counts)


def _rarer_lines(metrics: Metrics, rarer: int, caveat: str) -> Iterator[str]:
    """Of two classes how the rarer one is found, which accuracy hides where it is rare."""
    row, other = metrics.per_class[rarer], metrics.per_class[1 - rarer]
    label, beside = plain(row.label, 24), f", {caveat}" if caveat else ""
    found, taken = metrics.confusion[rarer, rarer], metrics.confusion[1 - rarer, rarer]
    yield (
        f"{label}: ROC-AUC {row.auc:.3f}   average precision {row.ap:.3f} (by chance {row.support / metrics.clips:.3f})"
        f"   {found} of {row.support} found, {taken} of {pluralise(other.support, 'other')} taken for it{beside}"
    )
    if metrics.mostly:
        always = other.support / metrics.clips
        yield f"note: to say {plain(other.label, 24)!r} of every clip would have an accuracy of {always:.3f}"


def _mistake_lines(metrics: Metrics, labels: Sequence[str], wide: int) -> Iterator[str]:
    """The most frequent confusions: a matrix of many classes would be wider than a terminal."""
    found = metrics.mistakes
    yield f"\nmost frequent mistakes ({len(found)} kinds; --json has the whole matrix)" if found else "\nno mistakes"
    for one in found[:_MISTAKES]:
        yield f"{labels[one.truth]:{wide}}  heard as {labels[one.answer]:{wide}} {one.clips:6}  of {one.of}"


def _share(value: float, support: int, wide: int) -> str:
    """A dash where no clip has the label."""
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
    yield f"\nclips with all labels right: {metrics.accuracy:.3f}; micro-mAP {metrics.micro_map:.3f}"


def detection_lines(found: EventEvaluation) -> Iterator[str]:
    """The sentence, both measures with intervals, a row for each label, and scores at other thresholds."""
    segments, events, measure = found.by_segment, found.by_event, found.measure
    yield plain_full(found.sentence)
    caveat = f", {found.caveat}" if found.caveat else ""
    minutes = f"{found.duration_s / 60:.1f} min, {pluralise(events.micro.annotated, 'annotated event')}"
    yield f"{pluralise(found.recordings, 'recording')}, {minutes}{caveat}"
    ways = ((f"by {measure.segment_s:g} s segments", segments), (f"by events, overlap {measure.overlap:g}", events))
    wide = max(len(way) for way, _ in ways)
    for way, one in ways:
        every, interval = one.micro, one.f1_interval
        parts = f"F1 {_or_dash(every.f1)}   precision {_or_dash(every.precision)}   recall {_or_dash(every.recall)}"
        rate = f"   false per hour {found.false_an_hour:.3g}"
        if one is segments:
            rate = f"   error rate {_or_dash(one.error_rate)}"
        sure = f"   95 % interval of F1: {interval.low:.3f} to {interval.high:.3f}" if interval else ""
        yield f"{way:<{wide}}   {parts}   macro-F1 {_or_dash(one.macro_f1)}{rate}{sure}"
    rows = list(zip(segments.labels, segments.per_label.values(), events.per_label.values(), strict=True))
    shown = [(plain(label, 32), row) for label, *row in rows if any(of.annotated or of.found for of in row)]
    wide = max([5, *(len(label) for label, _ in shown)])
    yield f"\n{'':{wide}}  segments: precision recall    F1   events: annotated found precision recall    F1"
    for label, (segment, event) in shown:
        by_segment = f"{_or_dash(segment.precision):>19} {_or_dash(segment.recall):>6} {_or_dash(segment.f1):>5}"
        by_event = f"{event.annotated:17} {event.found:5} {_or_dash(event.precision):>9}"
        yield f"{label:{wide}}  {by_segment} {by_event} {_or_dash(event.recall):>6} {_or_dash(event.f1):>5}"
    if len(shown) < len(rows):
        yield f"labels neither annotated nor found: {len(rows) - len(shown)}"
    low, high = min(found.starts_at), max(found.starts_at)
    edges = f"{low:.3g}" if low == high else f"each label's own threshold, {low:.3g} to {high:.3g}"
    yield f"\nprobability at which events begin: {edges}"
    yield "F1 here with other values of --start-at (to choose one, use other recordings than those that you report):"
    yield "start at   " + "".join(f"{start_at:7.1f}" for start_at in found.other_starts)
    for n, way in enumerate(("segments", "events")):
        yield f"{way:<11}" + "".join(f"{_or_dash(both[n]):>7}" for both in found.other_starts.values())


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def cross_lines(scores: CrossScores, sentence: str, caveat: str, group_name: str) -> Iterator[str]:
    """Scores of folds and seeds, the hardest and the easiest group, and scores of all clips with intervals."""
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
    yield plain_full(sentence)
    groups, every = scores.counted_groups(group_name), scores.every_answer
    for key, name in every.NAMES.items():
        spread = scores.scores[key]
        between = "" if spread.sd is None else f"  ± {spread.sd:.3f} between seeds"
        interval = f"no interval ({groups}: too few, or no difference between them)"
        if spread.interval:
            interval = f"95 % interval over {groups}: {spread.interval.low:.3f} to {spread.interval.high:.3f}"
        yield f"{name:<8} {spread.mean:.3f}{between}   {interval}{f', {caveat}' if caveat else ''}"
    if every.several is False and every.rarer is not None:
        yield from _rarer_lines(every, every.rarer, caveat)
        for key, name in (("auc", "ROC-AUC"), ("ap", "average precision")):
            if key in scores.ranking:
                low, high = scores.ranking[key]
                yield f"{name}, 95 % interval over {groups}: {low:.3f} to {high:.3f}"


def comparison_lines(found: Comparison) -> Iterator[str]:
    """Scores and recalls of both, their differences with intervals, McNemar's test, and a verdict."""
    sure = found.scores["accuracy"]
    few = sure.interval is None
    what = "group" if found.named else "single clip" if found.groups == found.clips else "groups and single clip"
    yield f"{found.clips} clips scored by both, from {pluralise(found.groups, what)}"
    for name, caveat in (("A", found.caveat_a), ("B", found.caveat_b)):
        if caveat:
            yield f"note: the score of {name} is not on unseen speakers or recordings: {caveat}"
    if not found.named:
        yield (
            "note: the groups (speakers, recordings …) of some clips are not known, so with others the result may "
            "change by more than the intervals say"
        )
    yield f"{'':<16}{'A':>7}{'B':>7}{'B − A':>8}{'' if few else '   95 %'}"
    rows = [
        (name, found.scores[key]) for name, key in (("accuracy", "accuracy"), ("UAR", "uar"), ("macro-F1", "macro_f1"))
    ]
    rows += [(f"recall {plain(label, 24)}", one) for label, one in found.recall.items()]
    for n, (name, one) in enumerate(rows):
        interval = f"   {one.interval.low:+.3f} to {one.interval.high:+.3f}" if one.interval else ""
        star = "  *" if one.sure and n < len(found.scores) else ""  # not for classes: of many, some differ by chance
        yield f"{name:<16}{one.a:7.3f}{one.b:7.3f}{one.difference:+8.3f}{interval}{star}"
    sure_of = "" if found.groups == found.clips else ", assuming independent clips, which those of one group are not"
    p = f"p = {found.p:.3g}{sure_of}"
    yield f"only A is right: {found.only_a} clips; only B: {found.only_b}; McNemar's exact test: {p}"
    yield _verdict(found)


def _verdict(found: Comparison) -> str:
    sure = found.scores["accuracy"]
    what, others = ("group", "groups") if found.named else ("clip", "clips like these")
    if found.only_a == found.only_b == 0 and sure.difference == 0:
        return "Both are right on the same clips."
    if sure.interval is None:
        return (
            f"{pluralise(found.groups, what)} {'is' if found.groups == 1 else 'are'} too few to tell which is better."
        )
    better = "B" if sure.difference > 0 else "A"
    if sure.sure:
        return f"{better} has the higher accuracy, and would have it with other {others} too."
    return f"It is not clear which has the higher accuracy: with other {others} it might be either."
