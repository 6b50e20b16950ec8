"""The name of a device, checked against what is there."""

import re
from typing import TYPE_CHECKING

from earsight.errors import SettingsError

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
