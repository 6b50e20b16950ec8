"""Windows cut block by block are those of the whole recording."""

import io
import math
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from earsight.audio.decode import Sound, decode
from earsight.audio.load import fixed_crops, load_waveform, to_pcm
from earsight.audio.resample import StreamResampler, to_channels, to_rate
from earsight.audio.segment import crop
from earsight.audio.settings import AudioSettings
from earsight.audio.stream import Window, WindowCutter, read_blocks, read_waveform, windows
from earsight.errors import DecodeError, TruncatedError
from tests.conftest import tone

AUDIO = AudioSettings(crop_s=1.0)


def noise(seconds: float, rate_hz: int, channels: int = 1) -> np.ndarray:
    """float32 [samples, channels], another level in each second."""
    rng = np.random.default_rng(int(seconds * rate_hz))
    sound = 0.1 * rng.standard_normal((round(seconds * rate_hz), channels))
    return (sound * (1 + np.arange(len(sound))[:, None] // rate_hz % 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("ending", "subtype", "rate_hz", "channels", "seconds"),
    [
        ("wav", "PCM_16", 16000, 1, 7.37),
        ("wav", "PCM_24", 48000, 2, 6.2),
        ("wav", "PCM_U8", 8000, 1, 20.0),
        ("wav", "FLOAT", 44100, 1, 5.0),
        ("flac", "PCM_16", 22050, 2, 9.9),
        ("wav", "ULAW", 8000, 1, 9.0),
        ("wav", "PCM_16", 192000, 16, 2.1),
    ],
)
def test_blocks_end_to_end_are_the_recording(
    tmp_path: Path, ending: str, subtype: str, rate_hz: int, channels: int, seconds: float
) -> None:
    path = tmp_path / f"x.{ending}"
    soundfile.write(path, noise(seconds, rate_hz, channels), rate_hz, subtype=subtype)
    blocks = list(read_blocks(path))
    assert len(blocks) > 1
    assert np.array_equal(np.concatenate([block.samples for block in blocks], axis=1), decode(path).samples)
    part = list(read_blocks(path, 0.5, 1.75))
    assert np.array_equal(np.concatenate([block.samples for block in part], axis=1), decode(path, 0.5, 1.75).samples)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(48000, 16000), (44100, 16000), (8000, 16000), (16000, 16000)])
def test_a_rate_changed_block_by_block_is_changed_as_a_whole(from_hz: int, to_hz: int) -> None:
    sound = np.ascontiguousarray(noise(3.3, from_hz, 2).T)
    change, rng, parts, at = StreamResampler(from_hz, to_hz, 2), np.random.default_rng(0), [], 0
    while at < sound.shape[1]:
        size = int(rng.integers(1, 30000))
        parts.append(change.push(sound[:, at : at + size]))
        at += size
    parts.append(change.push(sound[:, :0], last=True))
    whole = to_rate(Sound(sound, from_hz), to_hz).samples
    found = np.concatenate(parts, axis=1)
    assert found.shape == whole.shape
    assert np.abs(found - whole).max() < 1e-6


@given(
    length=st.integers(1, 400),
    window=st.integers(1, 60),
    hop=st.integers(1, 60),
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=20),
)
@settings(max_examples=300, deadline=None)
def test_every_sample_is_in_a_window_and_blocks_make_no_difference(
    length: int, window: int, hop: int, sizes: list[int]
) -> None:
    hop = min(hop, window)
    samples = np.arange(length, dtype=np.float32)[None]
    slide, found, at, turn = WindowCutter(window, hop), [], 0, 0
    while at < length:
        size = sizes[turn % len(sizes)]
        found += [(start, part.copy()) for start, part in slide.push(samples[:, at : at + size])]
        at, turn = at + size, turn + 1
    found += list(slide.close())
    starts = list(range(0, max(1, length - window + 1), hop))
    if length > window and starts[-1] + window < length:
        starts.append(length - window)
    assert [start for start, _ in found] == starts
    heard = np.zeros(length, dtype=bool)
    for start, part in found:
        assert np.array_equal(part[0], samples[0, start : start + window])
        heard[start : start + window] = True
    assert heard.all()


