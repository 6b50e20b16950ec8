import gzip
import io
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from earsight.audio import containers
from earsight.dataset.archive import left_out, unpack
from earsight.dataset.walk import cache_folder
from earsight.errors import DataError

SOUND = b"RIFF" + bytes(2000)


def make_zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w", links: tuple[tarfile.TarInfo, ...] = ()) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for link in links:
            archive.addfile(link)
    return path


def found(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def leftovers() -> list[str]:
    """Everything in the cache but whole folders."""
    parent = cache_folder() / "unpacked"
    return sorted(path.name for path in parent.iterdir()) if parent.is_dir() else []


FILES = {"Actor_01/a.wav": SOUND, "meta/table.csv": b"path,label\n", "video.flv": b"no", ".hidden.wav": b"no"}
KEPT = {
    "Actor_01/a.wav": SOUND,
    "meta/table.csv": b"path,label\n",
    ".earsight-left-out.json": b'["video.flv"]',  # for those who read the folder
}


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_recordings_and_tables_are_unpacked_and_nothing_else(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"data.{ending}"
    if ending == "zip":
        make_zip(path, {**FILES, "__MACOSX/Actor_01/._a.wav": b"no"}, zipfile.ZIP_DEFLATED)
    else:
        make_tar(path, FILES, "w:" + {"tar": "", "tgz": "gz"}.get(ending, ending.partition(".")[2]))
    steps: list[tuple[int, int]] = []
    folder = unpack(path, progress=lambda done, total: steps.append((done, total)))
    assert found(folder) == KEPT
    assert steps[-1] == (len(SOUND) + 11, len(SOUND) + 11)
    before = folder.stat().st_mtime_ns
    assert unpack(path) == folder  # once
    assert folder.stat().st_mtime_ns == before


def test_a_changed_archive_is_unpacked_anew_and_a_target_is_taken(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.wav": SOUND})
    first = unpack(path)
    make_zip(path, {"a.wav": SOUND, "b.wav": SOUND})
    second = unpack(path)
    assert (sorted(found(first)), sorted(found(second))) == (["a.wav"], ["a.wav", "b.wav"])
    assert unpack(path, tmp_path / "here") == tmp_path / "here"
    assert sorted(found(tmp_path / "here")) == ["a.wav", "b.wav"]


def test_what_pyav_reads_is_unpacked_once_that_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is only said not to be, first."""
    path = make_zip(tmp_path / "a.zip", {"a.wav": SOUND, "b.m4a": SOUND, "c.flv": SOUND})
    with monkeypatch.context() as without:
        without.setattr(containers, "can_read", lambda: False)
        for _ in range(2):
            assert sorted(found(unpack(path))) == [".earsight-left-out.json", "a.wav"]
            assert left_out(unpack(path)) == ["b.m4a", "c.flv"]
    assert sorted(found(unpack(path))) == [".earsight-left-out.json", "a.wav", "b.m4a"]
    assert left_out(unpack(path)) == ["c.flv"]
    assert leftovers() == [unpack(path).name]


def test_a_folder_that_is_unpacked_again_is_whole_whenever_that_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.wav": SOUND, "b.m4a": SOUND})
    with monkeypatch.context() as without:
        without.setattr(containers, "can_read", lambda: False)
        unpack(path)

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as while_removing:
        while_removing.setattr(shutil, "rmtree", stopped)
        with pytest.raises(KeyboardInterrupt):
            unpack(path)
    assert sorted(found(unpack(path))) == ["a.wav", "b.m4a"]


@pytest.mark.parametrize(
    "name",
    ["../evil.wav", "/evil.wav", "a/../../evil.wav", "C:/evil.wav", "a/C:/evil.wav", "..\\evil.wav", "../evil.flv"],
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    path = (make_zip if kind == "zip" else make_tar)(tmp_path / f"a.{kind}", {"good/a.wav": SOUND, name: SOUND})
    with pytest.raises(DataError, match="leads out of its folder"):
        unpack(path)
    assert leftovers() == []
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_link_or_device_in_a_tar_is_refused(tmp_path: Path, kind: bytes) -> None:
    link = tarfile.TarInfo("b.wav")
    link.type, link.linkname = kind, "/etc/passwd"
    with pytest.raises(DataError, match=r"'b\.wav' is a link or a device"):
        unpack(make_tar(tmp_path / "a.tar", {"a.wav": SOUND}, links=(link,)))
    assert leftovers() == []


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("b.wav")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
        archive.writestr("a.wav", SOUND)
    with pytest.raises(DataError, match=r"'b\.wav' is a link"):
        unpack(path)


def test_permissions_are_not_carried_over(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("a.wav")
        info.external_attr = (stat.S_IFREG | 0o4777) << 16
        archive.writestr(info, SOUND)
    folder = unpack(path)
    assert not (folder / "a.wav").stat().st_mode & 0o7111
    (tmp_path / "other").mkdir()
    assert folder.stat().st_mode == (tmp_path / "other").stat().st_mode  # others may read it where they may elsewhere


def test_a_declared_size_of_gigabytes_and_a_bomb_are_refused(tmp_path: Path) -> None:
    sizes = {"huge": 2**50, "bomb": 3 * 2**30}
    for name, size in sizes.items():
        path = make_zip(tmp_path / f"{name}.zip", {"a.wav": SOUND})
        data = bytearray(path.read_bytes())
        central = data.rindex(b"PK\x01\x02")
        if name == "bomb":  # the declared size of the directory, in 32 bits
            data[central + 24 : central + 28] = size.to_bytes(4, "little")
            path.write_bytes(data)
        else:
            info = tarfile.TarInfo("a.wav")
            info.size = size
            path = tmp_path / "huge.tar"
            path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
        with pytest.raises(DataError, match=r"refused .*: its declared unpacked size is"):
            unpack(path)
    assert leftovers() == []


def test_what_is_not_wanted_counts_in_a_tar_that_must_be_read_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tarfile.TarInfo("film.flv")
    info.size = 65 * 2**30
    path = tmp_path / "film.tar"
    path.write_bytes(make_tar(tmp_path / "a.tar", {"a.wav": SOUND}).read_bytes()[:2560] + info.tobuf())
    with pytest.raises(DataError, match="unpacked size is 65 GiB, above the limit of 64"):
        unpack(path)
    monkeypatch.setattr("earsight.dataset.archive._SUSPICIOUS_BYTES", 2**20)
    path = make_tar(tmp_path / "a.tar.gz", {"a.wav": SOUND, "film.flv": bytes(3_000_000)}, "w:gz")
    with pytest.raises(DataError, match="over 200 times its own, as in a zip bomb"):
        unpack(path)
    path.write_bytes(make_tar(path, {"a.wav": SOUND}, "w:gz").read_bytes() + gzip.compress(bytes(3_000_000)))
    with pytest.raises(DataError, match="over 200 times its own, as in a zip bomb"):
        unpack(path)
    assert leftovers() == []


def test_a_full_disk_is_seen_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DataError, match=r"no room for .*a\.zip.*set EARSIGHT_HOME"):
        unpack(make_zip(tmp_path / "a.zip", {"a.wav": SOUND}))
    assert leftovers() == []


def test_more_than_was_declared_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.wav": bytes(100_000)}, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\x01\x02")
    data[central + 24 : central + 28] = (10).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"is longer than it says|is damaged"):
        unpack(path)
    assert leftovers() == []


def test_twice_the_same_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"it holds 'x\\\\a\.wav' twice"):
        unpack(make_zip(tmp_path / "a.zip", {"x/a.wav": SOUND, "x\\a.wav": SOUND}))


def test_damaged_cut_encrypted_and_foreign_files_say_so(tmp_path: Path) -> None:
    whole = make_zip(tmp_path / "a.zip", {"a.wav": os.urandom(50_000)}, zipfile.ZIP_DEFLATED).read_bytes()
    flipped = bytearray(whole)
    flipped[2000] ^= 0xFF
    encrypted = bytearray(whole)
    encrypted[6] |= 1
    encrypted[whole.rindex(b"PK\x01\x02") + 8] |= 1
    tar = make_tar(tmp_path / "a.tar.gz", {"a.wav": os.urandom(50_000)}, "w:gz").read_bytes()
    cases = {
        "flipped.zip": (bytes(flipped), "is damaged"),
        "encrypted.zip": (bytes(encrypted), r"is encrypted \('a\.wav'\); unpack it by hand"),
        "cut.zip": (whole[:20_000], "neither a zip nor a tar, or was cut off"),
        "cut.tar.gz": (tar[:20_000], "is damaged|cut off"),
        "text.zip": (b"hello", "neither a zip nor a tar"),
        "empty.zip": (b"", "neither a zip nor a tar"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            unpack(tmp_path / name)
    assert leftovers() == []


def test_a_tar_whose_headers_hold_no_numbers_is_damaged(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a.wav")
        info.pax_headers = {"GNU.sparse.map": "a,b", "GNU.sparse.realsize": "1"}
        tar.addfile(info)
    with pytest.raises(DataError, match=r"a\.tar is damaged \("):
        unpack(tmp_path / "a.tar")
    assert leftovers() == []


def test_an_entry_without_a_name_is_damage(tmp_path: Path) -> None:
    whole = make_zip(tmp_path / "a.zip", {"x": b"1", "a.wav": b"2"}).read_bytes()
    place = whole.index(b"PK\x01\x02")
    nameless = bytearray(whole[: place + 46] + whole[place + 47 :])  # of the first entry of the directory
    nameless[place + 28] = 0
    end = nameless.rindex(b"PK\x05\x06")
    nameless[end + 12 : end + 16] = (int.from_bytes(nameless[end + 12 : end + 16], "little") - 1).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(nameless)
    with pytest.raises(DataError, match=r"a\.zip is damaged"):
        unpack(tmp_path / "a.zip")


def test_a_tar_that_breaks_off_between_files_or_has_a_damaged_header_is_not_taken_for_whole(tmp_path: Path) -> None:
    whole = make_tar(tmp_path / "a.tar", {f"{i}.wav": SOUND for i in range(4)}).read_bytes()
    member = 512 + 2048
    flipped = bytearray(whole)
    flipped[2 * member + 5] ^= 1
    for content in (whole[: 2 * member], bytes(flipped)):
        (tmp_path / "b.tar").write_bytes(content)
        with pytest.raises(DataError, match=r"b\.tar is damaged \(it breaks off after 2 files\); download it again"):
            unpack(tmp_path / "b.tar")
    assert leftovers() == []


def test_a_header_that_is_as_large_as_a_bomb_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a.wav")
        info.size, info.pax_headers = len(SOUND), {"comment": "x" * 3_000_000}
        archive.addfile(info, io.BytesIO(SOUND))
    with pytest.raises(DataError, match=r"is damaged .*a header of 3,000,0\d\d bytes"):
        unpack(path)
    assert leftovers() == []


def test_two_tars_in_one_file_are_not_taken_for_the_first(tmp_path: Path) -> None:
    first = make_tar(tmp_path / "a.tar", {"a.wav": SOUND}).read_bytes()
    (tmp_path / "c.tar").write_bytes(first + make_tar(tmp_path / "b.tar", {"b.wav": SOUND}).read_bytes())
    with pytest.raises(DataError, match=r"c\.tar has data after its end"):
        unpack(tmp_path / "c.tar")


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_damage_anywhere_is_found_and_never_changes_what_comes_out(tmp_path: Path, kind: str) -> None:
    draw = random.Random(0)
    files = {f"d/{number}é.wav": draw.randbytes(700) for number in range(3)}
    path = tmp_path / f"a.{kind}"
    whole = (
        make_zip(path, files, zipfile.ZIP_DEFLATED) if kind == "zip" else make_tar(path, files, "w:" + kind[4:])
    ).read_bytes()
    refused: list[str] = []
    for number in range(100):
        content = bytearray(whole)
        if number % 3:
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        else:
            del content[draw.randrange(len(content)) :]
        path.write_bytes(content)
        try:
            assert set(found(unpack(path, tmp_path / str(number))).values()) <= set(files.values())
        except DataError as error:
            refused.append(str(error))
    assert len(refused) > 80  # a bit of a date or of a name may be another
    assert not any("\n" in message for message in refused)


def test_the_damaged_file_is_named(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"x/a.wav": SOUND, "x/b.wav": SOUND})
    content = bytearray(path.read_bytes())
    content[content.rindex(SOUND) + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"is damaged \('x/b\.wav' does not come out whole\)"):
        unpack(path)


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip", {"inner.wav": SOUND}).read_bytes()
    assert found(unpack(make_tar(tmp_path / "a.tar", {"a.wav": SOUND, "inner.zip": inner}))) == {
        "a.wav": SOUND,
        ".earsight-left-out.json": b'["inner.zip"]',
    }


def test_a_time_in_a_name_is_no_drive(tmp_path: Path) -> None:
    assert found(unpack(make_zip(tmp_path / "a.zip", {"12:00.wav": SOUND}))) == {"12:00.wav": SOUND}


def test_a_method_that_is_unknown_an_absent_archive_and_the_callers_own_error(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.wav": SOUND})
    content = bytearray(path.read_bytes())
    for at in (8, content.rindex(b"PK\x01\x02") + 10):
        content[at : at + 2] = b"\x09\x00"  # Deflate64, as some systems write large zips
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"compression method is not supported; unpack it by hand"):
        unpack(tmp_path / "b.zip")
    with pytest.raises(DataError, match=r"can't unpack .*none\.zip: No such file"):
        unpack(tmp_path / "none.zip")

    def fail(done: int, total: int) -> None:
        raise RuntimeError("the caller's own")

    with pytest.raises(RuntimeError, match="the caller's own"):
        unpack(path, progress=fail)
    assert leftovers() == []


def test_no_recording_and_a_name_that_the_system_refuses(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no recordings in .*a\.zip"):
        unpack(make_zip(tmp_path / "a.zip", {"notes.txt": b"x"}))
    with pytest.raises(DataError, match=r"can't unpack .*name too long"):
        unpack(make_zip(tmp_path / "b.zip", {f"{'x' * 300}.wav": SOUND}))
    with pytest.raises(DataError, match="can't unpack"):
        unpack(make_zip(tmp_path / "c.zip", {"a.wav": SOUND, "a.wav/b.wav": SOUND}))
    assert leftovers() == []


def test_ctrl_c_leaves_nothing_and_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.wav": SOUND})

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(path, progress=stop)
    assert leftovers() == []
    parent = cache_folder() / "unpacked"
    for name, age_s in ((".unpacking-old", 2 * 24 * 3600), (".unpacking-new", 0)):
        (parent / name).mkdir()
        os.utime(parent / name, (time.time() - age_s,) * 2)
    unpack(path)
    assert ".unpacking-old" not in leftovers()
    assert ".unpacking-new" in leftovers()  # another process may be at work there


SLOW = """
import sys, time
from pathlib import Path
from earsight.dataset.archive import unpack
unpack(Path(sys.argv[1]), progress=lambda done, total: (print(done, flush=True), time.sleep(60)))
"""


def test_what_a_killed_process_left_is_never_taken_for_whole(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.wav": SOUND, "b.wav": SOUND})
    child = subprocess.Popen([sys.executable, "-c", SLOW, str(path)], stdout=subprocess.PIPE, text=True)
    if child.stdout is None:
        pytest.fail("no pipe")
    with child:
        assert int(child.stdout.readline()) == len(SOUND)
        child.send_signal(signal.SIGKILL)
    assert [name.partition("-")[0] for name in leftovers()] == [".unpacking"]
    assert found(unpack(path)) == {"a.wav": SOUND, "b.wav": SOUND}
    assert [name for name in leftovers() if name.startswith(".")] == []


def test_two_at_once_end_with_one_whole_folder(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.wav": SOUND, "b.wav": SOUND})
    both_at_work = threading.Barrier(2)
    folders: list[Path] = []

    def work() -> None:
        def meet(done: int, total: int) -> None:
            if done == len(SOUND):
                both_at_work.wait(30)

        folders.append(unpack(path, progress=meet))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folders[0] == folders[1]
    assert found(folders[0]) == {"a.wav": SOUND, "b.wav": SOUND}
    assert leftovers() == [folders[0].name]
