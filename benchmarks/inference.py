"""An exported file against the run that it was made of, on the CPU: 3 s clips, batch 1 and 16, interleaved.

Medians (min–max) of the rounds in ms a clip, and of their ratios. RUN: a run folder; its clips calibrate int8 and say
what that costs. The mel image's share is that of a file that makes only the image.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from earsight.network.classifier import Classifier
from earsight.network.portable import Portable
from earsight.tasks.bench import interleaved, ratios, spread
from earsight.tasks.export import export
from earsight.tasks.machine.cores import allowed_cores
from earsight.tasks.machine.memory import keep_freed_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", help="a run folder; without one there is nothing to measure")
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    if arguments.run is None:
        print("left out: it needs a run folder")
        return
    threads = allowed_cores()
    torch.set_num_threads(threads)
    keep_freed_memory()
    classifier = Classifier.load(arguments.run)
    with tempfile.TemporaryDirectory() as folder:
        files = {"exported": export(arguments.run, Path(folder, "whole.onnx"))}
        files["exported, int8"] = export(arguments.run, Path(folder, "int8.onnx"), quantize="int8")
        sessions = {name: session(done.path, threads) for name, done in files.items()}
        sessions["mel image alone"] = session(image_alone(classifier, Path(folder, "image.onnx")), threads)
    print(f"{classifier.network_settings.model}, {classifier.audio.crop_s:g} s, {threads} threads")
    for batch_size in (1, 16):
        samples = 0.1 * np.random.default_rng(0).standard_normal((batch_size, classifier.audio.crop_samples))
        given = samples.astype(np.float32)
        ways: dict[str, Callable[[], object]] = {"torch": lambda given=given: classifier.probabilities(given[:, None])}
        for name, one in sessions.items():
            ways[name] = lambda one=one, given=given: one.run(None, {"waveform": given})
        seconds = interleaved(ways, arguments.rounds, "cpu")
        print(f"batch {batch_size}")
        for name, values in seconds.items():
            low, median, high = (1000 / batch_size * v for v in (min(values), statistics.median(values), max(values)))
            print(f"  {name:18}{median:8.2f} ms a clip  ({low:.2f}–{high:.2f})")
        print(f"  torch / exported: {spread(ratios(seconds['torch'], seconds['exported']), 2)}")
        print(f"  exported / int8: {spread(ratios(seconds['exported'], seconds['exported, int8']), 2)}")
        print(f"  mel image / exported: {spread(ratios(seconds['mel image alone'], seconds['exported']))}")
    whole, int8 = files["exported"], files["exported, int8"]
    print(f"size {whole.bytes / 1e6:.1f} MB, int8 {int8.bytes / 1e6:.1f} MB")
    if int8.accuracy:
        print(f"accuracy on {int8.validated} validation clips: {int8.accuracy[0]:.3f}, int8 {int8.accuracy[1]:.3f}")


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def image_alone(classifier: Classifier, path: Path) -> Path:
    portable = Portable.of(classifier)

    class Image(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.portable = portable

        def forward(self, waveform: torch.Tensor) -> torch.Tensor:
            return self.portable.image(waveform[:, None])

    dimensions = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("samples", min=1)}
    program = torch.onnx.export(
        Image().eval(),
        (portable.example(),),
        dynamo=True,
        input_names=["waveform"],
        dynamic_shapes=(dimensions,),
        verbose=False,
    )
    if program is None:
        raise SystemExit("the image can't be exported")
    program.save(path)
    return path


if __name__ == "__main__":
    main()