def test_windows_are_those_of_the_whole_recording(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, noise(7.77, 44100, 2), 44100)
    sound = decode(path)
    whole = to_rate(Sound(to_channels(sound.samples, 1), sound.rate_hz), 16000).samples
    found = list(windows(path, AUDIO, 1.0, 0.4))
    assert [round(window.start_s, 3) for window in found] == [*(round(0.4 * n, 3) for n in range(17)), 6.77]
    for window in found:
        first = round(window.start_s * 16000)
        expected = to_pcm(whole[:, first : first + 16000], AUDIO).floats()
        assert np.abs(window.samples - expected).max() < 1e-4  # a step of 16 bits: the peak differs in its last digit
        assert window.end_s == pytest.approx(window.start_s + 1.0)


def test_a_window_is_heard_as_a_recording_of_its_own(tmp_path: Path) -> None:
    """Where nothing in it is trimmed."""
    sound = noise(3.0, 16000)[:, 0]
    soundfile.write(tmp_path / "x.wav", sound, 16000)
    soundfile.write(tmp_path / "part.wav", sound[16000:32000], 16000)
    window = list(windows(tmp_path / "x.wav", AUDIO, 1.0, 1.0))[1]
    alone = fixed_crops(load_waveform(tmp_path / "part.wav", AUDIO), AUDIO)[0]
    assert np.array_equal(window.samples, alone)


