"""listen: a file played through the way of the microphone; a microphone that is none, since machines for tests have
none."""

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import soundfile

from earsight.errors import DataError, DecodeError
from earsight.tasks import listen as module
from earsight.tasks.listen import microphone, open_ear, play_file
from earsight.tasks.predict import predict
from tests.conftest import called


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "earsight", "listen", *map(str, arguments)]


def test_a_file_that_is_played_is_answered_as_predict_answers_its_windows(home: Path, song: Path) -> None:
    done = subprocess.run(
        command(home / "model.onnx", "--from", song, "--fast", "--hop", "0.2"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    expected = [row.to_dict() for row in predict(home / "model.onnx", [song], window_s=0.4, hop_s=0.2)]
    assert len(rows) == len(expected) == 35
    for ours, theirs in zip(rows, expected, strict=True):
        first, second = ours.pop("probabilities"), theirs.pop("probabilities")
        assert ours == theirs
        assert list(first.values()) == pytest.approx(list(second.values()), abs=1e-4)


def test_it_ends_after_so_many_seconds_of_sound(home: Path, song: Path) -> None:
    given = command(home / "model.onnx", "--from", song, "--fast", "--seconds", "1.5")
    rows = [json.loads(line) for line in subprocess.run(given, capture_output=True, text=True).stdout.splitlines()]
    assert [row["end_s"] for row in rows] == [0.4, 0.8, 1.2]


def test_a_terminal_shows_a_bar_for_each_label(home: Path, song: Path) -> None:
    """On a real pseudo-terminal."""
    leader, follower = pty.openpty()
    given = command(home / "model.onnx", "--from", song, "--fast")
    with subprocess.Popen(given, stdout=follower, stderr=follower, env={**os.environ, "TERM": "xterm"}) as running:
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # Linux says so of a terminal that nobody writes to any more
                break
            if not part:
                break
            shown += part
        assert running.wait() == 0
    last = shown.decode()[-1500:]
    assert "━" in last
    assert "high" in last
    assert "low" in last
    assert "7.1 s" in last


def test_pieces_come_when_a_microphone_would_have_them(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(16000), 16000)
    told = iter([0.0, *(0.1 * n + 100 for n in range(20))])  # a clock by which all is late: nothing waits
    pieces = list(play_file(tmp_path / "x.wav", clock=lambda: next(told)))
    assert [piece.samples.shape for piece in pieces] == [(1, 1600)] * 10


class FakePortAudio(ModuleType):
    """What ``listen`` needs of sounddevice. There is no microphone on a machine for tests: this one hums."""

    PortAudioError = type("PortAudioError", (Exception,), {})

    def __init__(self, fault: Exception | None = None, hums: bool = True) -> None:
        super().__init__("sounddevice")
        self.fault, self.hums, self.closed = fault, hums, threading.Event()

    def InputStream(self, callback: Callable[..., None], blocksize: int, **options: object) -> object:
        if self.fault is not None:
            raise self.fault
        assert (options["channels"], options["dtype"], options["samplerate"]) == (1, "float32", 16000)

        def hum() -> None:
            for number in range(200):
                if self.hums:
                    callback(np.full((blocksize, 1), number / 1000, dtype=np.float32), blocksize, None, None)

        outer = self

        class Stream(SimpleNamespace):
            def __enter__(self) -> None:
                threading.Thread(target=hum).start()

            def __exit__(self, *_: object) -> None:
                outer.closed.set()

        return Stream()


def test_sound_of_a_microphone_comes_in_order_and_what_nobody_took_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakePortAudio()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    missed: list[float] = []
    blocks = microphone(16000, None, missed.append)
    levels = [next(blocks).samples[0, 0] for _ in range(50)]
    assert levels == sorted(levels)
    assert levels[0] == 0
    blocks.close()
    assert fake.closed.is_set()
    assert all(seconds == pytest.approx(0.1) for seconds in missed)


def test_a_microphone_that_is_not_there_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", FakePortAudio(FakePortAudio.PortAudioError("Invalid device")))
    with pytest.raises(DataError, match="can't use the microphone: Invalid device; is one connected"):
        next(microphone(16000, None, print))
    monkeypatch.setitem(sys.modules, "sounddevice", FakePortAudio(hums=False))
    monkeypatch.setattr(module, "_WAITING_S", 0.05)
    with pytest.raises(DecodeError, match="delivered no samples"):
        next(microphone(16000, None, print))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fast"], "--fast only works with a file; pass --from FILE too"),
        (["--from", "absent.wav"], "no such recording: absent.wav"),
        (["--from", "absent.wav", "--window", "9"], "is longer than the 0.4 s that the network hears"),
        (["--seconds", "0"], "--seconds must be above 0"),
        (["--seconds", "0.3"], "--seconds 0.3 is shorter than the window of 0.4 s; raise it, or lower --window"),
        (["--hop", "0"], "--hop must be from 0.001 s"),
        (["--hop", "0.5"], "to --window 0.4, so that all is used, got 0.5"),
        (["--hop", "inf", "--window", "0.2"], "to --window 0.2, so that all is used, got inf"),
        (["--from", "a.wav", "--microphone", "3"], "instead of the microphone; leave out --microphone"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(home: Path, options: list[str], words: str) -> None:
    done = called("listen", home / "model.onnx", *options)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr


def test_an_ear_hears_no_more_than_its_hop_apart(home: Path, song: Path) -> None:
    ear = open_ear(home / "model.onnx", window_s=0.2)
    rows = list(ear.hear(play_file(song, fast=True), song))
    assert [row.start_s for row in rows[:3]] == pytest.approx([0, 0.2, 0.4])
