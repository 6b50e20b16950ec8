"""The run folders of a cross-validation → metrics.json, predictions, figures and report.html."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from earsight.audio.load import load_waveform, middle_crop
from earsight.errors import DataError, DecodeError
from earsight.files import write_whole
from earsight.network.description import read_description
from earsight.scores.calibration import Reliability, reliability, with_temperature
from earsight.scores.crossval import CrossScores, cross_scores
from earsight.scores.figures import draw_bars, draw_confusion
from earsight.scores.kinds import AnyPredictions, read_csv
from earsight.scores.metrics import Metrics
from earsight.scores.page import write_page
from earsight.scores.predictions import concatenated
from earsight.scores.report import FigureEntry, Mistake, wav_bytes, worst_mistakes
from earsight.settings import flat
from earsight.tasks.finish import draw_calibration
from earsight.tasks.finish_multilabel import draw_label_bars
from earsight.tasks.plan import Plan


def write_results(
    out: Path, places: Sequence[tuple[int, str, Path]], plan: Plan, sentence: str, caveat: str
) -> CrossScores:
    """places: (seed, fold, run folder) of every fold. plan: of one of them. Raises DataError where a run lacks its
    predictions."""
    found = {(seed, fold): _read(run, fold, seed) for seed, fold, run in places}
    scores = cross_scores(found)
    first = [(found[seed, fold], run) for seed, fold, run in places if seed == scores.seeds[0]]
    before, after = _calibration(first)
    for seed, run in zip(scores.seeds, scores.runs, strict=True):
        run.write_csv(out / f"predictions-seed{seed}.csv")
    beside = {"caveat": caveat} if caveat else {}
    calibration = {"ece": after.error, "ece_uncalibrated": before.error}
    numbers = {"sentence": sentence, **beside, **scores.to_dict(), "calibration": calibration, **_about(places)}
    write_whole(out / "metrics.json", json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
    write_page(
        out / "report.html",
        "crossval.html.j2",
        title=out.name,
        subtitle=f"{plan.recipe.network.model} on {plan.dataset.place.resolve().name}",
        created=time.strftime("%Y-%m-%d %H:%M"),
        sentence=sentence,
        caveat=caveat,
        synthetic=plan.dataset.synthetic,
        group_name=plan.dataset.group_name,
        scores=scores,
        figures=[
            *_draw(out / "figures", scores, plan.dataset.group_name, caveat),
            *draw_calibration(out / "figures", scores.runs[0], before, after),
        ],
        calibration=calibration,
        about=_about(places),
        mistakes=_mistakes(scores.runs[0], plan),
        settings=flat(plan.recipe.model_dump()),
    )
    return scores


def _calibration(folds: Sequence[tuple[AnyPredictions, Path]]) -> tuple[Reliability, Reliability]:
    """Of all folds of one seed together, before and after the temperature of each."""
    plain = []
    for predictions, run in folds:
        told = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["calibration"]
        plain.append(with_temperature(predictions, 1 / told["temperature"]))
    return reliability(concatenated(plain)), reliability(concatenated([predictions for predictions, _ in folds]))


def _about(places: Sequence[tuple[int, str, Path]]) -> dict[str, Any]:
    """What the runs say of their data and libraries: the first, they are all of one command."""
    described = read_description(places[0][2])
    return {"fingerprint": described["data"]["fingerprint"], "versions": described["versions"]}


def _read(run: Path, fold: str, seed: int) -> AnyPredictions:
    path = run / "predictions.csv"
    if not path.is_file():
        raise DataError(f"no predictions of {fold}, seed {seed} in {run}; remove that folder, and --resume")
    return read_csv(path)


def _draw(folder: Path, scores: CrossScores, group_name: str, caveat: str) -> list[FigureEntry]:
    folder.mkdir(exist_ok=True)
    beside = f", {caveat}" if caveat else ""
    every = scores.every_answer
    if isinstance(every, Metrics):
        title, labels = f"Confusion, all folds{beside}", [row.label for row in every.per_class]
        confusion = draw_confusion(folder / "confusion.png", every.confusion, labels, title=title)
        entries = [FigureEntry("Confusion matrix", f"Truth in rows, answers in columns; all folds{beside}.", confusion)]
    else:
        entries = [draw_label_bars(folder / "labels.png", every, f"all folds{beside}")]
    if scores.groups:
        drawn = draw_bars(
            folder / "groups.png",
            [one.accuracy for one in scores.groups],
            [one.group for one in scores.groups],
            title=f"Accuracy of each {group_name}{beside}",
            x_name="share of clips with every label right" if every.several else "accuracy",
            marked=every.accuracy,
        )
        caption = f"From the hardest {group_name} to the easiest; the dotted line is the accuracy of all clips."
        entries.append(FigureEntry(f"{group_name.capitalize()} by {group_name}", caption, drawn))
    return entries


def _mistakes(run: AnyPredictions, plan: Plan) -> tuple[Mistake, ...]:
    """Of the first seed, to listen to where their files can still be read."""
    clip_of = {clip.full_name: clip for clip in plan.dataset.clips}

    def sound_of(row: int) -> bytes | None:
        clip, audio = clip_of.get(run.paths[row]), plan.recipe.audio
        if clip is None:
            return None
        try:
            heard = load_waveform(clip.path, audio, clip.start_s or 0.0, clip.end_s)
        except DecodeError:  # it was readable when it was scored; the row stands without its sound
            return None
        return wav_bytes(middle_crop(heard, audio)[0], audio.rate_hz)

    return worst_mistakes(run, sound_of)