def test_a_short_recording_is_one_window_with_silence_around(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", tone(440, 0.25), 16000)
    (window,) = windows(tmp_path / "x.wav", AUDIO, 1.0, 0.5)
    assert (window.start_s, window.end_s) == (0.0, 0.25)
    assert window.samples.shape == (1, 16000)
    assert not window.samples[:, :6000].any()
    assert np.abs(window.samples[:, 6000:10000]).max() == pytest.approx(1, abs=1e-4)


def test_a_window_shorter_than_the_crop_stands_in_its_middle(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", noise(2.0, 16000), 16000)
    found = list(windows(tmp_path / "x.wav", AUDIO, 0.5, 0.5))
    assert len(found) == 4
    for window in found:
        sounding = np.flatnonzero(window.samples[0])
        assert (sounding[0], sounding[-1]) == (4000, 11999)


def test_a_span_keeps_the_times_of_the_recording(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", noise(5.0, 16000), 16000)
    found = list(windows(tmp_path / "x.wav", AUDIO, 1.0, 1.0, 1.5, 4.0))
    assert [(window.start_s, window.end_s) for window in found] == [(1.5, 2.5), (2.5, 3.5), (3.0, 4.0)]
    whole = decode(tmp_path / "x.wav").samples
    assert np.array_equal(found[2].samples, crop(to_pcm(whole[:, 48000:64000], AUDIO).floats(), 0, 16000))


def until_it_ends(path: Path) -> tuple[list[Window], DecodeError | None]:
    """Windows, and the error that came after them."""
    heard = []
    try:
        for window in windows(path, AUDIO, 1.0, 1.0):
            heard.append(window)
    except DecodeError as error:
        return heard, error
    return heard, None


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3"])
def test_what_is_there_of_a_truncated_recording_is_heard_and_then_said_to_be_truncated(
    tmp_path: Path, ending: str
) -> None:
    whole = tmp_path / f"whole.{ending}"
    soundfile.write(whole, noise(20.0, 16000), 16000)
    path = tmp_path / f"x.{ending}"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    heard, error = until_it_ends(path)
    assert isinstance(error, TruncatedError)
    assert "truncated" in str(error) or "damaged after" in str(error)
    assert 5 <= heard[-1].end_s <= 15
    first = next(iter(windows(whole, AUDIO, 1.0, 1.0)))
    assert np.array_equal(heard[0].samples, first.samples)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("source", ["path", "file"])
def test_of_a_flac_that_was_cut_off_all_whole_frames_are_heard(tmp_path: Path, share: float, source: str) -> None:
    """Shorter than a block: libsndfile fails on the block as a whole."""
    whole = noise(3.5, 16000)
    soundfile.write(tmp_path / "whole.flac", whole, 16000)
    data = (tmp_path / "whole.flac").read_bytes()
    path = tmp_path / "x.flac"
    path.write_bytes(data[: round(share * len(data))])
    heard = []
    with pytest.raises(TruncatedError, match=r"damaged after \d\.\d\d s: .*download it again"):
        heard.extend(
            block.samples for block in read_blocks(path if source == "path" else io.BytesIO(path.read_bytes()))
        )
    samples = np.concatenate(heard, axis=1)[0]
    assert share * len(whole) - 8192 < len(samples) <= share * len(whole) + 1024
    assert np.array_equal(samples, soundfile.read(tmp_path / "whole.flac", dtype="float32")[0][: len(samples)])


def test_a_number_that_is_none_ends_the_recording_where_it_stands(tmp_path: Path) -> None:
    sound = noise(10.0, 16000)[:, 0]
    sound[-10] = math.nan
    soundfile.write(tmp_path / "x.wav", sound, 16000, subtype="FLOAT")
    heard, error = until_it_ends(tmp_path / "x.wav")
    assert "NaN or infinite" in str(error)
    assert 1 <= len(heard) < 10


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    peaks = []
    for minutes in (1, 6):
        path = tmp_path / f"{minutes}.wav"
        soundfile.write(path, np.tile(noise(60.0, 48000), (minutes, 1)), 48000)
        tracemalloc.start()
        assert sum(1 for _ in windows(path, AUDIO, 1.0, 0.5)) == 120 * minutes - 1
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]


def test_a_high_rate_takes_the_memory_of_what_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    sound = np.random.default_rng(0).standard_normal((40 * 192_000, 2)).astype(np.float32) / 10
    soundfile.write(path, sound, 192_000, subtype="PCM_16")
    settings = AudioSettings()
    read_waveform(path, settings, end_s=1)  # what is imported
    tracemalloc.start()
    heard, cut_off = read_waveform(path, settings)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert cut_off is None
    assert peak < 40 * 192_000 * 4  # one channel of it
    assert np.array_equal(heard, load_waveform(path, settings))


@pytest.mark.parametrize(("rate_hz", "most"), [(16000, 8000), (48000, 24000), (96000, 24000)])
def test_a_recording_may_be_as_long_as_said_and_of_high_rates_as_large(tmp_path: Path, rate_hz: int, most: int) -> None:
    settings = AudioSettings(crop_s=0.25, trim_db=None)
    for samples in (most, most + 1):
        soundfile.write(tmp_path / f"{samples}.wav", noise(1.0, rate_hz)[:samples], rate_hz)
    heard, _ = read_waveform(tmp_path / f"{most}.wav", settings, longest_s=0.5)
    assert heard.shape[1] == most * 16000 // rate_hz
    with pytest.raises(DecodeError, match=r"longer than 0\.00\d+ minutes, of which only 0\.25 s would be heard"):
        read_waveform(tmp_path / f"{most + 1}.wav", settings, longest_s=0.5)


def test_damage_is_told_at_its_place_in_the_recording_not_in_the_span(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.flac", noise(3.5, 16000), 16000)
    data = (tmp_path / "x.flac").read_bytes()
    heard = []
    with pytest.raises(TruncatedError, match="damaged after") as error:
        heard.extend(block.samples.shape[1] for block in read_blocks(io.BytesIO(data[: len(data) * 7 // 10]), 1.0))
    (after_s,) = re.findall(r"damaged after (\d\.\d\d) s", str(error.value))
    assert float(after_s) == pytest.approx(1 + sum(heard) / 16000, abs=0.006)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_no_number_is_refused(value: float) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.array([0.1, value, 0.1]), 16000, subtype="FLOAT", format="WAV")
    with pytest.raises(DecodeError, match="NaN or infinite samples"):
        list(read_blocks(file.getvalue()))


def test_what_is_read_block_by_block_is_prepared_as_a_whole(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.pad(noise(2.0, 16000), [(20000, 30000), (0, 0)]), 16000)
    settings = AudioSettings(crop_s=0.25, trim_db=30.0)
    heard, cut_off = read_waveform(tmp_path / "x.wav", settings)
    assert (heard.shape[1] < 35000, cut_off) == (True, None)
    assert np.array_equal(heard, load_waveform(tmp_path / "x.wav", settings))
