"""Where torch computes: what was asked for, checked against what is there."""

import re
from typing import TYPE_CHECKING

from earsight.errors import SettingsError
from earsight.tasks.cores import allowed_cores

if TYPE_CHECKING:
    import torch

_DEVICE = re.compile(r"cpu|mps|cuda(:\d+)?")


def check_device_name(device: str) -> str:
    """Raises SettingsError where ``device`` is not cpu, cuda, cuda:N or mps; needs no torch."""
    if not _DEVICE.fullmatch(device):
        raise SettingsError(f"no device {device!r}; use cpu, cuda, cuda:0 … or mps")
    return device


def find_device(device: str) -> "torch.device":
    """The device of this name. Raises SettingsError where this machine has none."""
    import torch

    kind, _, number = check_device_name(device).partition(":")
    there = {"cpu": 1, "mps": int(torch.backends.mps.is_available()), "cuda": torch.cuda.device_count()}[kind]
    if int(number or 0) >= there:
        raise SettingsError(f"this machine has no {device}; pass --device cpu")
    return torch.device(device)


def check_accelerator(accelerator: str, devices: int) -> None:
    """Raises SettingsError where ``--accelerator`` and ``--devices`` ask for more than there is."""
    import torch

    if devices < 1:
        raise SettingsError(f"--devices must be 1 or more, got {devices}")
    gpus = torch.cuda.device_count()
    if accelerator == "cuda" and not gpus:
        raise SettingsError("this machine has no cuda; pass --accelerator cpu")
    if accelerator == "mps" and not torch.backends.mps.is_available():
        raise SettingsError("this machine has no mps; pass --accelerator cpu")
    there, what = (gpus, "GPUs") if accelerator in {"auto", "cuda"} and gpus else (max(2, allowed_cores()), "cores")
    if devices > there:
        raise SettingsError(f"--devices {devices} is more than the {there} {what} of this machine; pass fewer")
