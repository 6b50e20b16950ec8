"""Refit: a second training on training and validation clips, for as many epochs as the first kept.
docs/decisions/0011-refit.md"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from earsight.errors import TrainingError
from earsight.files import write_atomic
from earsight.network.description import REFIT_KEY, SETTINGS_NAME, WEIGHTS_NAME, read_description
from earsight.tasks.training.decoded import DecodedData
from earsight.tasks.training.plan import HISTORY_NAME, Plan

FOLDER_NAME = "refit"


def plan_refit(plan: Plan) -> Plan:
    """The plan of the refit, in a folder of its own: until it ends, the run keeps the first network."""
    return replace(plan, run=plan.run / FOLDER_NAME, first=plan.run)


def keep_first_network(run: Path) -> None:
    """Copy the first network: temperature and limits are fitted for it later, when the run may have the second network
    already. Raises TrainingError where a resumed run has lost it."""
    chosen = first_network_folder(run)
    if REFIT_KEY not in read_description(run):
        chosen.mkdir(parents=True, exist_ok=True)
        _copy_model(run, chosen)
    elif not (chosen / SETTINGS_NAME).is_file():
        raise TrainingError(
            f"can't resume: {run} already has the network of the refit, but the first one, {chosen}, which is needed "
            "for what is fitted on validation clips, is missing; start again with another --out"
        )


def first_network_folder(run: Path) -> Path:
    """The folder of the copy of the first network."""
    return run / FOLDER_NAME / "chosen"


def refit_facts(facts: Mapping[str, Any], whole: DecodedData, epochs: int) -> dict[str, Any]:
    """The facts for model.json of the second network. facts: those of the first."""
    return {
        **facts,
        "data": {**facts["data"], "trained_groups": whole.groups_of("train")},
        "split": {**facts["split"], "sentence": whole.split.sentence},
        REFIT_KEY: {"epochs": epochs, "clips": len(whole.parts["train"])},
    }


def promote_refit(run: Path) -> None:
    """Make the second network that of the run."""
    write_atomic(run / "history-refit.csv", (run / FOLDER_NAME / HISTORY_NAME).read_bytes())
    _copy_model(run / FOLDER_NAME, run)


def _copy_model(source: Path, run: Path) -> None:
    # model.json first: if it stops in between, ``keep_first_network`` must not take the second weights for the first.
    for name in (SETTINGS_NAME, WEIGHTS_NAME):
        write_atomic(run / name, (source / name).read_bytes())
