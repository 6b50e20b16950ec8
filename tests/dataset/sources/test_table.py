import gc
import json
import os
import zipfile
from pathlib import Path

import pytest

from earsight.dataset.clip import NO_TAGS
from earsight.dataset.sources import read_dataset
from earsight.dataset.split import split
from earsight.errors import DataError
from tests.conftest import lay


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return lay(tmp_path, "a.wav", "b.wav", "deep/c.wav", "deep/d.wav")


def table(root: Path, text: str, name: str = "data.csv") -> Path:
    (root / name).write_text(text, encoding="utf-8")
    return root / name


FULL = [
    {"path": "a.wav", "label": "dog", "group": "anna", "fold": "1"},
    {"path": "b.wav", "label": "cat", "group": "bert", "fold": "2"},
    {"path": "deep/c.wav", "label": "dog", "group": "cleo", "fold": "1"},
]


def write(root: Path, ending: str) -> Path:
    path = root / f"data.{ending}"
    if ending in {"jsonl", "ndjson"}:
        path.write_text("".join(json.dumps(row) + "\n" for row in FULL))
    elif ending == "parquet":
        arrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(arrow.Table.from_pylist(FULL), path)
    else:
        sign = "\t" if ending == "tsv" else ","
        rows = [list(FULL[0]), *(list(row.values()) for row in FULL)]
        path.write_text("".join(sign.join(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "ndjson", "parquet"])
def test_every_format_gives_the_same_clips(root: Path, ending: str) -> None:
    dataset = read_dataset(write(root, ending))
    assert (dataset.source, dataset.labels, dataset.files, dataset.group_name) == ("table", ("cat", "dog"), 3, "group")
    assert [(clip.path, clip.label, clip.group, clip.fold) for clip in dataset.clips] == [
        (root / row["path"], row["label"], row["group"], row["fold"]) for row in FULL
    ]
    assert all(clip.tags is NO_TAGS for clip in dataset.clips)
    assert gc.isenabled()


def test_column_names_in_any_case_and_order_and_further_ones_become_tags(root: Path) -> None:
    path = table(root, "Label,City,PATH,Speaker\ndog,Paris,a.wav,x\ncat,,b.wav,y\n")
    dataset = read_dataset(path)
    assert dataset.group_name == "speaker"
    assert [(clip.label, clip.group, clip.tags) for clip in dataset.clips] == [
        ("dog", "x", {"city": "Paris"}),
        ("cat", "y", {"city": ""}),
    ]


def test_a_byte_order_mark_quotes_and_absolute_paths(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = lay(tmp_path_factory.mktemp("elsewhere"), "x,y.wav")
    (root / "data.csv").write_bytes(
        b"\xef\xbb\xbfpath,label\r\n" + f'"{elsewhere}/x,y.wav",dog\r\n./deep/../a.wav,cat\r\n'.encode()
    )
    dataset = read_dataset(root / "data.csv")
    assert {clip.path for clip in dataset.clips} == {elsewhere / "x,y.wav", root / "a.wav"}


def test_windows_separators(root: Path) -> None:
    dataset = read_dataset(table(root, "path,label\ndeep\\c.wav,dog\n.\\deep\\d.wav,cat\n"))
    assert [clip.path for clip in dataset.clips] == [root / "deep/c.wav", root / "deep/d.wav"]


@pytest.mark.skipif(os.name == "nt", reason="there a backslash always separates")
def test_a_backslash_in_the_name_of_a_file_that_exists_stays(root: Path) -> None:
    lay(root, "x\\y.wav", "deep/x\\y.wav")
    dataset = read_dataset(table(root, "path,label\nx\\y.wav,dog\ndeep/x\\y.wav,cat\n"))
    assert {clip.path for clip in dataset.clips} == {root / "x\\y.wav", root / "deep" / "x\\y.wav"}


def test_two_dots_that_begin_a_name_do_not_climb_out(root: Path) -> None:
    lay(root, "..a.wav")
    dataset = read_dataset(table(root, "path,label\n..a.wav,dog\na.wav,cat\n"))
    assert {clip.path.name for clip in dataset.clips} == {"..a.wav", "a.wav"}


def test_spans_of_one_file_share_a_group_unless_there_is_a_column(root: Path) -> None:
    rows = "a.wav,dog,0,1.5\na.wav,cat,1.5,\nb.wav,cat,,\n"
    dataset = read_dataset(table(root, "path,label,start,end\n" + rows))
    assert [(clip.start_s, clip.end_s) for clip in dataset.clips] == [(0.0, 1.5), (1.5, None), (None, None)]
    assert dataset.group_name == "recording"
    assert [clip.group for clip in dataset.clips] == [str(root / "a.wav")] * 2 + [str(root / "b.wav")]
    named = read_dataset(table(root, "path,label,start,end,group\na.wav,dog,0,1,x\na.wav,cat,1,2,y\n"))
    assert [clip.group for clip in named.clips] == ["x", "y"]


def test_a_row_may_have_no_label_where_the_table_tells_that_it_is_meant(root: Path) -> None:
    for empty, other in (("", "dog;cat"), (";", "dog")):
        dataset = read_dataset(table(root, f"path,label\na.wav,{other}\nb.wav,{empty}\n"))
        assert [clip.labels for clip in dataset.clips] == [tuple(other.split(";")), ()]
        assert dataset.multilabel
    listed = '{"path": "a.wav", "label": ["dog"]}\n{"path": "b.wav", "label": []}\n'
    assert [clip.labels for clip in read_dataset(table(root, listed, "d.jsonl")).clips] == [("dog",), ()]
    with pytest.raises(DataError, match="no label in row 3"):
        read_dataset(table(root, "path,label\na.wav,dog\nb.wav,\n"))


def test_columns_that_are_not_there_leave_what_they_would_tell_unknown(root: Path) -> None:
    bare = read_dataset(table(root, "path,label\na.wav,dog\nb.wav,cat\n"))
    assert [(clip.path.name, clip.label) for clip in bare.clips] == [("a.wav", "dog"), ("b.wav", "cat")]
    assert [tuple(clip[2:]) for clip in bare.clips] == [("", "", None, None, {}, ())] * 2
    assert (bare.group_name, bare.groups, bare.folds, bare.split) == ("group", (), (), "")
    for first, told in (
        ("start", ("", "", 0.05, None)),
        ("end", ("", "", None, 0.05)),
        ("group", ("0.05", "", None, None)),
        ("fold", ("", "0.05", None, None)),
    ):
        rows = f"{first},label,path\n0.05,dog,a.wav\n{'7' if first == 'fold' else ''},cat,b.wav\n"
        one, _ = read_dataset(table(root, rows)).clips
        assert (one.group, one.fold, one.start_s, one.end_s) == told


@pytest.mark.skipif(os.name == "nt", reason="a drive there")
def test_a_colon_in_a_name_is_no_drive(root: Path) -> None:
    (root / "b.wav").rename(root / "b:1.wav")
    read = read_dataset(table(root, "path,label\na.wav,dog\nb:1.wav,cat\n"))
    assert [clip.path for clip in read.clips] == [root / "a.wav", root / "b:1.wav"]


def test_several_labels(root: Path) -> None:
    dataset = read_dataset(table(root, "path,label\na.wav,dog; cat\nb.wav,rain\n"))
    assert [(clip.label, clip.more_labels) for clip in dataset.clips] == [("dog", ("cat",)), ("rain", ())]
    assert dataset.labels == ("cat", "dog", "rain")


def test_numbers_become_text(root: Path) -> None:
    path = table(
        root, '{"path": "a.wav", "label": 3.0, "fold": 1}\n{"path": "b.wav", "label": 4, "fold": 2}\n', "d.jsonl"
    )
    dataset = read_dataset(path)
    assert [(clip.label, clip.fold) for clip in dataset.clips] == [("3", "1"), ("4", "2")]


def test_words_for_parts_are_understood_and_split_by_default(root: Path) -> None:
    rows = "a.wav,dog,Training\nb.wav,dog,val\ndeep/c.wav,dog,test\ndeep/d.wav,cat,train\n"
    dataset = read_dataset(table(root, "path,label,fold\n" + rows))
    assert {clip.path.name: clip.fold for clip in dataset.clips} == {
        "a.wav": "train",
        "b.wav": "valid",
        "c.wav": "test",
        "d.wav": "train",
    }
    parts = split(dataset.clips, "auto")
    assert (parts.kind, len(parts.train), len(parts.valid), len(parts.test)) == ("fold", 2, 1, 1)


def test_every_bad_row_is_in_one_error(root: Path) -> None:
    bad = (
        "path,label,start,end,fold\n"
        "a.wav,,0,1,1\n"  # 2
        ",dog,0,1,1\n"  # 3
        "../x.wav,dog,0,1,1\n"  # 4
        "deep/../../y.wav,dog,0,1,1\n"  # 5
        "b.wav,dog,two,3,1\n"  # 6
        "b.wav,dog,3,2,1\n"  # 7
        "b.wav,dog,-1,2,1\n"  # 8
        "a.wav,dog,1,2\n"  # 9
        "gone.wav,dog,0,1,1\n"  # 10
        "deep/c.wav,dog,0,1,1\n"
        "deep/c.wav,cat,0,1,1\n"  # 12
        "deep/d.wav,dog,0,1,\n"  # 13
    )
    with pytest.raises(DataError) as caught:
        read_dataset(table(root, bad))
    text = str(caught.value)
    assert text.startswith(f"11 problems in {root / 'data.csv'}: ")
    for part in (
        "no label in row 2",
        "no path in row 3",
        f"no such file: gone.wav, {root.parent / 'x.wav'}, {root.parent / 'y.wav'}",
        "start or end that is not a number of seconds in row 6 (two)",
        "in row 7 (3.0 to 2.0), 8 (-1.0 to 2.0)",
        "another number of cells than 5 in row 9",
        f"the same clip twice, with contradicting labels: {root / 'deep/c.wav'} [0–1 s] as dog and as cat",
        f"no fold, although other clips have one: {root / 'deep/d.wav'} [0–1 s]",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("a.wav,dog,0,1\na.wav,cat,0,2\na.wav,dog,0,1\n", "the same clip twice: {root}/a.wav [0–1 s]"),
        (
            "a.wav,dog,,1\na.wav,cat,0,1\n",
            "the same clip twice, with contradicting labels: {root}/a.wav [0–1 s] as dog and as cat",
        ),
        ("deep/./c.wav,dog,,\ndeep//c.wav,dog,,\na.wav,cat,,\n", "the same clip twice: {root}/deep/c.wav"),
    ],
)
def test_a_span_is_found_again_behind_others_and_in_other_spellings(root: Path, rows: str, told: str) -> None:
    with pytest.raises(DataError) as caught:
        read_dataset(table(root, "path,label,start,end\n" + rows))
    assert str(caught.value) == f"1 problem in {root / 'data.csv'}: " + told.format(root=root)


def test_spans_that_only_begin_together_are_sorted_by_their_ends(root: Path) -> None:
    dataset = read_dataset(table(root, "path,label,start,end\na.wav,dog,,\na.wav,cat,0,2\na.wav,cow,0,1\n"))
    assert [(clip.label, clip.end_s) for clip in dataset.clips] == [("cow", 1.0), ("cat", 2.0), ("dog", None)]


def test_a_folder_is_no_file(root: Path) -> None:
    with pytest.raises(DataError, match=r"1 problem in .*no such file: deep$"):
        read_dataset(table(root, "path,label\na.wav,dog\ndeep,cat\n"))


def test_folders_and_files_in_turn_are_listed_once_each(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for n in range(5) for name in (f"{n}.wav", f"{n}/x.wav", f"{n}/y/z.wav")]
    lay(root, *names)
    listed: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: (listed.append(folder), scandir(folder))[1])
    dataset = read_dataset(table(root, "path,label\n" + "".join(f"{name},{name[0]}\n" for name in names)))
    assert len(dataset.clips) == 15
    assert sorted(listed) == sorted([f"{root}/", *(f"{root}/{n}/{y}" for n in range(5) for y in ("", "y/"))])


