"""Known data sets by name: from a server of our own, since the official addresses are out of a test's reach."""

import functools
import http.server
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile

from earsight.dataset.sources import downloaded_folder, read_dataset
from earsight.dataset.walk import cache_folder, store_folder
from earsight.errors import DataError, SettingsError
from earsight.tasks.data import cache_entries, check_output, ensure_downloaded, get, preview_split
from earsight.terminal import division_lines
from tests.conftest import called, lay, tone, write_tones


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
    with pytest.raises(DataError, match="the server's file has 14 bytes, 208,468,073 were published"):
        get("ravdess")
    assert not downloaded_folder("ravdess").exists()


def test_an_archive_that_does_not_unpack_is_set_aside_and_asked_for_again(mirror: str, tmp_path: Path) -> None:
    served = tmp_path / "served" / "ESC-50-master.zip"
    good = served.read_bytes()
    served.write_bytes(good[: len(good) // 2])
    with pytest.raises(
        DataError, match=r"download it again; it was renamed to .*ESC-50-master\.zip\.bad, and the next attempt"
    ):
        get("esc50")
    aside = cache_folder() / "downloads" / "ESC-50-master.zip.bad"
    assert aside.read_bytes() == good[: len(good) // 2]
    served.write_bytes(good)
    assert len(read_dataset(get("esc50")).clips) == 30


def test_a_good_archive_is_kept_where_the_disk_is_full(mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(DataError, match="no room for") as error:
        get("esc50")
    assert "set aside" not in str(error.value)
    assert (cache_folder() / "downloads" / "ESC-50-master.zip").is_file()


def test_what_no_program_can_fetch_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"savee can't be downloaded by a program: .+"):
        get("savee")
    with pytest.raises(SettingsError, match=r"did you mean ravdess\?"):
        get("ravdes")


def test_a_folder_of_that_name_goes_before_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "esc50").mkdir()
    assert ensure_downloaded("esc50") == "esc50"
    assert not downloaded_folder("esc50").exists()


def test_downloads_are_cleared_when_asked_for_alone(tmp_path: Path) -> None:
    kept = lay(cache_folder(), "downloads/esc50/a.zip", "data/esc50/audio/1.wav", "unpacked/x/1.wav")
    assert called("data", "cache", "--clear").returncode == 0
    assert sorted(path.name for path in kept.rglob("*") if path.is_file()) == ["1.wav", "a.zip"]
    assert called("data", "cache", "--clear", "--downloads").returncode == 0
    assert not list((kept / "downloads").rglob("*.zip"))


def test_train_downloads_a_known_name_at_first_use(mirror: str, tmp_path: Path) -> None:
    quick = ["--model", "test_efficientnet", "--no-pretrained", "--epochs", "1", "--audio.crop-s", "0.4"]
    done = called("train", "esc50", *quick, "--threads", "1", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "licence: CC BY-NC 3.0" in done.stderr
    assert "30 clips from 30 files, 2 classes, 30 recordings (19 train / 5 valid / 6 test)" in done.stderr
    assert "Split: esc50:1." in done.stdout


def test_a_split_is_a_table_that_gives_the_same_split_again(mirror: str, tmp_path: Path) -> None:
    get("esc50")
    done = preview_split("esc50", "esc50:3")
    assert done.leaks == ()
    table = tmp_path / "split.csv"
    table.write_text(done.to_csv())
    again = preview_split(table, "column:part")
    for part in ("train", "valid", "test"):
        names = {done.dataset.clips[i].path.name for i in getattr(done.split, part)}
        assert names == {again.dataset.clips[i].path.name for i in getattr(again.split, part)}
    assert {again.dataset.clips[i].fold for i in again.split.test} == {"3"}


def _table(folder: Path, *rows: str, header: str = "path,label") -> Path:
    """Twelve rows of a.wav … l.wav, with these cells behind the path by turns."""
    lay(folder, *(f"{letter}.wav" for letter in "abcdefghijkl"))
    table = folder / "table.csv"
    lines = [f"{letter}.wav,{rows[n % len(rows)]}" for n, letter in enumerate("abcdefghijkl")]
    table.write_text("\n".join([header, *lines, ""]))
    return table


def test_all_that_a_table_says_is_in_the_table_of_its_split(tmp_path: Path) -> None:
    header = "path,label,group,start,end,microphone,part"
    table = _table(tmp_path, 'x,g1,0.5,1.25,"near, left",a', "y;z,g2,,3,far,b", header=header)
    done = preview_split(table, "random")
    again = tmp_path / "again.csv"
    again.write_text(done.to_csv())
    read = read_dataset(again)
    assert [clip.tags["microphone"] for clip in read.clips] == ["near, left", "far"] * 6
    assert {clip.tags["part"] for clip in read.clips} == {"train", "valid", "test"}  # the old one gave way
    kept = [clip._replace(tags={"microphone": clip.tags["microphone"]}) for clip in read.clips]
    was = [clip._replace(tags={"microphone": clip.tags["microphone"]}) for clip in done.dataset.clips]
    assert kept == was
    assert done.try_split == "column:part --leaks allow"


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("rock;pop", r"the label 'rock;pop' .*several labels with ; between them; rename it"),
        (" a", r"the label ' a' .*begins or ends with a blank"),
        ("a\r", r"the label 'a\\r' .*blank"),
        ("a\rb", r"the label 'a\\rb' .*control character"),
        (os.fsdecode(b"\xe9"), r"the label '\\udce9' .*not UTF-8"),
    ],
)
def test_what_would_read_back_as_something_else_is_refused(tmp_path: Path, label: str, message: str) -> None:
    for name in (label, "a"):
        lay(tmp_path / "data", *(f"{name}/{n}.wav" for n in range(5)))
    with pytest.raises(DataError, match=message):
        preview_split(tmp_path / "data").to_csv()


def test_half_a_letter_from_json_is_refused_and_not_a_crash(tmp_path: Path) -> None:
    lay(tmp_path, *(f"{n}.wav" for n in range(10)))
    rows = (f'{{"path": "{n}.wav", "label": "{"a" if n % 2 else "b"}", "note": "\\ud800"}}\n' for n in range(10))
    (tmp_path / "table.jsonl").write_text("".join(rows))
    with pytest.raises(DataError, match=r"line 1 is not JSON .*surrogates not allowed"):
        preview_split(tmp_path / "table.jsonl", "random")


def test_links_into_a_store_of_contents_keep_their_own_names(tmp_path: Path) -> None:
    """As git-annex and DataLad lay a data set; two of them are one file."""
    tones, links = write_tones(tmp_path / "contents"), tmp_path / "data"
    for number, path in enumerate(sorted(tones.rglob("*.wav"))):
        blob = path.rename(tones / f"{number:03}")
        (links / path.parent.name).mkdir(parents=True, exist_ok=True)
        (links / path.parent.name / path.name).symlink_to(blob)
    (links / "low" / "again.wav").symlink_to((links / "low" / "low00.wav").resolve())
    done = called("data", "split", links, "--split", "random", "--out", tmp_path / "split.csv")
    assert done.returncode == 0, done.stderr
    again = read_dataset(tmp_path / "split.csv")
    assert {clip.path for clip in again.clips} == set(links.rglob("*.wav"))


def test_the_next_command_is_told_where_it_works(tmp_path: Path) -> None:
    table = _table(tmp_path, "x,g1", "y,g1", "x,g2", "y,g2", "x,g3", "y,g3", header="path,label,group")
    assert preview_split(table, "group:3").try_split == "column:part"
    assert preview_split(table, "none").try_split == "none"
    assert preview_split(table, "random").try_split == "column:part --leaks allow"
    spans = tmp_path / "spans.csv"
    pieces = (("train", 0), ("valid", 1), ("test", 2))
    rows = [f"{name}.wav,{label},s,{part},{at},{at + 1}" for name, label in ("ax", "by") for part, at in pieces]
    spans.write_text("\n".join(["path,label,speaker,side,start,end", *rows, ""]))
    leaking = preview_split(spans, "column:side")
    assert leaking.leaks[0] == "pieces of a recording (train and valid)"
    assert leaking.try_split == ""
    whole = tmp_path / "whole.csv"
    whole.write_text(preview_split(table, "none").to_csv())
    assert len(preview_split(whole, "none").split.train) == 12


def test_what_the_source_left_out_is_told_beside_the_split(tmp_path: Path) -> None:
    lay(tmp_path, *(f"{label}/{n}.wav" for label in "ab" for n in range(5)), *(f"{n:02}.wav" for n in range(12)))
    lines = list(division_lines(preview_split(tmp_path)))
    at = lines.index("left out: 12 files")
    assert lines[at + 1] == f"  {tmp_path}/00.wav: no label: it lies beside the class folders, not in one"
    assert lines[-1] == "  … and 2 more (earsight data inspect --json lists all)"


def test_nothing_is_overwritten_unasked_and_no_data_ever(tmp_path: Path) -> None:
    table = _table(tmp_path / "data", "x", "y")
    (tmp_path / "data" / "list.csv").symlink_to(table)
    lay(tmp_path, "old.csv", "other.wav", "sound.dat")
    clips = read_dataset(table).clips
    check_output(tmp_path / "new.csv", table, overwrite=False)
    check_output(tmp_path / "old.csv", table, overwrite=True, clips=clips)
    with pytest.raises(SettingsError, match=r"old\.csv is there already; name another file, or pass --overwrite"):
        check_output(tmp_path / "old.csv", table, overwrite=False)
    for path, place in (
        (table, table),
        (tmp_path / "data" / "list.csv", table),
        (table, tmp_path / "data"),
        (tmp_path / "other.wav", table),
    ):
        with pytest.raises(SettingsError, match="it is a file of the data, or lies among them"):
            check_output(path, place, overwrite=True)
    heard = (clips[0]._replace(path=tmp_path / "sound.dat"),)
    with pytest.raises(SettingsError, match="it is a file of the data"):
        check_output(tmp_path / "sound.dat", table, overwrite=True, clips=heard)
    with pytest.raises(SettingsError, match="File name too long"):
        check_output(tmp_path / f"{'x' * 300}.csv", table, overwrite=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "old.csv", "other.wav", "sound.dat"]


def test_the_cache_is_cleared_of_what_earsight_can_make_again(mirror: str) -> None:
    get("esc50")
    lay(cache_folder(), "unpacked/x/a.wav", "data/savee/by-hand.wav")
    (store_folder() / "x").mkdir(parents=True)
    (store_folder() / "x" / "shard").write_bytes(bytes(1000))
    kept = {one.what: one for one in cache_entries()}
    assert kept["decoded recordings"].size_bytes == 1000
    assert kept["downloads"].size_bytes > 30 * 6400
    for one in kept.values():
        one.clear()
    left = sorted(path.relative_to(cache_folder()).as_posix() for path in cache_folder().rglob("*.*"))
    assert left == ["data/savee/by-hand.wav"]
