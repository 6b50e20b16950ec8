"""What FFmpeg reads: made by PyAV on the spot, as phones, browsers and cameras write it."""

import io
from pathlib import Path

import av
import numpy as np
import pytest

from earsight.audio import containers
from earsight.audio.decode import Samples, Sound, declared_length_s, decode, open_sound
from earsight.audio.settings import AudioSettings
from earsight.audio.sound_stats import measure_sound
from earsight.audio.stream import read_blocks
from earsight.dataset.sources import read_dataset
from earsight.dataset.store import build_store
from earsight.errors import DataError, DecodeError, TruncatedError
from tests.conftest import tone

RATE_HZ = 48000
KINDS = {
    "a.m4a": ("aac", "fltp"),
    "alac.m4a": ("alac", "s16p"),
    "a.mov": ("pcm_s16le", "s16"),
    "a.webm": ("libopus", "flt"),
    "a.mka": ("flac", "s16"),
    "a.mkv": ("flac", "s16"),
    "a.aac": ("aac", "fltp"),
    "a.ac3": ("ac3", "fltp"),
    "a.mp2": ("mp2", "s16"),
}


def written(path: Path, channels: Samples, *, film: int = 0) -> Path:
    """channels: float32 [channels, samples] at RATE_HZ. film: so many pictures beside it, ten a second."""
    codec, sample_format = KINDS[path.name]
    layout = "mono" if len(channels) == 1 else "stereo"
    with av.open(path, "w") as box:
        if film:
            pictures = box.add_stream("mpeg4", rate=10)
            pictures.width = pictures.height = 64
        stream = box.add_stream(codec, rate=RATE_HZ, layout=layout)
        for _ in range(film):
            box.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        if film:
            box.mux(pictures.encode(None))
        frame = av.AudioFrame.from_ndarray(channels, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = RATE_HZ, 0
        for converted in av.AudioResampler(format=sample_format, layout=layout, rate=RATE_HZ).resample(frame):
            box.mux(stream.encode(converted))
        box.mux(stream.encode(None))
    return path


def burst(silent_s: float, sounding_s: float) -> Samples:
    return np.concatenate([np.zeros(round(silent_s * RATE_HZ), np.float32), tone(440, sounding_s, RATE_HZ)])


@pytest.mark.parametrize("name", KINDS)
def test_sound_comes_back_where_it_was_in_blocks_and_in_spans(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, burst(1, 1)[np.newaxis])
    whole = decode(path)
    assert (whole.rate_hz, len(whole.samples)) == (RATE_HZ, 1)
    assert whole.duration_s == pytest.approx(2, abs=0.08)  # an encoder adds what fills its frames
    spectrum = np.abs(np.fft.rfft(whole.samples[0, -RATE_HZ // 2 :]))
    assert np.argmax(spectrum) * 2 == pytest.approx(440, abs=2)
    begun = np.argmax(np.abs(whole.samples[0]) > 0.05) / RATE_HZ
    assert begun == pytest.approx(1, abs=0.06)

    blocks = np.concatenate([block.samples for block in read_blocks(path)], axis=1)
    assert np.array_equal(blocks, whole.samples)
    span = decode(path, 0.9, 1.4).samples
    assert np.abs(span - whole.samples[:, round(0.9 * RATE_HZ) : round(1.4 * RATE_HZ)]).max() < 1e-6
    data = path.read_bytes()
    for source in (data, io.BytesIO(data), str(path)):
        assert np.array_equal(decode(source).samples, whole.samples)


def test_two_channels_stay_two_and_a_film_is_its_sound(tmp_path: Path) -> None:
    stereo = np.stack([tone(440, 0.5, RATE_HZ), np.zeros(RATE_HZ // 2, np.float32)])
    sound = decode(written(tmp_path / "a.mov", stereo, film=1))
    assert np.abs(sound.samples - stereo).max() <= 2**-15
    facts = measure_sound(tmp_path / "a.mov")
    assert (facts.channels, facts.rate_hz, facts.duration_s) == (2, RATE_HZ, 0.5)
    with open_sound(tmp_path / "a.mov") as file:
        assert declared_length_s(file) == pytest.approx(0.5, abs=0.002)


@pytest.mark.parametrize("name", ["a.m4a", "a.mkv"])
def test_a_film_may_go_on_without_sound(tmp_path: Path, name: str) -> None:
    sound = decode(written(tmp_path / name, tone(440, 1, RATE_HZ)[np.newaxis], film=30))
    assert sound.duration_s == pytest.approx(1, abs=0.05)  # and is not taken for cut off


def test_what_is_no_sound_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = written(tmp_path / "a.m4a", tone(440, 2, RATE_HZ)[np.newaxis])
    with pytest.raises(DecodeError, match=r"the given bytes \(an mp4 without its index: it was cut off"):
        decode(path.read_bytes()[: path.stat().st_size // 2])
    with av.open(tmp_path / "silent.mp4", "w") as box:
        pictures = box.add_stream("mpeg4", rate=10)
        pictures.width = pictures.height = 64
        box.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        box.mux(pictures.encode(None))
    with pytest.raises(DecodeError, match=r"silent\.mp4 \(no sound in it\)"):
        decode(tmp_path / "silent.mp4")
    with pytest.raises(DecodeError, match="Format not recognised; convert it to WAV or FLAC"):
        decode(b"this is no sound at all")


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    """FFmpeg would; a server must not read what an upload names."""
    secret = written(tmp_path / "a.aac", tone(440, 1, RATE_HZ)[np.newaxis])
    lists = {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n",
        "list.ffconcat": f"ffconcat version 1.0\nfile {secret}\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        for source in (tmp_path / name, text.encode()):
            with pytest.raises(DecodeError, match="Format not recognised"):
                decode(source)


def test_what_is_cut_off_or_damaged_is_heard_so_far(tmp_path: Path) -> None:
    data = bytearray(
        written(
            tmp_path / "a.mka", np.random.default_rng(0).uniform(-0.1, 0.1, (1, 3 * RATE_HZ)).astype("f4")
        ).read_bytes()
    )
    whole = decode(bytes(data)).samples
    cut = bytes(data[: len(data) // 2])
    with pytest.raises(TruncatedError, match=r"truncated: 1\.\d\d s of 3\.00 s are there"):
        decode(cut)
    heard: list[Sound] = []
    with pytest.raises(TruncatedError):
        heard.extend(read_blocks(cut))
    assert 1.2 < sum(piece.duration_s for piece in heard) < 2
    data[len(data) // 2 : len(data) // 2 + 500] = bytes(500)
    with pytest.raises(DecodeError, match="not readable as sound"):
        decode(bytes(data))
    pieces: list[Sound] = []
    with pytest.raises(TruncatedError, match=r"damaged after 1\.\d\d s"):
        pieces.extend(read_blocks(bytes(data)))
    before = np.concatenate([piece.samples for piece in pieces], axis=1)
    assert np.array_equal(before, whole[:, : before.shape[1]])


def test_a_folder_of_them_is_a_data_set_and_is_kept_decoded(tmp_path: Path) -> None:
    for label, pitch in (("high", 880), ("low", 220)):
        (tmp_path / "data" / label).mkdir(parents=True)
        written(tmp_path / "data" / label / "a.m4a", tone(pitch, 1, RATE_HZ)[np.newaxis])
    clips = read_dataset(tmp_path / "data").clips
    assert [(clip.path.name, clip.label) for clip in clips] == [("a.m4a", "high"), ("a.m4a", "low")]
    settings = AudioSettings(rate_hz=16000)
    first, second = (build_store(clips, settings, folder=tmp_path / "store") for _ in range(2))
    assert (first.decoded, second.decoded) == (2, 0)
    crossings = [
        int(np.sum(np.diff(np.signbit(second.waveform(n)[0])))) / second.waveform(n).shape[1] * 8000 for n in (0, 1)
    ]
    assert crossings == pytest.approx([880, 220], rel=0.03)


def test_without_pyav_they_are_left_out_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where it isn't installed: it is only said not to be."""
    monkeypatch.setattr(containers, "can_read", lambda: False)
    (tmp_path / "c").mkdir()
    written(tmp_path / "c" / "a.m4a", tone(440, 1, RATE_HZ)[np.newaxis])
    reason = r"\.m4a is read by PyAV; pip install 'earsight\[av\]', or convert it to wav or flac"
    with pytest.raises(DataError, match=rf"no recordings in .*left out: .*a\.m4a, {reason}"):
        read_dataset(tmp_path)
    with pytest.raises(
        DecodeError, match=r"not recognised; pip install 'earsight\[av\]' for m4a, mp4, webm and others, or convert"
    ):
        decode(tmp_path / "c" / "a.m4a")