def test_columns_of_some_lines_only_are_empty_in_the_others(root: Path) -> None:
    lines = '{"path": "a.wav", "label": "dog"}\n{"city": "Rome", "label": "cat", "path": "b.wav"}\n'
    dataset = read_dataset(table(root, lines, "d.jsonl"))
    assert [(clip.label, clip.tags) for clip in dataset.clips] == [("dog", {"city": ""}), ("cat", {"city": "Rome"})]


def test_a_zero_byte_written_in_json_is_no_crash(root: Path) -> None:
    lines = '{"path": "x\\u0000/a.wav", "label": "dog"}\n{"path": "a.wav", "label": "cat"}\n'
    with pytest.raises(DataError, match=r"1 problem in .*no such file: x\x00/a\.wav"):
        read_dataset(table(root, lines, "d.jsonl"))


def test_the_first_byte_that_is_not_utf_8_is_named(root: Path) -> None:
    (root / "d.csv").write_bytes(b"path,label\n" + b"a.wav,x\n" * 2000 + b"b.wav,b\xe4r\n")
    with pytest.raises(DataError, match=r"is not UTF-8 \(line 2002, byte 16018: .*save it as UTF-8"):
        read_dataset(root / "d.csv")


def test_a_parquet_file_that_breaks_off_inside_its_rows_says_so(root: Path) -> None:
    path = write(root, "parquet")
    data = bytearray(path.read_bytes())
    data[4:60] = b"\xff" * 56
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"can't read .*data\.parquet as Parquet after row 0: "):
        read_dataset(path)


