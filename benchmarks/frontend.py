"""Mel images against librosa and against a bare torch.stft and product; decoding against bare soundfile and soxr.

Interleaved; medians (min–max) of the rounds and of their ratios. RECORDINGS: 48 kHz originals, a folder or a zip.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import librosa
import numpy as np
import soundfile
import soxr
import torch

from earsight.audio.settings import AudioSettings
from earsight.dataset.clip import Clip
from earsight.dataset.sources import read_dataset
from earsight.dataset.store import build_store
from earsight.mel.settings import MelSettings
from earsight.mel.spectrogram import MelSpectrogram
from earsight.tasks.bench import interleaved, ratios, spread
from earsight.tasks.machine.cores import allowed_cores
from earsight.tasks.machine.memory import keep_freed_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--recordings", type=Path)
    parser.add_argument("--times", type=int, default=10, help="each recording so often, a sample changed")
    arguments = parser.parse_args()
    if arguments.recordings:
        decoding(arguments.recordings, arguments.rounds, arguments.times)
    mel_images(arguments.batch_size, arguments.rounds)


def mel_images(batch_size: int, rounds: int) -> None:
    torch.set_num_threads(allowed_cores())
    keep_freed_memory()  # as training does, after decoding; the others gain from it too
    settings, rate_hz = MelSettings(), 16000
    batch = torch.randn(batch_size, 1, 3 * rate_hz, generator=torch.Generator().manual_seed(0))
    front_end = MelSpectrogram(settings, rate_hz)
    window, filters = front_end.window, front_end.filters

    def ours() -> None:
        with torch.inference_mode():
            front_end(batch)

    def bare() -> None:
        with torch.inference_mode():
            spectrum = torch.stft(
                batch[:, 0],
                settings.n_fft,
                settings.hop_length,
                settings.win_length,
                window,
                pad_mode="constant",
                return_complex=True,
            )
            filters @ spectrum.abs().square()

    def by_librosa() -> None:
        for clip in batch[:, 0].numpy():
            librosa.feature.melspectrogram(
                y=clip,
                sr=rate_hz,
                n_fft=settings.n_fft,
                hop_length=settings.hop_length,
                n_mels=settings.n_mels,
                fmax=8000,
            )

    ways = {"ours": ours, "bare stft + product": bare, "librosa, clip by clip": by_librosa}
    seconds = interleaved(ways, rounds, "cpu")
    print(f"mel, {batch_size} clips of 3 s, {settings.n_mels} bins, hop {settings.hop_length}")
    show(seconds, 1000 / batch_size, "ms a clip")
    print(f"  ours / librosa: {spread(ratios(seconds['ours'], seconds['librosa, clip by clip']))} of its time")
    print(f"  bare / ours: {spread(ratios(seconds['bare stft + product'], seconds['ours']), 2)} of the bare speed")


def decoding(place: Path, rounds: int, times: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = varied([clip.path for clip in read_dataset(place).clips], Path(folder), times)
        decode([Clip(path, "any") for path in paths], rounds)


def varied(paths: list[Path], folder: Path, times: int) -> list[Path]:
    """Each recording so many times, in 16 bits, one sample changed by one step: no two are the same to the store."""
    made = []
    for path in paths:
        samples, rate_hz = soundfile.read(path, dtype="int16", always_2d=True)
        for number in range(times):
            changed = samples.copy()
            changed[number, 0] ^= 1
            made.append(folder / f"{path.stem}-{number}.wav")
            soundfile.write(made[-1], changed, rate_hz, subtype="PCM_16")
    return made


def decode(clips: list[Clip], rounds: int) -> None:
    settings, cores = AudioSettings(), allowed_cores()

    def floor() -> None:
        def one(path: Path) -> None:
            samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
            mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
            soxr.resample(mono, rate_hz, settings.rate_hz)

        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(one, [clip.path for clip in clips]))

    with tempfile.TemporaryDirectory() as folder:
        fresh = (Path(folder, str(number)) for number in range(10_000))
        full = Path(folder, "full")
        build_store(clips, settings, folder=full, threads=cores)
        ways: dict[str, Callable[[], object]] = {
            "read + soxr, all cores": floor,
            "first pass, into the store": lambda: build_store(clips, settings, folder=next(fresh), threads=cores),
            "second start": lambda: build_store(clips, settings, folder=full, threads=cores),
        }
        seconds = interleaved(ways, rounds, "cpu")
    print(f"decoding {len(clips)} recordings to {settings.rate_hz} Hz")
    show(seconds, 1, "s")
    each = ratios(seconds["first pass, into the store"], seconds["read + soxr, all cores"])
    print(f"  first pass / floor: {spread(each, 2)}")


def show(seconds: dict[str, list[float]], scale: float, unit: str) -> None:
    for name, values in seconds.items():
        low, middle, high = (scale * value for value in (min(values), statistics.median(values), max(values)))
        print(f"  {name:28}{middle:9.3f} {unit}  ({low:.3f}–{high:.3f})")


if __name__ == "__main__":
    np.random.seed(0)
    main()
