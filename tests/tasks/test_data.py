"""Known data sets by name: from a server of our own, since the official addresses are out of a test's reach."""

import functools
import http.server
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from earsight.dataset.sources import downloaded_folder, read_dataset
from earsight.errors import DataError, SettingsError
from earsight.tasks.data import divide, downloaded, get
from tests.conftest import tone


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serves a small ESC-50, laid out as the official archive is, and a file that only claims to be RAVDESS."""
    served = tmp_path / "served"
    served.mkdir()
    (tmp_path / "a.wav").write_bytes(b"")
    table = "filename,fold,target,category,esc10,src_file,take\n"
    with zipfile.ZipFile(served / "ESC-50-master.zip", "w") as archive:
        for n, label in enumerate(("dog", "rain") * 15):
            name = f"{n % 5 + 1}-{1000 + n}-A-{n % 2}.wav"
            soundfile.write(tmp_path / "a.wav", tone(300.0 + 40 * n, 0.4), 16000)
            archive.write(tmp_path / "a.wav", f"ESC-50-master/audio/{name}")
            table += f"{name},{n % 5 + 1},{n % 2},{label},True,{1000 + n},A\n"
        archive.writestr("ESC-50-master/meta/esc50.csv", table)
    (served / "Audio_Speech_Actors_01-24.zip").write_bytes(b"something else")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=served)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("EARSIGHT_MIRROR", address)
        yield address
        server.shutdown()


def test_a_known_set_is_fetched_unpacked_and_read_by_name(mirror: str) -> None:
    with pytest.raises(DataError, match="no such data: esc50"):
        read_dataset("esc50")
    folder = get("esc50")
    assert folder == downloaded_folder("esc50")
    dataset = read_dataset("esc50")
    assert (dataset.source, len(dataset.clips), dataset.labels) == ("esc50", 30, ("dog", "rain"))
    assert len(dataset.folds) == 5
    assert get("esc50") == folder


def test_another_file_than_the_published_one_is_refused(mirror: str) -> None:
    with pytest.raises(DataError, match="it has 14 bytes there, 208,468,073 were published"):
        get("ravdess")
    assert not downloaded_folder("ravdess").exists()


def test_what_no_program_can_fetch_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"savee can't be downloaded by a program: .+"):
        get("savee")
    with pytest.raises(SettingsError, match=r"did you mean ravdess\?"):
        get("ravdes")


def test_a_folder_of_that_name_goes_before_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "esc50").mkdir()
    assert downloaded("esc50") == "esc50"
    assert not downloaded_folder("esc50").exists()


def test_train_downloads_a_known_name_at_first_use(mirror: str, tmp_path: Path) -> None:
    quick = ["--model", "test_efficientnet", "--no-pretrained", "--epochs", "1", "--audio.crop-s", "0.4"]
    command = [sys.executable, "-m", "earsight", "train", "esc50", *quick, "--threads", "1", "--out", "run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert "licence: CC BY-NC 3.0" in done.stderr
    assert "30 clips from 30 files, 2 classes, 30 recordings (19 train / 5 valid / 6 test)" in done.stderr
    assert "Split: esc50:1." in done.stdout


def test_a_split_is_a_table_that_gives_the_same_split_again(mirror: str, tmp_path: Path) -> None:
    get("esc50")
    done = divide("esc50", "esc50:3")
    assert done.leaks == ()
    table = tmp_path / "split.csv"
    table.write_text(done.to_csv())
    again = divide(table, "column:part")
    for part in ("train", "valid", "test"):
        names = {done.dataset.clips[i].path.name for i in getattr(done.split, part)}
        assert names == {again.dataset.clips[i].path.name for i in getattr(again.split, part)}
    assert {again.dataset.clips[i].fold for i in again.split.test} == {"3"}
