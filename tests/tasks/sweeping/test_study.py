"""Drawing, pruning and keeping trials; the training is a formula here."""

from pathlib import Path

import pytest

from earsight.errors import SettingsError
from earsight.tasks.sweeping.space import to_space
from earsight.tasks.sweeping.study import Pruned, Study
from earsight.tasks.sweeping.trials import Trial

SPACE = to_space(
    {
        "optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True},
        "mel.n_mels": {"low": 64, "high": 160, "step": 16},
        "augment.mixup_alpha": [0.0, 0.2, 0.4],
    }
)


def opened(path: Path, *, pruned_from_epoch: int | None = 1) -> Study:
    return Study(path, SPACE, seed=3, pruned_from_epoch=pruned_from_epoch)


def carry_out(path: Path, trials: int, cut_off: tuple[int, ...] = (), *, pruned_from_epoch: int | None = 1) -> Study:
    """Value: 1 at the top of the range of lr, and what mel.n_mels adds; each epoch brings a quarter of it."""
    study, left = opened(path, pruned_from_epoch=pruned_from_epoch), list(cut_off)
    while len(study.trials()) < trials:
        asked = study.ask()
        if asked.number in left:
            left.remove(asked.number)
            if asked.number % 2:  # an odd one is told of; of an even one nothing is known but that it was running
                study.discard(asked)
            study = opened(path, pruned_from_epoch=pruned_from_epoch)
            continue
        value = 100 * asked.values["optimizer.lr"] + asked.values["mel.n_mels"] / 1e5
        if asked.number == 4:
            study.tell(asked, "failed", None, 1.0, "the loss is no longer a number")
            continue
        epoch = 0
        try:
            for epoch in range(1, 4):
                study.report(asked, epoch, value * epoch / 4)
            study.tell(asked, "complete", value, 2.0)
        except Pruned:
            study.tell(asked, "pruned", value * epoch / 4, 1.0)
    return study


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    return carry_out(tmp_path_factory.mktemp("study") / "trials.db", 14).trials()


def test_trials_stay_in_the_space_and_come_back_from_the_file(whole: list[Trial], tmp_path: Path) -> None:
    carry_out(tmp_path / "trials.db", 2)
    assert opened(tmp_path / "trials.db").trials() == whole[:2]
    assert [trial.number for trial in whole] == list(range(1, 15))
    for trial in whole:
        assert 1e-4 <= trial.values["optimizer.lr"] <= 1e-2
        assert trial.values["mel.n_mels"] in range(64, 161, 16)
        assert trial.values["augment.mixup_alpha"] in (0.0, 0.2, 0.4)
    assert whole[3].reason == "the loss is no longer a number"
    assert (whole[3].state, whole[3].value) == ("failed", None)


def test_a_search_that_was_cut_off_goes_the_way_of_an_unbroken_one(whole: list[Trial], tmp_path: Path) -> None:
    """Beyond the first ten the draws depend on the trials before; the name has letters that an address must escape."""
    assert carry_out(tmp_path / "a?b #%20é.db", 14, cut_off=(1, 6, 13)).trials() == whole


def test_a_trial_below_the_median_is_pruned_and_one_above_it_is_not(whole: list[Trial], tmp_path: Path) -> None:
    ended = {state: [trial.value for trial in whole if trial.state == state] for state in ("complete", "pruned")}
    assert len(ended["pruned"]) >= 2
    assert all(trial.state != "pruned" for trial in whole[:5])  # five are complete before any is pruned
    unpruned = carry_out(tmp_path / "all.db", 8, pruned_from_epoch=None).trials()
    assert [trial.state for trial in unpruned] == [*["complete"] * 3, "failed", *["complete"] * 4]


def test_the_setting_that_decides_is_the_most_important_one(tmp_path: Path) -> None:
    few = carry_out(tmp_path / "few.db", 3)
    assert few.importance() == {}
    shares = carry_out(tmp_path / "many.db", 11, pruned_from_epoch=None).importance()
    assert next(iter(shares)) == "optimizer.lr"
    assert shares["optimizer.lr"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "trials.db").write_bytes(b"no database" * 1000)
    with pytest.raises(SettingsError, match=r"trials\.db \(file is not a database\); fix this, or pass another --out"):
        opened(tmp_path / "trials.db")


def test_optuna_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    carry_out(tmp_path / "trials.db", 2)
    assert capfd.readouterr() == ("", "")
