"""Devices and precision for training, checked against what is there."""

import logging
import os
import platform
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from earsight.errors import SettingsError
from earsight.tasks.machine.cores import allowed_cores, check_threads

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch import Tensor

Accelerator = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class Machine:
    """Where and how a network is trained. accelerator, devices (of each node), nodes, precision: of lightning-fabric.
    threads: of torch on the CPU; None takes the cores that are free. compiled: by torch.compile."""

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: str = "32-true"
    threads: int | None = None
    compiled: bool = False

    def check(self) -> None:
        """Raises SettingsError for anything that this machine can't do."""
        check_threads(self.threads)
        for name, value, known in (
            ("accelerator", self.accelerator, get_args(Accelerator)),
            ("precision", self.precision, get_args(Precision)),
        ):
            if value not in known:
                raise SettingsError(f"no {name} {value!r}; use {', '.join(known)}")
        if self.devices < 1:
            raise SettingsError(f"--devices must be 1 or more, got {self.devices}")
        if self.devices > 1 and hasattr(sys, "ps1"):
            raise SettingsError(
                f"{self.devices} devices are {self.devices} processes, which a notebook or an interactive Python can't "
                "start; train in a script or by earsight train, or on one device"
            )
        if self.nodes < 1:
            raise SettingsError(f"--nodes must be 1 or more, got {self.nodes}")
        import torch

        gpus = torch.cuda.device_count()
        if self.accelerator == "cuda" and not gpus:
            raise SettingsError(
                "this machine has no CUDA device; pass another --accelerator (of bench: --device), such as cpu"
            )
        if self.accelerator == "mps" and not torch.backends.mps.is_available():
            raise SettingsError(
                "this machine has no mps device; pass another --accelerator (of bench: --device), such as cpu"
            )
        on_gpus = self.accelerator in {"auto", "cuda"} and gpus > 0
        there, what = (gpus, "GPUs") if on_gpus else (max(2, allowed_cores()), "cores")
        on_mps = self.accelerator in {"auto", "mps"} and torch.backends.mps.is_available()
        if self.precision == "16-mixed" and not (on_gpus or on_mps):
            raise SettingsError("--precision 16-mixed is for GPUs; pass bf16-mixed or 32-true")
        if self.nodes > 1 and not any(name in os.environ for name in ("MASTER_ADDR", "SLURM_JOB_ID")):
            raise SettingsError(
                f"--nodes {self.nodes} needs the addresses of the others: set MASTER_ADDR, MASTER_PORT and NODE_RANK "
                "on each, or start it by torchrun"
            )
        if self.devices > there:
            raise SettingsError(f"--devices {self.devices} is more than the {there} {what} of this machine; pass fewer")
        if self.compiled:
            _check_compiler("cuda" if on_gpus else "cpu")

    def caution(self) -> str | None:
        """A warning about a setting that is allowed but hardly meant; None without one."""
        import torch

        on_cpu = self.accelerator == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
        bare = (
            platform.machine().lower() in {"x86_64", "amd64"} and "512" not in torch.backends.cpu.get_cpu_capability()
        )
        if self.precision == "bf16-mixed" and on_cpu and bare:
            return "bf16 takes many times as long on a processor without AVX-512; leave --precision out"
        return None

    @property
    def processes(self) -> int:
        """Number of processes that train together."""
        return self.devices * self.nodes

    def fabric(self) -> "Fabric":
        """A Fabric that is not launched yet."""
        from lightning_fabric import Fabric

        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # its messages repeat the arguments
        return Fabric(
            accelerator=self.accelerator,
            devices=self.devices,
            num_nodes=self.nodes,
            precision=self.precision,  # type: ignore[arg-type]
        )


def all_reduce_sum(fabric: "Fabric", values: "Tensor") -> "Tensor":
    """The sum over all processes, on the fabric's device; ``values`` is not changed."""
    own = values.detach().clone().to(fabric.device)
    total: Any = fabric.all_reduce(own, reduce_op="sum") if fabric.world_size > 1 else own
    return total


def any_process(fabric: "Fabric", own: bool) -> bool:
    """Whether it is true in any process."""
    import torch

    return own if fabric.world_size == 1 else bool(all_reduce_sum(fabric, torch.tensor(float(own))) > 0)


def is_main_process() -> bool:
    """Whether this is the main process of a training, by environment variables."""
    return not any(int(os.environ.get(name) or 0) for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def _check_compiler(device: str) -> None:
    """Raises SettingsError where torch.compile fails: a compiler or Python's headers may be missing, and only trying
    tells."""
    import torch

    def small(x: torch.Tensor) -> torch.Tensor:
        return (x * 2 + 1).sin()

    try:
        torch.compile(small)(torch.ones(8, device=device))
    except Exception as error:  # of torch's many layers
        reason = " ".join(str(error).split())[:200]
        raise SettingsError(
            f"torch can't compile here ({reason}); --compile needs a C++ compiler with Python's headers (and Triton on "
            "a GPU); leave it out"
        ) from error
