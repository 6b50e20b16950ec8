"""In a process of its own: the allocator is told once for all."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from earsight.tasks.machine.memory import keep_freed_memory

TELL
torch.set_num_threads(1)
layer = torch.nn.Conv2d(16, 32, 3, padding=1)
images = torch.ones(16, 16, 128, 300)
for step in range(5):
    if step == 3:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    layer(images).relu().square().mean().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(tell: str) -> int:
    command = [sys.executable, "-c", PROGRAM.replace("TELL", tell)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_large_blocks_are_used_again_and_not_fetched_anew() -> None:
    told, untold = page_faults("assert keep_freed_memory() is True"), page_faults("")
    assert untold > 2 * 3 * 78_643_200 / 2**21  # three blocks of 79 MB a step, even if each fault brought 2 MB
    assert told < untold / 10
