"""The mean of the weights of the best epochs (Izmailov et al. 2018, "Averaging weights leads to wider optima")."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from earsight.files import write_atomic
from earsight.network.checkpoint import state_to_save

FOLDER_NAME = "best-epochs"


def best_epochs(scores: Sequence[float], count: int) -> list[int]:
    """Numbers of the ``count`` best epochs, ascending; later ones win ties. scores: of epochs 1, 2 …."""
    order = sorted(range(len(scores)), key=lambda i: (scores[i], i), reverse=True)
    return sorted(i + 1 for i in order[:count])


def update_kept_epochs(run: Path, network: nn.Module, scores: Sequence[float], count: int) -> None:
    """Save the weights of the last epoch if it is among the best, and remove those that no longer are."""
    folder, epoch, best = run / FOLDER_NAME, len(scores), best_epochs(scores, count)
    if epoch in best:
        folder.mkdir(exist_ok=True)
        write_atomic(_path(run, epoch), save(state_to_save(network)))
    for path in folder.glob("*.safetensors"):
        if path not in {_path(run, number) for number in best}:
            path.unlink()


def mean_of_epochs(run: Path, epochs: Sequence[int]) -> dict[str, Tensor]:
    """Mean weights of saved epochs, on the CPU; counters are those of the last one."""
    states = [load_file(_path(run, epoch)) for epoch in epochs]
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in states[-1].items()
    }


def _path(run: Path, epoch: int) -> Path:
    return run / FOLDER_NAME / f"epoch-{epoch:05d}.safetensors"
