import os
import shutil
import signal
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earsight.dataset.sources import known_sources, pattern, read_dataset
from earsight.dataset.sources.ravdess import EMOTIONS, parse_name
from earsight.errors import DataError, SettingsError
from tests.conftest import lay, tone


def write(path: Path, hz: float = 440) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(hz, 0.2), 16000)
    return path


def ravdess_name(emotion: int, actor: int, channel: int = 1) -> str:
    return f"03-{channel:02}-{emotion:02}-01-01-01-{actor:02}.wav"


def test_real_ravdess(ravdess: Path) -> None:
    dataset = read_dataset(ravdess)
    assert (dataset.source, dataset.files, len(dataset.clips), len(dataset.groups)) == (
        "ravdess",
        1440,
        1440,
        24,
    )
    assert dataset.labels == EMOTIONS
    counts = {label: sum(clip.label == label for clip in dataset.clips) for label in EMOTIONS}
    assert counts.pop("neutral") == 96
    assert set(counts.values()) == {192}
    assert dataset.failures == ()
    assert not dataset.synthetic


def test_name_in_words() -> None:
    assert parse_name("Actor_12/03-01-06-02-01-02-12.wav") == {
        "modality": "audio-only",
        "channel": "speech",
        "emotion": "fearful",
        "intensity": "strong",
        "statement": "Kids are talking by the door",
        "repetition": "2",
        "actor": "12",
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("03-01-09-01-01-01-01.wav", "emotion '09' is not one of 01, 02"),
        ("03-01-01-01-01-01-25.wav", "actor '25' is not one of"),
        ("hello.wav", "seven two-digit fields"),
    ],
)
def test_wrong_names_say_which_field(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_name(name)


def test_wrong_names_among_right_ones_are_left_out_with_their_reason(tmp_path: Path) -> None:
    for emotion in (1, 2, 3, 4):
        write(tmp_path / "Actor_01" / ravdess_name(emotion, 1))
    bad = write(tmp_path / "Actor_01" / "03-01-09-01-01-01-01.wav")
    dataset = read_dataset(tmp_path)
    assert len(dataset.clips) == 4
    assert [(failure.path, "emotion '09'" in failure.reason) for failure in dataset.failures] == [(bad, True)]
    with pytest.raises(DataError, match=r"03-01-09.*--strict"):
        read_dataset(tmp_path, strict=True)


def test_nested_second_copy_stray_copy_and_song_are_taken_once(tmp_path: Path) -> None:
    for actor in (2, 5):
        for emotion in (1, 2):
            own = write(tmp_path / f"Actor_{actor:02}" / ravdess_name(emotion, actor))
            nested = tmp_path / "audio_speech_actors_01-24" / own.parent.name / own.name
            nested.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(own, nested)
    write(tmp_path / "Actor_05" / ravdess_name(1, 2))
    write(tmp_path / "Actor_05" / ravdess_name(1, 5, channel=2))
    dataset = read_dataset(tmp_path)
    assert dataset.files == 10
    assert [clip.path.relative_to(tmp_path).as_posix() for clip in dataset.clips] == [
        f"Actor_{actor:02}/{ravdess_name(emotion, actor)}" for actor in (2, 5) for emotion in (1, 2)
    ]
    reasons = sorted(failure.reason.split(" ")[0] for failure in dataset.failures)
    assert reasons == ["a"] * 5 + ["song;"]
    assert len({clip.path for clip in dataset.clips}) == 4


def test_films_stand_in_for_recordings_that_are_not_there(tmp_path: Path) -> None:
    """RAVDESS has each performance as sound, as a film, and as a film without sound; PyAV reads the films."""
    names = ("Actor_01/03-01-01-01-01-01-01.wav", "Actor_01/01-01-01-01-01-01-01.mp4", "01-01-02-01-01-01-02.mp4")
    dataset = read_dataset(files(tmp_path, *names, "Actor_01/02-01-01-01-01-01-01.mp4"))
    assert [clip.path for clip in dataset.clips] == [tmp_path / names[2], tmp_path / names[0]]
    assert {failure.path.name: failure.reason for failure in dataset.failures} == {
        "01-01-01-01-01-01-01.mp4": f"a second copy of {tmp_path / names[0]}",
        "02-01-01-01-01-01-01.mp4": "video-only; it has no sound",
    }


def test_zip_of_originals(ravdess_48k_zip: Path) -> None:
    dataset = read_dataset(ravdess_48k_zip)
    assert len(dataset.clips) == 60
    assert dataset.groups == ("01",)
    assert dataset.clips[0].path.is_file()
    assert read_dataset(ravdess_48k_zip).clips[0].path == dataset.clips[0].path  # unpacked once


def test_zip_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    sound = write(tmp_path / "a.wav").read_bytes()
    for name in ("../evil.wav", "/evil.wav", "a/../../evil.wav", "C:/evil.wav", "..\\evil.wav"):
        with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
            archive.writestr("good/a.wav", sound)
            archive.writestr(name, sound)
        with pytest.raises(DataError, match="leads out of its folder"):
            read_dataset(tmp_path / "bad.zip")
    assert not list(tmp_path.rglob("evil*"))


def test_cut_zip(tmp_path: Path, ravdess_48k_zip: Path) -> None:
    (tmp_path / "cut.zip").write_bytes(ravdess_48k_zip.read_bytes()[:100_000])
    with pytest.raises(DataError, match="neither a zip nor a tar, or was cut off"):
        read_dataset(tmp_path / "cut.zip")


def test_folder_of_class_folders(tmp_path: Path) -> None:
    for name in ("wrapped/dog/a.wav", "wrapped/dog/deep/b.wav", "wrapped/cat/c.wav", "wrapped/loose.wav"):
        write(tmp_path / name)
    (tmp_path / "wrapped" / "dog" / "notes.txt").write_text("no sound")
    dataset = read_dataset(tmp_path / "wrapped")
    assert dataset.labels == ("cat", "dog")
    assert [clip.label for clip in dataset.clips] == ["cat", "dog", "dog"]
    assert [failure.path.name for failure in dataset.failures] == ["loose.wav"]
    (tmp_path / "wrapped" / "loose.wav").unlink()
    assert read_dataset(tmp_path).labels == ("cat", "dog")  # a folder around all classes is stepped into


@pytest.mark.parametrize(("train", "valid", "test"), [("train", "valid", "test"), ("Training", "dev", "eval")])
def test_folders_of_parts_above_the_classes(tmp_path: Path, train: str, valid: str, test: str) -> None:
    lay(
        tmp_path, f"{train}/dog/a.wav", f"{train}/cat/b.wav", f"{valid}/dog/c.wav", f"{test}/cat/d.wav", f"{test}/e.wav"
    )
    dataset = read_dataset(tmp_path)
    found = {clip.path.name: (clip.label, clip.fold) for clip in dataset.clips}
    assert found == {
        "a.wav": ("dog", "train"),
        "b.wav": ("cat", "train"),
        "c.wav": ("dog", "valid"),
        "d.wav": ("cat", "test"),
    }
    assert [failure.path.name for failure in dataset.failures] == ["e.wav"]


def test_classes_called_train_and_test_alone_are_classes(tmp_path: Path) -> None:
    lay(tmp_path, "train/a.wav", "bus/b.wav", "test/c.wav")
    assert read_dataset(tmp_path).labels == ("bus", "test", "train")


def test_the_group_comes_from_a_pattern(tmp_path: Path) -> None:
    lay(tmp_path, "dog/anna_1.wav", "dog/bert_1.wav", "cat/anna_2.wav")
    dataset = read_dataset(tmp_path, group_pattern=r"/([a-z]+)_\d")
    assert {clip.path.name: clip.group for clip in dataset.clips} == {
        "anna_1.wav": "anna",
        "bert_1.wav": "bert",
        "anna_2.wav": "anna",
    }
    found = read_dataset(tmp_path, group_pattern=r"anna|bert")
    assert (found.groups, found.group_name) == (("anna", "bert"), "group")
    with pytest.raises(DataError, match=r"finds no group in 1 of 3 names: dog/bert_1\.wav"):
        read_dataset(tmp_path, group_pattern="anna")
    with pytest.raises(SettingsError, match="not a regular expression"):
        read_dataset(tmp_path, group_pattern="(")


def test_archives_in_a_folder_are_opened(tmp_path: Path, ravdess_48k_zip: Path) -> None:
    (tmp_path / "download").mkdir()
    shutil.copy(ravdess_48k_zip, tmp_path / "download")
    assert len(read_dataset(tmp_path / "download").clips) == 60
    for name in ("one", "two"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.write(write(tmp_path / f"{name}.wav"), f"{name}/a.wav")
        (tmp_path / f"{name}.wav").unlink()
    shutil.rmtree(tmp_path / "download")
    with pytest.raises(
        DataError, match=r"2 archives in .*, of no known data set: one\.zip, two\.zip; give one of them"
    ):
        read_dataset(tmp_path)
    for actor in (1, 2):
        with zipfile.ZipFile(tmp_path / f"{'one' if actor == 1 else 'two'}.zip", "w") as archive:
            for emotion in (1, 2):
                archive.writestr(f"Actor_{actor:02}/{ravdess_name(emotion, actor)}", b"x")
            archive.writestr(f"{actor}.flv", b"x")
    dataset = read_dataset(tmp_path)
    assert (len(dataset.clips), dataset.groups, dataset.source) == (4, ("01", "02"), "ravdess")
    assert [failure.path for failure in dataset.failures] == [tmp_path / "one.zip/1.flv", tmp_path / "two.zip/2.flv"]


def test_a_linked_folder_is_followed_once(tmp_path: Path) -> None:
    lay(tmp_path, "elsewhere/a.wav", "data/cat/b.wav")
    (tmp_path / "data" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "cat" / "loop").symlink_to(tmp_path / "data")
    dataset = read_dataset(tmp_path / "data")
    assert [(clip.label, clip.path.name) for clip in dataset.clips] == [("cat", "b.wav"), ("dog", "a.wav")]


def test_a_class_folder_that_was_not_filled_is_told(tmp_path: Path) -> None:
    lay(tmp_path, "plain/cat/a.wav", "plain/dog/b.wav", "plain/owl/notes.txt", "plain/cat/more/notes.txt")
    (tmp_path / "plain" / "rain" / "deep").mkdir(parents=True)
    found = read_dataset(tmp_path / "plain", strict=True)
    assert found.empty_class_folders == (tmp_path / "plain/owl", tmp_path / "plain/rain")
    assert found.failures == ()
    lay(tmp_path, "parted/train/cat/a.wav", "parted/train/dog/b.wav", "parted/test/cat/c.wav")
    (tmp_path / "parted" / "train" / "owl").mkdir()
    (tmp_path / "parted" / "test" / "dog").mkdir()  # the class is there, in another part
    assert read_dataset(tmp_path / "parted").empty_class_folders == (tmp_path / "parted/train/owl",)


def test_what_tools_keep_in_hidden_folders_is_no_class(tmp_path: Path) -> None:
    lay(tmp_path, ".data/cat/a.wav", ".data/dog/b.wav", ".data/.git/annex/c.wav", ".data/dog/.Trash-1000/d.wav")
    lay(tmp_path, ".data/__MACOSX/cat/e.wav")
    dataset = read_dataset(tmp_path / ".data")
    assert [(clip.label, clip.path.name) for clip in dataset.clips] == [("cat", "a.wav"), ("dog", "b.wav")]


def test_song_beside_speech_and_alone(tmp_path: Path) -> None:
    lay(tmp_path, *(f"Actor_01/{ravdess_name(emotion, 1)}" for emotion in range(1, 5)))
    lay(tmp_path, *(f"Actor_01/{ravdess_name(emotion, 1, channel=2)}" for emotion in range(1, 4)))
    speech = read_dataset(tmp_path)
    assert (speech.source, len(speech.clips), len(speech.failures)) == ("ravdess", 4, 3)
    song = read_dataset(tmp_path, source="ravdess_song")
    assert (song.source, len(song.clips), song.labels) == ("ravdess_song", 3, EMOTIONS[:3])
    for clip in speech.clips:
        clip.path.unlink()
    assert read_dataset(tmp_path).source == "ravdess_song"


def test_a_source_by_name(tmp_path: Path) -> None:
    lay(tmp_path, "dog/a.wav", "cat/b.wav")
    with pytest.raises(SettingsError, match="no source is called 'esc5'; did you mean esc50"):
        read_dataset(tmp_path, source="esc5")
    with pytest.raises(DataError, match=r"no usable recording of ravdess .* seven two-digit fields"):
        read_dataset(tmp_path, source="ravdess")
    lay(tmp_path / "ravdess", *(f"{label}/{ravdess_name(1, 1)}" for label in ("x", "y")))
    assert read_dataset(tmp_path / "ravdess", source="folder").labels == ("x", "y")


def test_every_source_tells_its_licence_citation_and_protocol_and_how_to_get_it() -> None:
    sources = known_sources().values()
    assert len(sources) >= 12
    for source in sources:
        assert all((source.title, source.licence, source.citation, source.protocol)), source.name
        assert source.page.startswith("http"), source.name
        assert source.downloads or source.how_to_get, source.name


def test_empty_unlabelled_one_class_and_absent(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such data"):
        read_dataset(tmp_path / "absent")
    with pytest.raises(DataError, match="no recordings in"):
        read_dataset(tmp_path)
    write(tmp_path / "a.wav")
    write(tmp_path / "b.wav")
    with pytest.raises(DataError, match=r"no labels in .*one folder a class"):
        read_dataset(tmp_path)
    write(tmp_path / "one" / "c.wav")
    with pytest.raises(DataError, match=r"only one class.*'one'"):
        read_dataset(tmp_path)
    assert read_dataset(tmp_path, fewest_classes=1).labels == ("one",)


def test_file_that_is_no_zip(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder, an archive or a table"):
        read_dataset(write(tmp_path / "a.wav"))


def test_labels_do_not_depend_on_the_order_of_the_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for emotion in rng.permutation(np.arange(1, 9)):
        write(tmp_path / ravdess_name(int(emotion), 3))
    assert read_dataset(tmp_path).labels == EMOTIONS


def files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_train_and_val_without_a_test_are_parts_and_what_stands_beside_them_is_named(tmp_path: Path) -> None:
    files(tmp_path, "train/a/1.wav", "train/b/2.wav", "val/a/3.wav", "val/b/4.wav")
    dataset = read_dataset(tmp_path)
    assert dataset.labels == ("a", "b")
    assert sorted(clip.fold for clip in dataset.clips) == ["train", "train", "valid", "valid"]
    files(tmp_path, "extra/a/5.wav")
    with pytest.raises(DataError, match="has the parts train, val and beside them extra; move these away"):
        read_dataset(tmp_path)


def test_a_loose_recording_beside_parts_does_not_make_them_classes(tmp_path: Path) -> None:
    files(tmp_path, "train/a/1.wav", "test/b/2.wav", "extra/5.wav")
    with pytest.raises(DataError, match="has the parts test, train and beside them extra"):
        read_dataset(tmp_path)
    (tmp_path / "extra" / "5.wav").rename(tmp_path / "loose.wav")
    dataset = read_dataset(tmp_path)
    assert (dataset.labels, [failure.path.name for failure in dataset.failures]) == (("a", "b"), ["loose.wav"])
    assert dataset.empty_class_folders == (tmp_path / "extra",)


@pytest.mark.parametrize("place", [".", "{}", "table.csv", "{}/table.csv"])
def test_a_group_pattern_sees_the_whole_path_below_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    files(tmp_path, "a/s1_x.wav", "b/s2_x.wav", "b/s1_y.wav")
    (tmp_path / "table.csv").write_text("path,label\na/s1_x.wav,a\nb/s2_x.wav,b\nb/s1_y.wav,b\n")
    monkeypatch.chdir(tmp_path)
    dataset = read_dataset(place.format(tmp_path), group_pattern=r"^[ab]/(s\d)_[xy]\.wav$")
    assert sorted(clip.group for clip in dataset.clips) == ["s1", "s1", "s2"]


def test_a_group_pattern_sees_all_of_a_path_that_lies_elsewhere(tmp_path: Path) -> None:
    files(tmp_path / "far", "s1/x.wav", "s2/x.wav")
    rows = [f"{tmp_path}/far/s{n}/x.wav,{n}\n" for n in (1, 2)]
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "table.csv").write_text("path,label\n" + "".join(rows))
    dataset = read_dataset(tmp_path / "near" / "table.csv", group_pattern=rf"^{tmp_path}/far/(s\d)/x")
    assert [clip.group for clip in dataset.clips] == ["s1", "s2"]


def test_sound_that_is_not_read_is_told(tmp_path: Path) -> None:
    files(tmp_path, "a/1.wav", "b/2.wav", "c/3.sph", "c/4.SPH", "c/.5.sph", "d.zip", "a/notes.txt")
    left_out = {failure.path.name: failure.reason for failure in read_dataset(tmp_path).failures}
    assert left_out == {
        "3.sph": ".sph is not read; convert it to wav or flac",
        "4.SPH": ".sph is not read; convert it to wav or flac",
        "d.zip": "an archive among the recordings; unpack it",
    }
    files(tmp_path / "only", "c/3.sph")
    with pytest.raises(DataError, match=r"no recordings in .*left out: .*3\.sph, \.sph is not read"):
        read_dataset(tmp_path / "only")


def test_sound_that_is_not_read_is_told_of_archives_too(tmp_path: Path) -> None:
    packed = tmp_path / "data.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("a/1.wav", "b/2.wav", "c/3.sph", "c/more.rar", "notes.txt", ".x.sph"):
            archive.writestr(name, b"x")
    for _ in range(2):  # unpacked, and found unpacked
        assert [tuple(failure) for failure in read_dataset(packed).failures] == [
            (packed / "c" / "3.sph", ".sph is not read; convert it to wav or flac"),
            (packed / "c" / "more.rar", "an archive among the recordings; unpack it"),
        ]
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("deep/inner.zip", b"x")
    with pytest.raises(DataError, match=r"no recordings in .*data\.zip; left out: deep/inner\.zip, an archive among"):
        read_dataset(packed)


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """os.scandir refuses: the tests may run as root, whom permissions do not stop."""
    files(tmp_path, "a/1.wav", "b/2.wav", "c/3.wav")
    real = os.scandir
    closed = {str(tmp_path / "c")}

    def scandir(path: str) -> object:
        if str(path) in closed:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    (failure,) = read_dataset(tmp_path).failures
    assert (failure.path, failure.reason) == (tmp_path / "c", "a folder that can't be read (Permission denied)")
    closed.add(str(tmp_path))
    with pytest.raises(DataError, match=r"can't read .* \(Permission denied\); fix its permissions"):
        read_dataset(tmp_path)


def test_an_empty_place_is_refused() -> None:
    with pytest.raises(DataError, match="the place of the data is empty"):
        read_dataset("")


def test_a_place_that_the_machine_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"can't read x+: File name too long; fix this, or use another path"):
        read_dataset("x" * 5000)

    def refused(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refused)
    with pytest.raises(DataError, match=r"can't read .*closed: Permission denied; fix this"):
        read_dataset(tmp_path / "closed")


def test_a_group_pattern_sees_the_path_below_a_place_that_was_named_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, "near/s1/x.wav", "near/s2/x.wav", "far/s3.wav")
    paths = [tmp_path / "near/s1/x.wav", tmp_path / "near/s2/x.wav", tmp_path / "far/s3.wav"]
    (tmp_path / "near" / "t.csv").write_text("path,label\n" + "".join(f"{p},{n}\n" for n, p in enumerate(paths)))
    monkeypatch.chdir(tmp_path)
    dataset = read_dataset("near/t.csv", group_pattern=rf"^(?:{tmp_path}/far/)?(s\d)[./]")
    assert {clip.group for clip in dataset.clips} == {"s1", "s2", "s3"}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer of the process")
def test_a_group_pattern_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pattern, "_TIMEOUT_S", 0.2)
    files(tmp_path, f"a/{'a' * 60}.wav", "b/b.wav")
    before = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(SettingsError, match=r"\(\(a\|aa\)\+\)\+X' took longer than 0 s; if it has a repetition within"):
        read_dataset(tmp_path, group_pattern="((a|aa)+)+X")
    assert (signal.getsignal(signal.SIGVTALRM), signal.getitimer(signal.ITIMER_VIRTUAL)) == (before, (0.0, 0.0))
