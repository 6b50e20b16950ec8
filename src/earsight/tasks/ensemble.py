"""ensemble: several runs → one model that averages their answers, scored on clips that none was trained on."""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earsight import extras
from earsight.dataset.split import merge_caveats
from earsight.errors import DataError, SettingsError
from earsight.files import check_new_folder, write_atomic, write_json
from earsight.network.description import METRICS_NAME, PREDICTIONS_NAME, REFIT_KEY, SETTINGS_NAME, read_description
from earsight.network.device import check_device_name, find_device
from earsight.tasks.clips_table import CLIPS_NAME, RunClip, parts_csv, read_clips
from earsight.tasks.crossval import MANIFEST_NAME
from earsight.tasks.evaluate import evaluate
from earsight.tasks.machine.cores import check_threads

if TYPE_CHECKING:
    from earsight.scores.dispatch import AnyMetrics


@dataclass(frozen=True)
class EnsembleResult:
    """metrics: of the test clips; None where a member was trained or validated on each of them, or they could not be
    scored: sentence says why. caveat: that of all members."""

    out: Path
    members: int
    metrics: "AnyMetrics | None"
    sentence: str
    caveat: str


def ensemble(
    runs: str | Path | Sequence[str | Path], out: str | Path, *, device: str = "cpu", threads: int | None = None
) -> EnsembleResult:
    """Save one model of the networks of many runs: seeds of one split, or folds of a data set.

    runs: run folders; the folder of a cross-validation stands for all its runs. out: a run folder, new or empty. Its
    test clips are those that every run tested: all for seeds of one split, none for the folds of a cross-validation.
    Raises EarsightError.
    """
    extras.check("torch", "timm", "safetensors")
    check_device_name(device)
    check_threads(threads)
    place = Path(out)
    check_new_folder(place)
    members = _members([runs] if isinstance(runs, str | Path) else runs)
    find_device(device)
    from earsight.network.checkpoint import save_classifier
    from earsight.network.classifier import Classifier
    from earsight.network.ensemble import join_classifiers

    whole = join_classifiers([Classifier.load(run) for run in members])
    recorded = [read_clips(run) for run in members]
    tested = _common_clips(recorded) if all(recorded) else ()
    test = sum(row.part == "test" for row in tested)
    facts = _facts([read_description(run) for run in members], len(tested), test)
    split, sentence, caveat = facts["split"], facts["split"]["sentence"], facts["split"]["caveat"]
    save_classifier(whole, place, facts)
    if tested:
        parts = defaultdict(list)
        for number, row in enumerate(tested):
            parts[row.part].append(number)
        clips, digests = [row.clip for row in tested], [row.digest for row in tested]
        write_atomic(place / CLIPS_NAME, parts_csv(clips, parts, whole=False, digests=digests))
    if not test:
        return EnsembleResult(place, len(members), None, sentence, caveat)
    try:
        found = evaluate(place, device=device, threads=threads)
    except DataError as error:  # test recordings can't be read: the model is complete, and may be scored on others
        return EnsembleResult(place, len(members), None, f"{sentence[:-1]}; not scored: {error}", caveat)
    found.predictions.write_csv(place / PREDICTIONS_NAME)
    beside = {"caveat": caveat} if caveat else {}
    numbers = {"test": {**beside, **found.metrics.to_dict()}, "members": [str(run) for run in members], "split": split}
    write_json(place / METRICS_NAME, numbers)
    return EnsembleResult(place, len(members), found.metrics, sentence, caveat)


def _facts(described: Sequence[dict[str, Any]], clips: int, test: int) -> dict[str, Any]:
    """The part of model.json that describes the ensemble. described: model.json of each member. clips: number of clips
    in their tables. test: of these, test clips of all members."""
    splits, of_data = ([one.get(key, {}) for one in described] for key in ("split", "data"))
    caveat = merge_caveats(str(one.get("caveat", "")) for one in splits)
    # The test clips of the ensemble are test clips of each member, by speakers that no member heard.
    independent = all(one.get("speaker_independent") is True for one in splits)
    overlap = _overlap_text(clips, test, independent, caveat)
    heard = {
        kind: sorted({group for data in of_data for group in data.get(kind, ())})
        for kind in ("trained_groups", "validated_groups")
    }
    kept = ("earsight", "recipe_name", "recipe", "versions")
    return {
        **{key: value for key, value in described[0].items() if key in kept},
        **next(({REFIT_KEY: one[REFIT_KEY]} for one in described if REFIT_KEY in one), {}),
        "data": {**of_data[0], **heard},
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "split": {
            "kind": " ".join(sorted({str(one.get("kind", "")) for one in splits})),
            "sentence": f"{len(described)} networks whose answers are averaged; {overlap}.",
            "caveat": caveat,
            "training_score": any(one.get("training_score") for one in splits),
            "speaker_independent": independent,
        },
    }


def _overlap_text(clips: int, test: int, independent: bool, caveat: str) -> str:
    if not clips:
        return "which clips they were trained on is not known"
    if not test:
        return "every clip was used to train one of them"
    unknown = "; whether their speakers or recordings were is not known for all members"
    return f"the {test} test clips were in no member's training{'' if independent or caveat else unknown}"


def _members(runs: Sequence[str | Path]) -> list[Path]:
    """All run folders; a cross-validation is expanded. Raises SettingsError."""
    found: list[Path] = []
    for run in map(Path, runs):
        folds = (run / MANIFEST_NAME).is_file()
        found += sorted(path for path in run.iterdir() if (path / SETTINGS_NAME).is_file()) if folds else [run]
    if len({path.resolve() for path in found}) < len(found):
        raise SettingsError("a run is named twice; name each member once")
    return found


def _common_clips(recorded: Sequence[Sequence[RunClip]]) -> tuple[RunClip, ...]:
    """Each clip of the runs once: test where it is in all runs, else train where it is in any. Raises DataError where a
    run was scored on its training clips."""
    rows_of: dict[Any, list[RunClip]] = defaultdict(list)
    for row in (row for rows in recorded for row in rows):
        if row.part == "all":
            raise DataError("a run was trained and scored on the same clips; combine runs that held out test clips")
        rows_of[row.clip.path, row.clip.start_s, row.clip.end_s].append(row)
    found = []
    for rows in rows_of.values():
        heard = [row for row in rows if row.part != "test"]
        if heard or len(rows) == len(recorded):  # else some runs don't have the clip: nothing is known of it
            found.append(min(heard or rows, key=lambda row: (row.part != "train", not row.clip.group)))
    return tuple(found)
