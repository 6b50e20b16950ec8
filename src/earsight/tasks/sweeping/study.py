"""The trials of a sweep: sampled, pruned and stored by Optuna, in one SQLite file."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from optuna.trial import TrialState

from earsight.dataset.split import merge_caveats
from earsight.errors import SettingsError
from earsight.tasks.sweeping.space import Choice, Range, Space, WholeRange
from earsight.tasks.sweeping.trials import FEWEST_FOR_IMPORTANCE, State, Trial

_NAME = "sweep"
_FEWEST_FOR_MEDIAN = 5
_FEWEST_VALUES = 5  # different values among the complete trials, for importance
_STATES: dict[State, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class Pruned(Exception):
    """A trial is no better than the median of those before it."""


class Study:
    """Past trials, and the next one to try.

    A trial that was interrupted is forgotten: the next one gets the same number and the same settings, since each trial
    draws from a generator of its own, seeded with (seed, number).
    """

    def __init__(self, path: Path, space: Space, seed: int, *, pruned_from_epoch: int | None) -> None:
        """path: SQLite file, new or of the same space. pruned_from_epoch: first epoch at which trials may be pruned;
        None: never. All methods raise SettingsError where the file can't be used."""
        optuna.logging.disable_default_handler()  # a sweep has messages of its own
        self._path, self._space, self._seed = path, space, seed
        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if pruned_from_epoch is not None:
            pruner = optuna.pruners.MedianPruner(_FEWEST_FOR_MEDIAN, pruned_from_epoch)
        url = sqlalchemy.URL.create("sqlite", database=str(path)).render_as_string()
        with self._file():
            storage = optuna.storages.RDBStorage(url)
            self._study = optuna.create_study(
                storage=storage, study_name=_NAME, direction="maximize", pruner=pruner, load_if_exists=True
            )
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                self._study.tell(trial.number, state=TrialState.FAIL)

    def trials(self) -> list[Trial]:
        """The trials that have ended, in order."""
        with self._file():
            found = self._study.get_trials(deepcopy=False)
        rows: list[Trial] = []
        for one in found:
            kept, state = one.user_attrs, next((name for name, which in _STATES.items() if which is one.state), None)
            if state is None or (state == "failed" and "reason" not in kept):  # interrupted
                continue
            rows.append(Trial(len(rows) + 1, state, kept["value"], one.params, kept["seconds"], kept.get("reason", "")))
        return rows

    @property
    def caveat(self) -> str:
        """All caveats that ``warn`` was given."""
        with self._file():
            return str(self._study.user_attrs.get("caveat", ""))

    def warn(self, caveat: str) -> None:
        """Store a caveat that is known only after training: copies of test clips that were trained on."""
        if (told := merge_caveats((self.caveat, caveat))) != self.caveat:
            with self._file():
                self._study.set_user_attr("caveat", told)

    def ask(self) -> "PendingTrial":
        """The settings of the next trial."""
        number = len(self.trials()) + 1
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        self._study.sampler = optuna.samplers.TPESampler(seed=seed)
        with self._file():
            trial = self._study.ask()
            return PendingTrial(number, {name: _suggest(trial, name, one) for name, one in self._space.items()}, trial)

    def tell(
        self, pending: "PendingTrial", state: State, value: float | None, seconds: float, reason: str = ""
    ) -> None:
        """Store how a trial ended; see ``Trial``."""
        with self._file():
            pending.optuna_trial.set_user_attr("seconds", seconds)
            pending.optuna_trial.set_user_attr("value", value)
            if state == "failed":
                pending.optuna_trial.set_user_attr("reason", reason)
            self._study.tell(pending.optuna_trial, value if state == "complete" else None, _STATES[state])

    def report(self, pending: "PendingTrial", epoch: int, value: float) -> None:
        """Store the value of the epoch that would be kept now. Raises Pruned where it is below the median of the other
        trials at this epoch."""
        with self._file():
            pending.optuna_trial.report(value, epoch)
            if pending.optuna_trial.should_prune():
                raise Pruned

    def discard(self, pending: "PendingTrial") -> None:
        """Forget a trial, unless it has ended."""
        with self._file():
            self._study.tell(pending.optuna_trial, state=TrialState.FAIL, skip_if_finished=True)

    def importance(self) -> dict[str, float]:
        """Importance of each setting, the largest first, summing to 1 (see ``SweepResult``); {} for too few trials."""
        complete = [trial for trial in self.trials() if trial.state == "complete"]
        if len(complete) < FEWEST_FOR_IMPORTANCE or len({trial.value for trial in complete}) < _FEWEST_VALUES:
            return {}
        with self._file(), warnings.catch_warnings(action="ignore"):
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()  # optuna 4 would take fANOVA, of scikit-learn
            return dict(optuna.importance.get_param_importances(self._study, evaluator=evaluator))

    @contextmanager
    def _file(self) -> Iterator[None]:
        try:
            yield
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            reason = " ".join(str(error.__cause__ or error).split())[:200]
            raise SettingsError(
                f"can't read or write the trials in {self._path} ({reason}); fix this, or pass another --out"
            ) from error


@dataclass(frozen=True)
class PendingTrial:
    """A trial to carry out. number: from 1. values: settings by their dotted names."""

    number: int
    values: Mapping[str, Any]
    optuna_trial: optuna.Trial


def _suggest(trial: optuna.Trial, name: str, one: Choice | Range) -> Any:
    if isinstance(one, Choice):
        return trial.suggest_categorical(name, one.values)
    if isinstance(one, WholeRange):
        return trial.suggest_int(name, one.low, one.high, step=one.step or 1, log=one.log)
    return trial.suggest_float(name, one.low, one.high, step=one.step, log=one.log)
