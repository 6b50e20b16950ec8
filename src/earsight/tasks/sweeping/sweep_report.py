"""The trials of a sweep → sweep.csv, best.toml, a figure and report.html."""

import csv
import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from earsight.files import write_atomic
from earsight.network.description import REPORT_NAME
from earsight.plain import plain
from earsight.scores.figures import draw_bars, draw_search
from earsight.scores.page import write_page
from earsight.scores.report import FigureEntry
from earsight.settings import flatten
from earsight.tasks.recipe import Recipe
from earsight.tasks.sweeping.space import Space, short_value
from earsight.tasks.sweeping.trials import FEWEST_FOR_IMPORTANCE, TABLE_NAME, SweepResult
from earsight.tasks.training.plan import Plan

BEST_NAME = "best.toml"


def write_table(result: SweepResult, space: Space) -> None:
    """Write sweep.csv with a row for each trial, and best.toml with the recipe of the best one, where there is one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["number", "state", "value", *space, "seconds", "reason"])
    for one in result.trials:
        value = "" if one.value is None else f"{one.value:.6g}"
        settings = [one.values.get(name, "") for name in space]
        writer.writerow([one.number, one.state, value, *settings, f"{one.seconds:.1f}", one.reason])
    write_atomic(result.out / TABLE_NAME, text.getvalue())
    if result.best is not None and result.recipe is not None:
        best, name = result.best, result.out.resolve().name
        about = [
            f"Trial {best.number} of {name}, validation {result.measure} {best.value:.3f}.",
            result.sentence,
            *([result.caveat] if result.caveat else []),
        ]
        write_atomic(result.out / BEST_NAME, "".join(f"# {plain(line)}\n" for line in about) + to_toml(result.recipe))


def to_toml(recipe: Recipe) -> str:
    """A recipe as TOML that ``Recipe.named`` reads."""
    return "\n".join(_lines(recipe.model_dump(), "")) + "\n"


def _lines(values: Mapping[str, Any], group: str) -> Iterator[str]:
    for name, value in values.items():
        if not isinstance(value, Mapping):
            yield f"{name} = {_toml(value)}"
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield f"\n[{group}{name}]"
            yield from _lines(value, f"{group}{name}.")


def _toml(value: Any) -> str:
    if value is None:
        return '"none"'  # see Settings
    if isinstance(value, float):
        return repr(value)
    # JSON strings, integers and booleans are valid TOML, except for DEL, which JSON does not escape
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def write_sweep_page(result: SweepResult, space: Space, plans: Sequence[Plan]) -> None:
    """Write report.html: history of the search, all trials, importance of settings, and the best recipe."""
    plan = plans[0]
    ended = [one for one in result.trials if one.value is not None]
    rows = sorted(ended, key=lambda one: (one.state != "complete", -(one.value or 0), one.number))
    write_page(
        result.out / REPORT_NAME,
        "sweep.html.j2",
        title=result.out.resolve().name,
        subtitle=f"{len(space)} settings searched on {plan.dataset.place.resolve().name}",
        created=time.strftime("%Y-%m-%d %H:%M"),
        sentence=result.sentence,
        measure=result.measure,
        caveat=result.caveat,
        synthetic=plan.dataset.synthetic,
        best=result.best,
        trials=rows,
        failed=[one for one in result.trials if one.reason],
        space={name: str(one) for name, one in space.items()},
        importance=result.importance,
        fewest=FEWEST_FOR_IMPORTANCE,
        figures=_draw(result) if ended else [],
        splits=[_divided(one) for one in plans],
        settings={} if result.recipe is None else flatten(result.recipe.model_dump()),
        short=short_value,
    )


def _divided(plan: Plan) -> str:
    split = plan.split
    return (
        f"Split {split.kind}: {len(split.train)} clips to train on, {len(split.valid)} to choose with; the "
        f"{len(split.test)} test clips were not used."
    )


def _draw(result: SweepResult) -> list[FigureEntry]:
    folder = result.out / "figures"
    folder.mkdir(exist_ok=True)
    values = {
        state: {one.number: one.value for one in result.trials if one.state == state and one.value is not None}
        for state in ("complete", "pruned")
    }
    history = draw_search(
        folder / "search.png", values, title="Search", y_name=f"validation {result.measure} of the kept epoch"
    )
    told = "Each trial's value; a pruned one's is that of the first split when it was ended."
    seen = f"Validation {result.measure} of each trial; every value is in the table of trials."
    entries = [FigureEntry("Search", told, history, alt=seen)]
    if result.importance:
        shares = draw_bars(
            folder / "importance.png",
            list(result.importance.values()),
            list(result.importance),
            title="Importance",
            x_name="share, in sum 1",
        )
        told = "What distinguishes the better complete trials from the others (PED-ANOVA); rough if there are few."
        entries.append(
            FigureEntry(
                "Importance of the settings", told, shares, alt="Bars; the table of the search space has the numbers."
            )
        )
    return entries
