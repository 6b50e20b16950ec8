import io
import os
import stat
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from earsight.dataset.archive import unpack
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


FILES = {"Actor_01/a.wav": SOUND, "meta/table.csv": b"path,label\n", "video.mp4": b"no", ".hidden.wav": b"no"}
KEPT = {"Actor_01/a.wav": SOUND, "meta/table.csv": b"path,label\n"}


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


@pytest.mark.parametrize("name", ["../evil.wav", "/evil.wav", "a/../../evil.wav", "C:/evil.wav", "..\\evil.wav"])
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
    assert not (unpack(path) / "a.wav").stat().st_mode & 0o7111


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
        with pytest.raises(DataError, match=r"refused .* it says that it unpacks to"):
            unpack(path)
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
        "encrypted.zip": (bytes(encrypted), "is encrypted; unpack it by hand"),
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
