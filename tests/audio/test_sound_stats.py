import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earsight.audio.decode import BLOCK_SAMPLES, decode
from earsight.audio.sound_stats import SoundStats, measure_sound, sample_digest
from earsight.errors import DecodeError, TruncatedError
from tests.conftest import tone


def write(path: Path, samples: np.ndarray, subtype: str | None = "PCM_16", rate_hz: int = 16000) -> Path:
    soundfile.write(path, samples, rate_hz, subtype=subtype)
    return path


def test_length_rate_channels_peak_and_level(tmp_path: Path) -> None:
    stereo = np.stack([tone(440, 0.5, 8000, gain=0.5), tone(440, 0.5, 8000, gain=0.25)], axis=1)
    facts = measure_sound(write(tmp_path / "a.wav", stereo, rate_hz=8000))
    assert (facts.duration_s, facts.rate_hz, facts.channels) == (0.5, 8000, 2)
    assert facts.peak == pytest.approx(0.5, abs=1e-3)
    assert facts.rms_dbfs == pytest.approx(10 * math.log10((0.5**2 + 0.25**2) / 2 / 2), abs=0.01)
    assert not facts.clipped
    assert not facts.silent


def test_silence_has_no_level(tmp_path: Path) -> None:
    facts = measure_sound(write(tmp_path / "a.wav", np.zeros(1000)))
    assert facts.silent
    assert facts.rms_dbfs == -math.inf


def test_clipping_is_a_run_at_full_scale_and_not_one_sample(tmp_path: Path) -> None:
    once = tone(440, 0.1)
    once[100] = 1.0
    assert not measure_sound(write(tmp_path / "once.wav", once)).clipped
    assert measure_sound(write(tmp_path / "loud.wav", np.clip(tone(440, 0.1, gain=3.0), -1, 1))).clipped
    for first in range(BLOCK_SAMPLES - 4, BLOCK_SAMPLES + 2):  # also where two blocks meet
        run = 0.1 * np.ones(BLOCK_SAMPLES + 100)
        run[first : first + 3] = 1.0
        assert measure_sound(write(tmp_path / "run.wav", run)).clipped
        run[first + 1] = 0.1
        assert not measure_sound(write(tmp_path / "run.wav", run)).clipped


def test_an_offset_and_a_silent_channel_are_told(tmp_path: Path) -> None:
    def examine_of(samples: np.ndarray) -> SoundStats:
        return measure_sound(write(tmp_path / "a.wav", samples, "FLOAT"))

    sound = tone(440, 5.0, gain=0.1)  # longer than one block, its energy 0.1² / 2
    facts = examine_of(np.stack([sound, sound + 0.1, 0 * sound], axis=1))
    assert facts.offset == pytest.approx(2 / 3, abs=1e-3)
    assert (facts.silent_channels, facts.silent) == (1, False)
    assert facts.peak == pytest.approx(0.2, abs=1e-3)
    plain = examine_of(np.stack([sound, sound], axis=1))
    assert plain.offset == pytest.approx(0, abs=1e-6)
    assert plain.silent_channels == 0
    nothing = examine_of(np.zeros((160, 2)))
    assert (nothing.offset, nothing.silent_channels, nothing.silent) == (0.0, 2, True)
    assert examine_of(np.full(160, 0.3)).offset == pytest.approx(1)


def test_the_same_sound_in_any_container_has_one_digest(tmp_path: Path) -> None:
    samples = (tone(440, 5.0) * 32767).astype(np.int16)  # longer than one block
    twice = np.stack([samples, samples], axis=1)
    paths = [
        write(tmp_path / "a.wav", samples),
        write(tmp_path / "b.flac", samples),
        write(tmp_path / "c.wav", samples, "PCM_24"),
        write(tmp_path / "d.aiff", samples),
        write(tmp_path / "e.wav", twice),
        write(tmp_path / "wrong_rate.wav", samples, rate_hz=22050),
    ]
    digests = {measure_sound(path).digest for path in paths}
    assert len(digests) == 1
    assert digests == {sample_digest(decode(path).samples) for path in paths}


def test_other_sounds_have_other_digests(tmp_path: Path) -> None:
    samples = (tone(440, 5.0) * 32767).astype(np.int16)
    louder, shorter = samples.copy(), samples[:-1]
    louder[70_000] += 1
    sides = np.stack([samples, louder], axis=1)
    swapped = sides[:, ::-1]
    found = [samples, louder, shorter, sides, swapped]
    paths = [write(tmp_path / f"{n}.wav", one) for n, one in enumerate(found)]
    assert len({measure_sound(path).digest for path in paths}) == 5
    assert [measure_sound(path).digest for path in paths] == [sample_digest(decode(path).samples) for path in paths]


def test_a_copy_with_negative_zeros_has_the_same_digest(tmp_path: Path) -> None:
    samples = np.where(np.arange(70_000) % 7, 0.0, 0.25).astype(np.float32)
    one = write(tmp_path / "one.wav", samples, "FLOAT")
    two = write(tmp_path / "two.wav", np.where(samples == 0, np.float32(-0.0), samples), "FLOAT")
    assert measure_sound(one).digest == measure_sound(two).digest == sample_digest(decode(two).samples)


def test_half_a_recording_is_refused_as_decode_does(tmp_path: Path) -> None:
    for name, subtype in (("a.wav", "PCM_16"), ("a.mp3", None)):
        path = write(tmp_path / name, tone(440, 6.0), subtype)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(DecodeError, match=r"^truncated: .* are there: .*a\.(wav|mp3)"):
            measure_sound(path)
        assert measure_sound(path, 0.0, 2.0).duration_s == 2.0


def test_a_level_that_no_converter_has_is_silence(tmp_path: Path) -> None:
    facts = measure_sound(write(tmp_path / "a.wav", tone(440, 0.5) * np.float32(1e-40), "FLOAT"))
    assert 0 < facts.peak < 1e-39
    assert facts.silent


def test_a_span_is_examined_as_it_is_decoded(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", tone(440, 6.0) * np.linspace(0, 1, 96000))
    facts = measure_sound(path, 1.5, 5.75)
    assert facts.duration_s == 4.25
    assert facts.digest == sample_digest(decode(path, 1.5, 5.75).samples)
    assert decode(path, 1.5, 5.75).samples.shape == (1, 68000)
    assert np.array_equal(decode(path, 1.5).samples, decode(path).samples[:, 24000:])
    for read in (measure_sound, decode):
        with pytest.raises(DecodeError, match="no samples after 7 s"):
            read(path, 7.0, 8.0)
        with pytest.raises(TruncatedError, match=r"ends after 6\.00 s, a span of it was to end at 9 s"):
            read(path, 2.0, 9.0)
    for end_s in (6.0, 6.09):  # tables of hand-made labels are rounded
        assert measure_sound(path, 2.0, end_s).duration_s == decode(path, 2.0, end_s).duration_s == 4.0


def test_the_identical_pair_of_ravdess(ravdess: Path) -> None:
    folder = ravdess / "Actor_07"
    one, two = (measure_sound(folder / f"03-01-03-01-02-0{take}-07.flac") for take in (1, 2))
    assert one == two
    assert one.digest != measure_sound(folder / "03-01-03-01-01-01-07.flac").digest


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(DecodeError, match="not readable as sound"):
        measure_sound(tmp_path / "text.wav")
    broken = tone(440, 0.1)
    broken[5] = np.nan
    with pytest.raises(DecodeError, match="NaN or infinite"):
        measure_sound(write(tmp_path / "nan.wav", broken, "FLOAT"))
