"""The run folders of a cross-validation → metrics.json, predictions, figures and report.html."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from earsight.audio.load import load_waveform, middle_crop
from earsight.errors import DataError, DecodeError
from earsight.files import read_json, write_json
from earsight.network.description import METRICS_NAME, PREDICTIONS_NAME, REPORT_NAME, read_description
from earsight.scores.calibration import reliability, with_temperature
from earsight.scores.crossval import CrossScores, cross_scores
from earsight.scores.dispatch import AnyPredictions, read_csv
from earsight.scores.figures import CLASSES_BESIDE, draw_bars, draw_confusion
from earsight.scores.metrics import Metrics
from earsight.scores.page import write_page
from earsight.scores.predictions import concatenated
from earsight.scores.report import FigureEntry, Mistake, wav_bytes, worst_mistakes
from earsight.settings import flatten
from earsight.tasks.training.plan import Plan
from earsight.tasks.training.run_figures import bars_alt, confusion_alt, draw_calibration, draw_label_bars


@dataclass(frozen=True)
class Finished:
    """What a training left in its folder. data: fingerprint of the recordings. caveat, speaker_independent: of the
    split as carried out, after the search for copies."""

    predictions: AnyPredictions
    temperature: float
    data: str
    versions: Mapping[str, str]
    caveat: str
    speaker_independent: bool


def read_runs(places: Sequence[tuple[int, str, Path]]) -> dict[tuple[int, str], Finished]:
    """(seed, fold) → result. places: (seed, fold, run folder) of finished trainings. Raises DataError where a run is
    incomplete, or was trained on other recordings than the first."""
    found = {(seed, fold): _read(run, fold, seed) for seed, fold, run in places}
    heard = [(run, found[seed, fold].data) for seed, fold, run in places]
    for run, data in heard[1:]:
        first, its = heard[0]
        if data != its:
            raise DataError(
                f"{first.name} and {run.name} of {first.parent} were trained on other recordings (data {its[:8]}… and "
                f"{data[:8]}…): restore the recordings, or remove the folders that shall be trained again; then "
                "--resume"
            )
    return found


def write_results(
    out: Path, found: Mapping[tuple[int, str], Finished], plan: Plan, sentence: str, caveat: str
) -> CrossScores:
    """Write metrics.json, predictions, figures and report. found: of every fold and seed. plan: of one of them. Raises
    DataError where they don't fit together."""
    scores = cross_scores({which: one.predictions for which, one in found.items()})
    every = concatenated([one.predictions for one in found.values()])
    plain = [with_temperature(one.predictions, 1 / one.temperature) for one in found.values()]
    before, after = reliability(concatenated(plain)), reliability(every)
    one = next(iter(found.values()))
    about = {"fingerprint": one.data, "versions": one.versions}
    for seed, run in zip(scores.seeds, scores.runs, strict=True):
        run.write_csv(out / f"predictions-seed{seed}.csv")
    beside = {"caveat": caveat} if caveat else {}
    calibration = {"ece": after.error, "ece_uncalibrated": before.error}
    numbers = {"sentence": sentence, **beside, **scores.to_dict(), "calibration": calibration, **about}
    write_json(out / METRICS_NAME, numbers)
    write_page(
        out / REPORT_NAME,
        "crossval.html.j2",
        title=out.name,
        subtitle=f"{plan.recipe.network.model} on {plan.dataset.place.resolve().name}",
        created=time.strftime("%Y-%m-%d %H:%M"),
        sentence=sentence,
        caveat=caveat,
        synthetic=plan.dataset.synthetic,
        group_name=plan.dataset.group_name,
        interval_groups=scores.counted_groups(plan.dataset.group_name),
        scores=scores,
        figures=[
            *_draw(out / "figures", scores, plan.dataset.group_name, caveat),
            *draw_calibration(out / "figures", every, before, after),
        ],
        calibration=calibration,
        about=about,
        mistakes=_mistakes(scores.runs[0], plan),
        settings=flatten(plan.recipe.model_dump()),
    )
    return scores


def _read(run: Path, fold: str, seed: int) -> Finished:
    path, again = run / PREDICTIONS_NAME, "remove that folder, and --resume"
    if not path.is_file():
        raise DataError(f"no predictions of {fold}, seed {seed} in {run}; {again}")
    predictions, described = read_csv(path), read_description(run)
    try:
        numbers = read_json(run / METRICS_NAME)
        temperature, clips = float(numbers["calibration"]["temperature"]), int(numbers["clips"]["test"])
        data, versions = str(described["data"]["fingerprint"]), dict(described["versions"])
        caveat, independent = str(described["split"]["caveat"]), bool(described["split"]["speaker_independent"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"metrics.json or model.json in {run} is damaged; {again}") from error
    if len(predictions.paths) != clips:
        raise DataError(f"{path} has {len(predictions.paths)} of {clips} test clips; {again}")
    return Finished(predictions, temperature, data, versions, caveat, independent)


def _draw(folder: Path, scores: CrossScores, group_name: str, caveat: str) -> list[FigureEntry]:
    folder.mkdir(exist_ok=True)
    beside = f", {caveat}" if caveat else ""
    every = scores.every_answer
    if isinstance(every, Metrics):
        title, labels = f"Confusion, all folds{beside}", [row.label for row in every.per_class]
        confusion = draw_confusion(folder / "confusion.png", every.confusion, labels, title=title)
        caption, wide = f"Truth in rows, answers in columns; all folds{beside}.", len(labels) > CLASSES_BESIDE
        entries = [FigureEntry("Confusion matrix", caption, confusion, wide=wide, alt=confusion_alt(every))]
    else:
        entries = [draw_label_bars(folder / "labels.png", every, f"all folds{beside}")]
    if scores.groups:
        values, names = [one.accuracy for one in scores.groups], [one.group for one in scores.groups]
        title = f"Accuracy of each {group_name}{beside}"
        drawn = draw_bars(
            folder / "groups.png",
            values,
            names,
            title=title,
            x_name="share of clips with every label right" if every.several else "accuracy",
            marked=every.accuracy,
        )
        caption = f"From the hardest {group_name} to the easiest; the dotted line is the accuracy of all clips."
        entries.append(
            FigureEntry(
                f"{group_name.capitalize()} by {group_name}", caption, drawn, alt=bars_alt(title, names, values)
            )
        )
    return entries


def _mistakes(run: AnyPredictions, plan: Plan) -> tuple[Mistake, ...]:
    """Mistakes of the first seed, with sound where the file can still be read."""
    clip_of = {clip.full_name: clip for clip in plan.dataset.clips}

    def sound_of(row: int) -> bytes | None:
        clip, audio = clip_of.get(run.paths[row]), plan.recipe.audio
        if clip is None:
            return None
        try:
            heard = load_waveform(clip.path, audio, clip.start_s or 0.0, clip.end_s)
        except DecodeError:  # readable when it was scored; the row is shown without sound
            return None
        return wav_bytes(middle_crop(heard, audio)[0], audio.rate_hz)

    return worst_mistakes(run, sound_of)
