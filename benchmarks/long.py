"""Long recordings by windows: memory, speed against the bare session, and when events begin and end.

The recordings are made by joining clips of the run's test part that the model answers rightly, each followed by one of
another label, so that the truth is known. memory: peak resident of ``earsight predict MODEL x.wav --window W --hop H``
over a minute and over an hour. speed: that path in this process over five minutes, against onnxruntime on the same
windows, ready in memory, interleaved. events: how far each boundary between two clips lies from where the event of the
first ends and that of the second begins.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile

from earsight.audio.decode import decode
from earsight.audio.stream import windows
from earsight.network.exported import Exported
from earsight.scores.events import Rule
from earsight.tasks.answers.predict_file import Job
from earsight.tasks.bench import interleaved, ratios, spread
from earsight.tasks.clips_table import read_clips
from earsight.tasks.export import export
from earsight.tasks.machine.cores import allowed_cores
from earsight.tasks.predict import Sliding, answer
from earsight.tasks.recordings import Recording

_BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", help="a run folder whose recordings are there")
    parser.add_argument("--window", type=float, default=3.0)
    parser.add_argument("--hop", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.run is None:
        print("left out: it needs a run folder")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model_path = export(arguments.run, folder / "model.onnx").path
        model = Exported.load(model_path, allowed_cores())
        clips = right_clips(arguments.run, model)
        print(f"{len(clips)} test clips that are answered rightly")
        print(f"windows of {arguments.window:g} s every {arguments.hop:g} s")
        memory(folder, model_path, clips, arguments.window, arguments.hop)
        speed(folder, model, clips, arguments.window, arguments.hop, arguments.rounds)
        events(folder, model_path, clips, arguments.window, arguments.hop)


def right_clips(run: Path, model: Exported) -> list[tuple[str, np.ndarray, int]]:
    """(label, float32 [samples], rate), in an order that no chance of ours chose."""
    clips = [recorded.clip for recorded in read_clips(run) if recorded.part == "test"]
    found = []
    for row, clip in zip(
        answer(model, [Recording(str(clip.path)) for clip in clips], unknown=False), clips, strict=True
    ):
        if row.label == clip.label:
            sound = decode(clip.path)
            found.append((clip.label, sound.samples.mean(axis=0), sound.rate_hz))
    order = np.random.default_rng(0).permutation(len(found))
    return [found[place] for place in order]


def joined(path: Path, clips: list[tuple[str, np.ndarray, int]], seconds: float) -> list[tuple[float, float, str]]:
    """Write clips end to end, no label twice in a row, until there are so many seconds; (start, end, label) of each."""
    truth: list[tuple[float, float, str]] = []
    rate_hz, at = clips[0][2], 0
    with soundfile.SoundFile(path, "w", rate_hz, 1) as file:
        for label, samples, _ in endless(clips):
            if truth and truth[-1][2] == label:
                continue
            file.write(samples)
            truth.append((at / rate_hz, (at + len(samples)) / rate_hz, label))
            at += len(samples)
            if at >= seconds * rate_hz:
                return truth
    raise SystemExit("no clip to join")


def endless(clips: list[tuple[str, np.ndarray, int]]) -> Iterator[tuple[str, np.ndarray, int]]:
    while clips:
        yield from clips


def memory(folder: Path, model: Path, clips: list[tuple[str, np.ndarray, int]], window_s: float, hop_s: float) -> None:
    peaks = {}
    for name, seconds in (("a minute", 60), ("an hour", 3600)):
        place = folder / "long.wav"
        joined(place, clips, seconds)
        command = [sys.executable, "-m", "earsight", "predict", model, place, "--window", str(window_s)]
        command += ["--hop", str(hop_s), "--out", folder / "rows.jsonl", "--overwrite"]
        began = time.perf_counter()
        child = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"predict ended with {child.returncode}")
        took_s = time.perf_counter() - began
        peaks[name] = usage.ru_maxrss / 1024
        speed = f"{seconds / took_s:.0f} times real time with the start"
        print(f"  {name:9} peak {peaks[name]:6.0f} MB   {took_s:7.1f} s, {speed}")
    print(f"  an hour / a minute: {peaks['an hour'] / peaks['a minute']:.3f} of the memory")


def speed(
    folder: Path, model: Exported, clips: list[tuple[str, np.ndarray, int]], window_s: float, hop_s: float, rounds: int
) -> None:
    place = folder / "five.wav"
    joined(place, clips, 300)
    ready = [window.samples for window in windows(place, model.audio, window_s, hop_s)]
    batches = [np.stack(ready[start : start + _BATCH])[:, 0] for start in range(0, len(ready), _BATCH)]
    session = model._session
    sliding = Sliding(window_s, hop_s).of(model.audio)

    def bare() -> None:
        for batch in batches:
            session.run(["logits", "familiarity"], {"waveform": batch})

    def ours() -> None:
        for _ in answer(model, [Recording(str(place))], sliding=sliding):
            pass

    seconds = interleaved({"session, windows ready": bare, "ours, from the file": ours}, rounds, "cpu")
    for name, values in seconds.items():
        low, middle, high = (len(ready) / value for value in (max(values), statistics.median(values), min(values)))
        print(f"  {name:23}{middle:8.1f} windows/s  ({low:.1f}–{high:.1f})")
    one, other = seconds.values()
    print(
        f"  ours / session: {spread(ratios(one, other))} of its speed; {300 / statistics.median(other):.0f} × real time"
    )


def events(folder: Path, model: Path, clips: list[tuple[str, np.ndarray, int]], window_s: float, hop_s: float) -> None:
    place = folder / "events.wav"
    truth = joined(place, clips, 600)
    job = Job.of(model, [place], window_s=window_s, hop_s=hop_s, rule=Rule(), unknown=False)
    found = [event for _, told in job.answers() for event in told]
    ends, begins = [], []
    for (start_s, end_s, label), (_, next_end_s, following) in pairwise(truth):
        ends += nearest(found, label, start_s, end_s, end_s, "end_s")
        begins += nearest(found, following, end_s, next_end_s, end_s, "start_s")
    for name, distances in (("ends", ends), ("beginnings", begins)):
        heard = [distance for distance in distances if distance is not None]
        within = sum(distance <= hop_s + 1e-6 for distance in heard)
        print(
            f"  {name}: {within} of {len(heard)} within a hop, median {statistics.median(heard):.2f} s, "
            f"largest {max(heard):.2f} s; no event: {len(distances) - len(heard)}"
        )


def nearest(found: list, label: str, start_s: float, end_s: float, truth_s: float, edge: str) -> list[float | None]:
    """How far the edge of the event of ``label`` that covers most of the clip lies from the truth; None without one."""
    over = [
        (min(event.end_s, end_s) - max(event.start_s, start_s), event)
        for event in found
        if event.label == label and event.start_s < end_s and event.end_s > start_s
    ]
    return [abs(getattr(max(over, key=lambda pair: pair[0])[1], edge) - truth_s) if over else None]


if __name__ == "__main__":
    main()
