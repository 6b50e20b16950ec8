"""A finished run → figures and report.html."""

from collections.abc import Mapping
from typing import Any

from earsight.audio.load import middle_crop
from earsight.network.description import REFIT_KEY, REPORT_NAME
from earsight.plain import pluralise
from earsight.scores.intervals import counted_groups
from earsight.scores.report import LeftOut, Report, wav_bytes, worst_mistakes, write_report
from earsight.tasks.training.decoded import DecodedData
from earsight.tasks.training.finish import ScoredRun
from earsight.tasks.training.history import TrainingProgress
from earsight.tasks.training.plan import Plan
from earsight.tasks.training.run_figures import draw_calibration, draw_mistakes, draw_run

_CLASSES = 5


def write_run_report(
    plan: Plan,
    decoded: DecodedData,
    done: TrainingProgress,
    again: TrainingProgress | None,
    scored: ScoredRun,
    facts: dict[str, Any],
) -> None:
    """done, again: history of the training, and of the refit if any. facts: of model.json."""
    store, parts, split = decoded.store, decoded.parts, decoded.split
    folder, predictions, valid = plan.run / "figures", scored.predictions, scored.valid
    figures = [*draw_run(folder, done, again, scored.test, split)]
    if valid:
        figures[1:1] = draw_calibration(folder, predictions, scored.before, scored.after)

    def sound_of(row: int) -> bytes:
        heard = middle_crop(store.waveform(parts["test"][row]), store.settings)
        return wav_bytes(heard[0], store.settings.rate_hz)

    write_report(
        plan.run / REPORT_NAME,
        Report(
            title=plan.run.name,
            subtitle=f"{plan.recipe.network.model} on {plan.dataset.place.resolve().name}",
            split_sentence=facts["split"]["sentence"],
            caveat=split.caveat,
            training_score=split.training_score,
            synthetic=plan.dataset.synthetic,
            created=facts["created"][:16].replace("T", " "),
            metrics=scored.test,
            extra_metrics={"validation (before the refit)" if again else "validation": valid} if valid else {},
            facts=_summary(plan, decoded, done, again, scored, facts),
            figures=tuple(figures),
            mistakes=worst_mistakes(predictions, sound_of),
            explained=draw_mistakes(scored.classifier, decoded, predictions, folder / "mistakes.png"),
            failures=tuple(LeftOut(str(f.path), f.reason) for f in decoded.failures),
            settings=facts["recipe"],
            versions=facts["versions"],
            thresholds=scored.thresholds,
            intervals=scored.intervals,
            alarms=scored.alarms,
            groups=scored.groups if len(scored.groups) > 1 else (),
            group_name=plan.dataset.group_name,
            interval_groups=counted_groups(predictions, plan.dataset.group_name),
        ),
    )


def _summary(
    plan: Plan,
    decoded: DecodedData,
    done: TrainingProgress,
    again: TrainingProgress | None,
    scored: ScoredRun,
    facts: dict[str, Any],
) -> tuple[tuple[str, str], ...]:
    """Names and values of the summary."""
    store, parts = decoded.store, decoded.parts
    groups = {clip.group for clip in store.clips} - {""}
    total_s = sum(row.seconds for row in (*done.history, *(again.history if again else ())))
    took = f"{total_s / 60:.1f} min" if total_s >= 60 else f"{total_s:.0f} s"
    return (
        ("Clips", f"{len(store.clips)} from {plan.dataset.files} files, {store.duration_s / 60:.1f} min"),
        ("Train / valid / test", " / ".join(str(len(parts[part])) for part in ("train", "valid", "test"))),
        ("Groups", f"{len(groups)} {plan.dataset.group_name}s" if groups else "none known"),
        ("Epochs", f"{len(done.history)}, kept: {done.kept}"),
        *([("Refit", _refit(facts[REFIT_KEY], scored))] if again else []),
        (
            "Calibration error",
            f"{scored.after.error:.3f} (before the temperature of {scored.classifier.temperature:.2f}: "
            f"{scored.before.error:.3f}); with so few clips a well calibrated network would show about "
            f"{scored.after.by_chance:.3f}"
            if scored.valid
            else "not calibrated: nothing was held out to do it on",
        ),
        ("Unknown", _unknown(scored.unknown)),
        ("Training time", f"{took}, {done.history[-1].clips_per_s:.0f} clips/s"),
        ("Silent clips", str(store.silent)),
        ("Data fingerprint", facts["data"]["fingerprint"]),
    )


def _refit(told: Mapping[str, Any], scored: ScoredRun) -> str:
    thresholds = ", the thresholds" if scored.thresholds else ""
    return (
        f"trained once more from the start: {pluralise(told['epochs'], 'epoch')} on {told['clips']} clips, training "
        f"and validation together; the temperature{thresholds} and the limits of unknown are the first network's"
    )


def _unknown(numbers: dict[str, Any]) -> str:
    if not numbers:
        return "only silence: nothing was held out to fit more on"
    test = numbers["test"]
    wrong = "" if test.get("risk") is None else f", {100 * test['risk']:.1f} % of these wrongly"
    answered = f"{100 * test['coverage']:.1f} % of the scored clips are answered, not called unknown"
    return f"{answered}{wrong}{_unknown_of(test)}"


def _unknown_of(test: Mapping[str, Any]) -> str:
    """The classes with the largest shares of unknown clips."""
    shares = {label: (of["unknown"] / of["clips"], of) for label, of in test.get("classes", {}).items()}
    most = sorted((label for label in shares if shares[label][0]), key=lambda label: (-shares[label][0], label))
    told = [f"{shares[label][1]['unknown']} of {shares[label][1]['clips']} {label}" for label in most[:_CLASSES]]
    return f"; unknown are {', '.join(told)}{' …' if len(most) > _CLASSES else ''}" if told else ""
