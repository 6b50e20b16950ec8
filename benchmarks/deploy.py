"""The small installation beside the full one: size on disk, start, memory, for one exported file and one recording.

MODEL: a file of earsight export. RUN: its run. Both installations are made anew, in folders of their
own, by uv, with the versions of constraints.txt. start: ``earsight predict … one.wav`` from a cold shell, medians
(min–max); memory: the largest that such a process had.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", help="a file of earsight export; without it nothing is measured")
    parser.add_argument("run", type=Path, nargs="?", help="its run, for the full installation")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    if arguments.model is None:
        print("left out: it needs a file of earsight export")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wav = folder / "one.wav"
        soundfile.write(wav, 0.1 * np.random.default_rng(0).standard_normal(48000), 16000)
        small = installed(folder / "small", str(ROOT))
        ways = {"small, exported file": (small, arguments.model)}
        full = installed(folder / "full", f"{ROOT}[train]")
        ways["full, exported file"] = (full, arguments.model)
        if arguments.run is not None:
            ways["full, run folder"] = (full, arguments.run)
        for python in (small, full):
            print(f"{python.parents[1].name}: {packages_mb(python):,.0f} MB of packages")
        took: dict[str, list[float]] = {way: [] for way in ways}
        peak_mb = dict.fromkeys(ways, 0.0)
        for _ in range(arguments.rounds):
            for way, (python, model) in ways.items():
                seconds, memory_mb = one_run(python, model, wav)
                took[way].append(seconds)
                peak_mb[way] = max(peak_mb[way], memory_mb)
    for way, values in took.items():
        spread = f"({min(values):.2f}–{max(values):.2f})"
        print(f"  {way:22} {statistics.median(values):6.2f} s  {spread}   {peak_mb[way]:6.0f} MB")


def installed(place: Path, what: str) -> Path:
    """A new environment with earsight in it; its python."""
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, place], check=True)
    python = place / "bin" / "python"
    command = [uv, "pip", "install", "-q", "--compile-bytecode", "--python", python, "-c", ROOT / "constraints.txt"]
    subprocess.run([*command, what], check=True)
    return python


def packages_mb(python: Path) -> float:
    root = next((python.parents[1] / "lib").glob("python*/site-packages"))
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) / 1e6


def one_run(python: Path, model: Path, wav: Path) -> tuple[float, float]:
    """Seconds, and megabytes at the peak."""
    began = time.perf_counter()
    command = [str(part) for part in (python, "-m", "earsight", "predict", model, wav)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd="/")
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"predict ended with {child.returncode}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
