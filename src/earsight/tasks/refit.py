"""The second training of a run: on training and validation clips together, for the epochs that these chose.
docs/decisions/0011-refit.md"""

from dataclasses import replace
from pathlib import Path

from earsight.files import remove_folder, write_whole
from earsight.network.description import SETTINGS_NAME, WEIGHTS_NAME
from earsight.tasks.plan import STATE_NAME, Plan

FOLDER_NAME = "refit"
_HISTORY_NAME = "history.csv"


def begin_refit(plan: Plan, *, first_process: bool) -> Plan:
    """Of the second training, in a folder of its own: until it is over the run is the first one's. That one is kept
    there, too, since its temperature and limits are wanted when the run has the second network already."""
    again = replace(plan, run=plan.run / FOLDER_NAME)
    if first_process and not (again.run / STATE_NAME).is_file():
        chosen_network(plan.run).mkdir(parents=True, exist_ok=True)
        copy_model(plan.run, chosen_network(plan.run))
    return again


def chosen_network(run: Path) -> Path:
    """Where the first network is."""
    return run / FOLDER_NAME / "chosen"


def copy_model(source: Path, run: Path) -> None:
    for name in (WEIGHTS_NAME, SETTINGS_NAME):
        write_whole(run / name, (source / name).read_bytes())


def keep_refit(run: Path) -> None:
    """The second network is the run's from now on."""
    copy_model(run / FOLDER_NAME, run)
    write_whole(run / "history-refit.csv", (run / FOLDER_NAME / _HISTORY_NAME).read_bytes())


def forget_refit(run: Path) -> None:
    """Remove the folder."""
    if (run / FOLDER_NAME).is_dir():
        remove_folder(run / FOLDER_NAME)
