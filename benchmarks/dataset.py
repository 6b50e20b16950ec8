"""What it costs to find, read and check a data set, and how that grows.

listing: a folder of N empty files → clips by name (Speech Commands' names). table: a CSV of N rows that name these
files → clips. splitting: the clips by stratified groups, and the leak check. Each size runs in a process of its own,
whose peak memory is told less that of the imports. checking: the duplicate check over real recordings, on one thread
and on all cores, against the bare decoding of the same files in the same run.
"""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FILES_A_FOLDER = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="up to 1,000,000 files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--recordings", type=Path, help="a folder of real recordings for the duplicate check")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(*arguments.child)))
        return
    sizes = [10_000, 100_000, *([1_000_000] if arguments.full else [])]
    found: dict[str, dict[int, float]] = {}
    with tempfile.TemporaryDirectory() as work:
        print(f"{'':10}{'clips':>10}{'seconds (median, min–max)':>34}{'peak memory':>14}")
        for size in sizes:
            root = lay(Path(work) / str(size), size)
            for what in ("listing", "table", "splitting"):
                rows = [run_child(what, root, size) for _ in range(arguments.rounds)]
                seconds = [row["seconds"] for row in rows]
                found.setdefault(what, {})[size] = statistics.median(seconds)
                told = f"{statistics.median(seconds):.2f} ({min(seconds):.2f}–{max(seconds):.2f})"
                print(f"{what:10}{size:>10,}{told:>34}{max(row['peak_mb'] for row in rows):>11.0f} MB", flush=True)
    for what, medians in found.items():
        print(f"{what}: seconds grow as clips to the power of {exponent(medians):.2f}")
    if arguments.recordings:
        check(arguments.recordings, arguments.rounds)


def lay(root: Path, size: int) -> Path:
    """N empty files, and a table of them."""
    root.mkdir()
    # Row by row: a child's peak memory starts from what this process holds when it starts the child.
    with (root / "table.csv").open("w") as table:
        table.write("path,label,group,fold\n")
        for number in range(size):
            word, speaker = number // FILES_A_FOLDER, number % 5003
            if number % FILES_A_FOLDER == 0:
                (root / f"word{word:04}").mkdir()
            name = f"word{word:04}/{speaker:08x}_nohash_{number % 1000}.wav"
            os.close(os.open(f"{root}/{name}", os.O_CREAT | os.O_WRONLY))
            table.write(f"{name},word{word % 35:04},{speaker:08x},{number % 10}\n")
    for name in ("validation_list.txt", "testing_list.txt"):
        (root / name).write_text("word0000/00000000_nohash_0.wav\n")
    return root


def run_child(what: str, root: Path, size: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", what, str(root), str(size)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def child(what: str, root: str, size: str) -> dict[str, float]:
    from earsight.dataset.leaks import find_leaks
    from earsight.dataset.sources import known_sources, read_dataset
    from earsight.dataset.split import split

    known_sources()
    place = root if what == "listing" else f"{root}/table.csv"
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    dataset = read_dataset(place)
    if what == "splitting":
        began = time.perf_counter()
        find_leaks(dataset.clips, split(dataset.clips, "group:5:0"))
    seconds = time.perf_counter() - began
    if len(dataset.clips) != int(size):
        raise SystemExit(f"{len(dataset.clips)} clips, not {size}")
    return {"seconds": seconds, "peak_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024}


def exponent(medians: dict[int, float]) -> float:
    """Of the line through the first and the last point, both axes logarithmic."""
    (size_a, time_a), *_, (size_b, time_b) = medians.items()
    return math.log(time_b / time_a) / math.log(size_b / size_a)


def check(folder: Path, rounds: int) -> None:
    import soundfile

    from earsight.tasks.inspect import inspect
    from earsight.tasks.machine.cores import allowed_cores

    files = [str(path) for path in sorted(folder.rglob("*.flac"))] or [str(p) for p in sorted(folder.rglob("*.wav"))]

    def bare() -> None:
        for path in files:
            soundfile.read(path, dtype="float32")

    ways = {
        "bare soundfile.read": bare,
        "inspect, 1 thread": lambda: inspect(folder, threads=1),
        f"inspect, {allowed_cores()} threads": lambda: inspect(folder),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    floor = statistics.median(seconds["bare soundfile.read"])
    for name, values in seconds.items():
        middle = statistics.median(values)
        print(f"{name:22}{middle:7.2f} s ({min(values):.2f}–{max(values):.2f})  {middle / floor:.2f} of bare reading")


if __name__ == "__main__":
    main()
