"""The second training of a run: on training and validation clips together, for the epochs that these chose.
docs/decisions/0011-refit.md"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from earsight.errors import TrainingError
from earsight.files import remove_folder, write_atomic
from earsight.network.description import REFIT_KEY, SETTINGS_NAME, WEIGHTS_NAME, read_description
from earsight.tasks.training.decoded import DecodedData
from earsight.tasks.training.plan import HISTORY_NAME, Plan

FOLDER_NAME = "refit"


def plan_refit(plan: Plan) -> Plan:
    """In a folder of its own: until it is over the run is the first one's."""
    return replace(plan, run=plan.run / FOLDER_NAME, first=plan.run)


def keep_first_network(run: Path) -> None:
    """Keep the first network beside the second one: its temperature and limits are fitted when the run may have the
    second network already. Raises TrainingError."""
    chosen = first_network_folder(run)
    if REFIT_KEY not in read_description(run):
        chosen.mkdir(parents=True, exist_ok=True)
        _copy_model(run, chosen)
    elif not (chosen / SETTINGS_NAME).is_file():
        raise TrainingError(
            f"can't resume: {run} has its second network already, and the first one, {chosen}, is gone, without which "
            "nothing can be fitted on validation clips; begin again with another --out"
        )


def first_network_folder(run: Path) -> Path:
    """Where the first network is."""
    return run / FOLDER_NAME / "chosen"


def refit_facts(facts: Mapping[str, Any], whole: DecodedData, epochs: int) -> dict[str, Any]:
    """What model.json tells of the second network. facts: of the first."""
    return {
        **facts,
        "data": {**facts["data"], "trained_groups": whole.groups_of("train")},
        "split": {**facts["split"], "sentence": whole.split.sentence},
        REFIT_KEY: {"epochs": epochs, "clips": len(whole.parts["train"])},
    }


def promote_refit(run: Path) -> None:
    """The second network is the run's from now on."""
    write_atomic(run / "history-refit.csv", (run / FOLDER_NAME / HISTORY_NAME).read_bytes())
    _copy_model(run / FOLDER_NAME, run)


def _copy_model(source: Path, run: Path) -> None:
    # model.json first: where it stops here, ``keep_first_network`` must not take the second weights for the first ones.
    for name in (SETTINGS_NAME, WEIGHTS_NAME):
        write_atomic(run / name, (source / name).read_bytes())


def remove_refit(run: Path) -> None:
    """Remove the folder."""
    if (run / FOLDER_NAME).is_dir():
        remove_folder(run / FOLDER_NAME)
