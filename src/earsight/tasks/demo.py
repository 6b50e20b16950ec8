"""demo: corpus, training, score and predictions on synthetic voices."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from earsight.dataset.synth import MARKER_NAME, write_corpus
from earsight.errors import SettingsError
from earsight.network.description import SETTINGS_NAME
from earsight.tasks.clips_table import CLIPS_NAME
from earsight.tasks.machine.devices import Machine
from earsight.tasks.predict import Row, predict
from earsight.tasks.progress import Progress
from earsight.tasks.recipe import Recipe
from earsight.tasks.train import TrainResult, run_plan
from earsight.tasks.training.plan import check_recipe, plan_training

_SPEAKERS = 12


@dataclass(frozen=True)
class DemoResult:
    """corpus: the folder of synthetic recordings. rows: predictions for a few test files. sentence: of the split."""

    corpus: Path
    result: TrainResult
    sentence: str
    rows: tuple[Row, ...]


def demo(out: str | Path = "runs/demo", *, seed: int = 0, progress: bool = False) -> DemoResult:
    """Write the corpus to ``out``/corpus, train into ``out``/run, predict a few clips of unseen speakers.

    An earlier demo in ``out`` is replaced; any other folder is refused with SettingsError.
    """
    out = Path(out)
    corpus, run = out / "corpus", out / "run"
    if not _is_replaceable(out):
        raise SettingsError(f"{out} contains something other than an earlier demo; pass another --out")
    recipe = Recipe.named("demo", {"seed": seed})
    check_recipe(recipe)
    for folder in (run, corpus):  # the corpus last, since it marks the folder as a demo's
        if folder.exists():
            shutil.rmtree(folder)
    with Progress(shown=progress) as shown:
        shown.start("writing synthetic voices", 1)
        files = write_corpus(corpus, speakers=_SPEAKERS, seed=seed, progress=shown.advance)
        shown.say(f"wrote {len(files)} synthetic recordings of {_SPEAKERS} speakers to {corpus}")
    plan = plan_training(corpus, recipe, recipe_name="demo", split_kind="group", out=run)
    result = run_plan(plan, Machine(), progress=progress)
    tests = [plan.dataset.clips[i].path for i in plan.split.test]
    rows = () if result.interrupted else tuple(predict(run, tests[:: max(1, len(tests) // 5)][:5]))
    return DemoResult(corpus, result, plan.split.sentence, rows)


def _is_replaceable(out: Path) -> bool:
    """Whether ``out`` does not exist, or holds only an earlier demo."""
    if not out.exists():
        return True
    known = {"corpus": (MARKER_NAME,), "run": (SETTINGS_NAME, CLIPS_NAME)}
    if not out.is_dir() or not all(path.name in known and path.is_dir() for path in out.iterdir()):
        return False
    filled = {path.name for path in out.iterdir() if any(path.iterdir())}
    return not filled or ("corpus" in filled and all(_has(out / name, *known[name]) for name in filled))


def _has(folder: Path, *names: str) -> bool:
    return any((folder / name).is_file() for name in names)