def test_a_line_of_columns_may_be_too_long_but_not_crash(root: Path) -> None:
    with pytest.raises(DataError, match="line 1: field larger than field limit"):
        read_dataset(table(root, "path,label," + "x" * 200_000 + "\na.wav,dog,y\n"))


def test_the_first_ten_of_many_and_how_many_there_are(root: Path) -> None:
    rows = "".join(f"no{n:03}.wav,dog\n" for n in range(812))
    with pytest.raises(DataError, match=r"812 problems .*no such file: no000\.wav, .*no009\.wav … \(10 of 812\)"):
        read_dataset(table(root, "path,label\n" + rows))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.csv", b"file,label\na.wav,dog\n", r"no column 'path' in .*d\.csv; its columns: file, label"),
        ("d.csv", b"path,labels\na.wav,dog\n", "no column 'label' .*is it 'labels'"),
        ("d.csv", b"path,label,path\n", "has the column 'path' twice"),
        ("d.csv", b"path,label,group,speaker\n", "columns group and speaker, but only one can be the group"),
        ("d.csv", b"", "is empty; a table has a first line"),
        ("d.csv", b"path,label\n", "no rows in .*it has the columns path, label"),
        ("d.csv", b"path;label\na.wav;dog\n", "has semicolons between its columns, but commas are expected"),
        ("d.tsv", b"path,label\na.wav,dog\n", "has commas between its columns, but tabs are expected"),
        ("d.csv", "path,label\na.wav,bär\n".encode("latin-1"), "is not UTF-8 .*save it as UTF-8"),
        ("d.csv", "path,label\na.wav,dog\n".encode("utf-16"), "is not UTF-8"),
        ("d.csv", b"path,label\na.wav,d\0g\n", "line 2: a zero byte"),
        ("d.jsonl", b"{'path': 1}\n", "line 1 is not JSON"),
        ("d.jsonl", b"\n[1, 2]\n", "line 2 is not an object"),
        ("d.jsonl", b"", "is empty; each line must be"),
        ("d.parquet", b"PAR1 no", "can't read .* as Parquet"),
    ],
)
def test_what_is_no_table_says_why(root: Path, name: str, content: bytes, message: str) -> None:
    (root / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_dataset(root / name)


def test_a_table_beside_where_one_works(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    dataset = read_dataset(table(Path(), "path,label\na.wav,dog\ndeep/c.wav,cat\n"))
    assert [str(clip.path) for clip in dataset.clips] == ["a.wav", "deep/c.wav"]
    with pytest.raises(DataError, match=r"no such file: gone\.wav"):
        read_dataset(table(Path(), "path,label\ngone.wav,dog\ndeep/c.wav,cat\n"))


def test_a_table_in_an_archive_is_read(tmp_path: Path) -> None:
    recordings = {f"set/{label}/{n}.wav": b"" for label in "ab" for n in range(2)}
    rows = "".join(f"{name.removeprefix('set/')},L{n}\n" for n, name in enumerate(recordings))
    packed = tmp_path / "set.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in {**recordings, "set/table.csv": b"path,label\n" + rows.encode()}.items():
            archive.writestr(name, content or b"x")
    dataset = read_dataset(packed)
    assert (dataset.source, dataset.labels, dataset.place) == ("table", ("L0", "L1", "L2", "L3"), packed)
    assert read_dataset(packed, source="folder").labels == ("a", "b")
    folder = dataset.clips[0].path.parents[1]
    for place in (folder, folder.parent):
        for source in (None, "table"):
            found = read_dataset(place, source=source, group_pattern=r"(?:^set/|^)([ab])/\d")
            assert (found.source, found.labels, found.groups) == ("table", ("L0", "L1", "L2", "L3"), ("a", "b"))
    assert read_dataset(folder, source="folder").labels == ("a", "b")
    (folder / "notes.csv").write_text("name,size\n")
    assert read_dataset(folder).source == "table"
    (folder / "table.csv").write_text("path;label\na/0.wav;x\n")
    with pytest.raises(DataError, match="semicolons between its columns"):
        read_dataset(folder)
    (folder / "table.csv").unlink()
    assert read_dataset(folder).labels == ("a", "b")
    with pytest.raises(DataError, match=r"no column 'path' in .*notes"):
        read_dataset(folder, source="table")
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("set/other.csv", "path,label\na/0.wav,x\n")
        archive.writestr("set/notes.csv", "name,size\n")
    with pytest.raises(DataError, match=r"2 tables in .*set\.zip: other\.csv, table\.csv; give one of them"):
        read_dataset(packed)
    with pytest.raises(DataError, match=r"no table at the top of .*; its name must end in"):
        read_dataset(folder / "a", source="table")


def test_files_are_counted_and_not_spans(tmp_path: Path) -> None:
    for name in ("x.wav", "y.wav"):
        (tmp_path / name).touch()
    (tmp_path / "t.csv").write_text("path,label,start,end\nx.wav,a,0,1\nx.wav,b,1,2\ny.wav,a,0,1\n")
    dataset = read_dataset(tmp_path / "t.csv")
    assert (dataset.files, len(dataset.clips)) == (2, 3)


def test_bytes_and_lists_in_parquet_and_json(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for name in ("x.wav", "y.wav"):
        (tmp_path / name).touch()
    columns = {"path": [b"x.wav", b"y.wav"], "label": [b"a", "ä".encode()]}
    parquet.write_table(arrow.table(columns), tmp_path / "t.parquet")
    assert [clip.label for clip in read_dataset(tmp_path / "t.parquet").clips] == ["a", "ä"]
    parquet.write_table(arrow.table({**columns, "label": [b"a", b"\xff"]}), tmp_path / "bad.parquet")
    with pytest.raises(DataError, match=r"1 problem in .*bad\.parquet: bytes that are not UTF-8 in row 2 \(label\)$"):
        read_dataset(tmp_path / "bad.parquet")
    parquet.write_table(arrow.table({**columns, "label": [["a", "b;c"], ["a"]]}), tmp_path / "t.parquet")
    assert [(clip.label, clip.more_labels) for clip in read_dataset(tmp_path / "t.parquet").clips] == [
        ("a", ("b;c",)),
        ("a", ()),
    ]
    (tmp_path / "t.jsonl").write_text('{"path": "x.wav", "label": ["a", "b"]}\n{"path": "y.wav", "label": "a"}\n')
    first, second = read_dataset(tmp_path / "t.jsonl").clips
    assert (first.label, first.more_labels, second.label) == ("a", ("b",), "a")
    rows = (
        '{"path": "x.wav", "label": [1]}\n{"path": ["x.wav"], "label": "a"}\n'
        '{"path": "x.wav", "label": {"a": 1}}\n{"path": "x.wav", "label": [""]}\n'
        '{"path": "x.wav", "label": ["a", "a"]}\n'
    )
    (tmp_path / "t.jsonl").write_text(rows)
    with pytest.raises(DataError) as caught:
        read_dataset(tmp_path / "t.jsonl")
    assert str(caught.value) == (
        f"5 problems in {tmp_path / 't.jsonl'}: a list or an object instead of a single value in row 1 (label), "
        "2 (path), 3 (label); no label, or the same label twice, in row 4, 5"
    )


def test_a_name_twice_in_a_line_of_json_is_refused(tmp_path: Path) -> None:
    lay(tmp_path, "x.wav")
    (tmp_path / "t.jsonl").write_text('\n{"path": "x.wav", "label": "a", "label": "b"}\n')
    with pytest.raises(DataError, match=r"t\.jsonl, line 2: it has 'label' twice; leave one$"):
        read_dataset(tmp_path / "t.jsonl")


def test_parts_in_capitals_are_parts(root: Path) -> None:
    dataset = read_dataset(table(root, "path,label,fold\na.wav,dog,TRAIN\nb.wav,dog,Eval\ndeep/c.wav,cat,Unused\n"))
    assert [clip.fold for clip in dataset.clips] == ["train", "test", "Unused"]


def test_recordings_may_lie_beside_the_tables_folder(root: Path) -> None:
    (root / "tables").mkdir()
    (root / "tables" / "c.wav").touch()
    dataset = read_dataset(table(root / "tables", "path,label\n../a.wav,dog\n../deep/../b.wav,cat\n"))
    assert [clip.path for clip in dataset.clips] == [root / "a.wav", root / "b.wav"]
    (root / "link").symlink_to(root / "deep", target_is_directory=True)  # from whose folder .. leads on
    (root / "deep" / "beside.csv").write_text("path,label\n../a.wav,dog\n../b.wav,cat\n")
    linked = read_dataset(root / "link" / "beside.csv")
    assert [clip.path for clip in linked.clips] == [root.resolve() / "a.wav", root.resolve() / "b.wav"]
    (root / "tables" / "data.csv").write_text(f"path,label\n{root}/a.wav,dog\nc.wav,cat\n")
    assert len(read_dataset(root / "tables" / "data.csv").clips) == 2
    with pytest.raises(
        DataError, match=r"a path outside the folder \(allowed if you name the table itself\) in row 2 \(/"
    ):
        read_dataset(root / "tables")  # as one that came in an archive would read what it likes
    (root / "tables" / "data.csv").write_text("path,label\n../a.wav,dog\n../deep/../b.wav,cat\n")
    with pytest.raises(
        DataError, match=r"outside the folder \(allowed if you name the table itself\) in row 2 \(\.\./a"
    ):
        read_dataset(root / "tables")


def test_a_forgotten_end_is_seen_where_it_would_hold_other_spans(root: Path) -> None:
    rows = "a.wav,dog,0,1\na.wav,cat,1,{}\na.wav,dog,2,3\nb.wav,cat,{},4\nb.wav,dog,2,3\n"
    assert len(read_dataset(table(root, "path,label,start,end\n" + rows.format(2, 1))).clips) == 5
    with pytest.raises(DataError) as caught:
        read_dataset(table(root, "path,label,start,end\n" + rows.format("", "")))
    told = "so that the span would contain other spans of the recording:"
    assert f"no end, {told} {root}/a.wav [1– s]; no start, {told} {root}/b.wav [0–4 s]" in str(caught.value)
    for together in ("a.wav,dog,0,2\na.wav,cat,,5\n", "a.wav,dog,5,6\na.wav,cat,5,\n", "a.wav,dog,1,2\na.wav,cat,,5\n"):
        with pytest.raises(DataError, match="would contain other spans of the recording"):
            read_dataset(table(root, "path,label,start,end\n" + together))
    last = read_dataset(table(root, "path,label,start,end\na.wav,dog,,1\na.wav,cat,1,\n"))
    assert [(clip.start_s, clip.end_s) for clip in last.clips] == [(None, 1.0), (1.0, None)]
