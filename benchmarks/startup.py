"""Seconds from a cold shell: the command line's help and refusals, and one prediction against the bare imports.

Each round runs every command once, in order; the table shows medians (min–max) over the rounds and, for what stands
against a yardstick of the same run, the ratio of the medians.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from earsight.audio.settings import AudioSettings
from earsight.mel.settings import MelSettings
from earsight.network.checkpoint import save_classifier
from earsight.network.classifier import Classifier
from earsight.network.settings import NetworkSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, wav = Path(folder) / "run", Path(folder) / "one.wav"
        network = NetworkSettings(model=arguments.model, pretrained=False)
        save_classifier(Classifier(("a", "b"), AudioSettings(), MelSettings(), network), run, {})
        soundfile.write(wav, 0.1 * np.random.default_rng(0).standard_normal(48000), 16000)
        command = [sys.executable, "-m", "earsight"]
        commands = {
            "import torch, timm": [sys.executable, "-c", "import torch, timm"],
            "earsight predict RUN one.wav": [*command, "predict", str(run), str(wav)],
            "python -c pass": [sys.executable, "-c", "pass"],
            "earsight --help": [*command, "--help"],
            "import earsight": [sys.executable, "-c", "import earsight"],
            "earsight train (a typo in --model)": [*command, "train", folder, "--model", "efficientnet_bo"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(arguments.rounds):
            for name, one in commands.items():
                began = time.perf_counter()
                subprocess.run(one, capture_output=True, check="typo" not in name)
                seconds[name].append(time.perf_counter() - began)
    for name, values in seconds.items():
        print(f"{name:36} {statistics.median(values):6.2f} s  ({min(values):.2f}–{max(values):.2f})")
    bare, ours = (statistics.median(seconds[name]) for name in list(commands)[:2])
    print(f"one prediction / bare imports: {ours / bare:.2f}")


if __name__ == "__main__":
    main()
