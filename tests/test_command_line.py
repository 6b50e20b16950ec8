"""The command as a user runs it: a process, its output, its exit code."""

import functools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from earsight.dataset.split import KINDS
from tests.conftest import called, tone

TINY = ["--model", "test_efficientnet", "--no-pretrained", "--epochs", "1", "--audio.crop-s", "0.5", "--threads", "1"]


def earsight(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "earsight", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, "COLUMNS": "200"})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    for label, hz in (("low", 300.0), ("high", 3000.0)):
        for number in range(6):
            path = folder / "data" / label / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, tone(hz + 10 * number, 0.5), 16000)
    done = called("train", folder / "data", "--out", folder / "run", *TINY)
    assert done.returncode == 0, done.stderr
    assert "12 clips from 12 files, 2 classes (8 train / 2 valid / 2 test)" in done.stderr
    assert "epoch   1/1" in done.stderr
    assert f"report: {folder / 'run' / 'report.html'}" in done.stdout
    return folder


def test_predict_writes_json_lines_when_piped_and_goes_on_after_a_bad_file(run: Path) -> None:
    bad = run / "bad.wav"
    bad.write_text("no sound")
    done = earsight("predict", run / "run", run / "data" / "low" / "0.wav", bad, run / "data" / "high")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["0.wav", "bad.wav", *(f"{n}.wav" for n in range(6))]
    assert rows[1]["label"] is None
    assert "not readable as sound" in rows[1]["error"]
    assert all(sum(row["probabilities"].values()) == pytest.approx(1) for row in rows if row["label"])
    assert all(list(row["probabilities"]) == ["high", "low"] for row in rows if row["label"])
    assert done.returncode == 2
    assert "earsight: 1 recording could not be read completely; the first: not readable as sound" in done.stderr


def test_json_is_json_in_a_file_of_any_name_but_that_of_another_format(run: Path, tmp_path: Path) -> None:
    path = run / "data" / "low" / "0.wav"
    done = called("predict", run / "run", path, "--json", "--out", tmp_path / "answers.log")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "answers.log").read_text())["path"] == str(path)
    refused = called("predict", run / "run", path, "--json", "--out", "answers.CSV", cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--json writes JSON Lines, but --out answers.CSV ends in .csv; drop --json, or rename it" in refused.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["answers.log"]


def test_bench_refuses_a_batch_size_where_it_looks_for_one() -> None:
    done = called("bench", "--find-batch-size", "--batch-size", "8")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "leave out --batch-size" in done.stderr


def test_evaluate_prints_a_table_or_json(run: Path) -> None:
    table = called("evaluate", run / "run")
    assert table.returncode == 0
    assert "accuracy" in table.stdout
    assert "support" in table.stdout
    values = json.loads(called("evaluate", run / "run", run / "data", "--leaks", "allow", "--json").stdout)
    assert values["clips"] == 12
    assert [row["support"] for row in values["per_class"]] == [6, 6]
    assert values["caveat"] == "with leaks"
    refused = called("evaluate", run / "run", run / "data")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "identical audio" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "absent"], "no such data: absent"),
        (["train", "{data}", "--model", "efficientnet_bo"], "did you mean"),
        (["train", "{data}", "--weights", "absent.pth"], "no weights file: absent.pth"),
        (["train", "{data}", "--weights", __file__, "--no-pretrained"], "contradicts --no-pretrained; pass only one"),
        (["train", "{data}", "--threads", "1.5"], 'Invalid value for --threads: "1.5" is not a whole number'),
        (["crossval", "{data}", "--folds", "loso", "--seeds", "1e3"], 'for --seeds: "1e3" is not a whole number'),
        (["train", "{data}", "--recipe", "articel"], "did you mean article"),
        (["train", "{data}", "--mel.n-mel", "64"], "--mel.n-mels"),
        (["train", "{data}", "--mel.n-mels", "1"], "setting mel.n_mels: input should be greater than or equal to 4"),
        (["train", "{data}", "--split", "luna"], "unknown split 'luna'"),
        (["train", "{data}", "--split", "luna5:0"], "made of RAVDESS's actors"),
        (["train", "{data}", "--out", "{run}"], "is not empty"),
        (["train", "{data}", "--resume"], "pass --out RUN"),
        (["trian", "{data}"], 'Did you mean "train"'),
        (["predict", "absent", "x.wav"], "no such run folder"),
        (["predict", "{data}", "{data}"], "no model.json in"),
        (["evaluate", "absent"], "no such run folder"),
        (["evaluate", "{run}/clips.csv"], "clips.csv is a file, but a run folder is needed"),
        (["explain", "{run}/clips.csv", "x.wav"], "clips.csv is a file, but a run folder is needed"),
        (["push", "{run}/clips.csv", "user/name", "--out", "p"], "clips.csv is a file, but a run folder is needed"),
        (["evaluate", "{run}", "absent"], "no such data"),
        (["demo", "--out", "{data}"], "contains something other than an earlier demo"),
        (["train", "{data}", "--source", "ravdes"], "did you mean ravdess?"),
        (["train", "{data}", "--group-pattern", "("], "not a regular expression"),
        (["train", "{data}", "--leaks", "ignore"], "--leaks"),
        (["data", "inspect", "absent"], "no such data: absent"),
        (["data", "inspect", "/dev/null"], "not a folder, an archive or a table"),
        (["data", "inspect", "{data}", "--html", "{data}"], "it is a folder; name a file"),
        (["data", "split", "{data}", "--out", "absent/x.csv"], "there is no folder absent"),
        (["data", "get", "ravdes"], "did you mean ravdess?"),
        (["data", "get", "savee"], "can't be downloaded by a program"),
        (["data", "split", "{data}", "--split", "loso:7"], "made of groups; not in this data: 7"),
        (["data", "inspct", "x"], "inspect"),
        (["data", "inspect", "{data}", "--short-s", "nan"], "0 or more, got nan"),
        (["data", "inspect", "{data}", "--html", "{run}/report.html"], "is there already; name another file, or pass"),
        (["data", "inspect", "{data}", "--html", "/dev/full"], "it is a device or pipe"),
        (["data", "inspect", "{data}", "--html", "x" * 300], "File name too long; name another"),
        (["data", "inspect", "x" * 300], "File name too long; fix this, or use another path"),
        (["data", "split", "{data}", "--out", "split.txt"], "must end in .csv"),
        (["data", "split", "{run}/clips.csv", "--out", "{run}/clips.csv", "--overwrite"], "it is a file of the data"),
        (["data", "split", "{data}", "--split", "loso:7", "--out", "split.csv"], "not in this data: 7"),
        (["data", "cache", "--downloads"], "pass both"),
        (["train", "\x1b[31m\udce9"], "no such data: \\x1b[31m\\xe9"),
    ],
)
def test_refusals_are_one_line_and_exit_code_2(run: Path, arguments: list[str], message: str) -> None:
    # Bytes that are no text come from outside alone.
    real = arguments == ["train", "absent"] or "\udce9" in arguments[-1]
    done = (earsight if real else called)(*(a.format(data=run / "data", run=run / "run") for a in arguments), cwd=run)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("earsight: ")
    assert message in done.stderr
    assert done.stdout == ""
    assert (run / "data" / "low" / "0.wav").is_file()
    assert not [path for path in run.iterdir() if path.suffix == ".part" or path.name.startswith("split.")]


def test_every_setting_is_a_flag() -> None:
    from earsight.settings import setting_names
    from earsight.tasks.recipe import Recipe

    text = earsight("train", "--help").stdout
    assert [name for name in setting_names(Recipe) if f"--{name.replace('_', '-')}" not in text] == []


def test_every_split_stands_in_the_help() -> None:
    text = " ".join(called("train", "--help").stdout.split())
    assert [kind for kind in KINDS.split(", ") if kind not in text] == []


def test_the_lines_of_the_help_are_broken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = called("crossval", "--help").stdout
    whole = "What to do if two parts of the split share a speaker, a recording or a copied file. refuse: stop before"
    assert whole in " ".join(text.split())
    flags = text.partition("Parameters:\n")[2].splitlines()
    first = next(n for n, line in enumerate(flags) if line.startswith("  --leaks"))
    assert all(60 < len(line) <= 80 for line in flags[first : first + 2])
    assert all(line.startswith(("  --", "      ")) for line in flags if line and not line.endswith(":"))


def test_version() -> None:
    import earsight as es

    assert earsight("--version").stdout.strip() == es.__version__


def test_a_test_speakers_file_under_a_training_speakers_name_is_refused(ravdess: Path, tmp_path: Path) -> None:
    copy = tmp_path / "ravdess"
    for path in ravdess.rglob("*-01-??.flac"):  # what was said for the first time
        link = copy / path.parent.name / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    heard, stolen = "03-01-05-01-01-01-01.flac", "03-01-05-02-02-01-14.flac"  # luna5:0 tests on actor 14
    (copy / "Actor_01" / heard).unlink()
    (copy / "Actor_01" / heard).symlink_to(ravdess / "Actor_14" / stolen)
    quick = ("--model", "test_efficientnet", "--no-pretrained", "--epochs", "1", "--out", tmp_path / "run")
    done = called("train", copy, "--split", "luna5:0", *quick)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("earsight: 1 leak between training and scoring")
    assert f"Actor_01/{heard} (train) and " in last
    assert f"Actor_14/{stolen} (test), identical audio" in last
    assert not (tmp_path / "run").exists()


def test_data_inspect_prints_text_or_json(run: Path) -> None:
    text = called("data", "inspect", run / "data")
    assert (text.returncode, text.stderr) == (0, "")
    assert "12 clips from 12 files · 2 classes · no groups known" in text.stdout
    page = run / "page.html"
    values = json.loads(called("data", "inspect", run / "data", "--json", "--html", page).stdout)
    assert values["classes"] == {"high": 6, "low": 6}
    assert page.read_text().startswith("<!doctype html>")


def test_a_split_that_is_shown_can_be_trained_on(run: Path, tmp_path: Path) -> None:
    table = tmp_path / "split.csv"
    shown = called("data", "split", run / "data", "--split", "random:0.3", "--seed", "5", "--out", table)
    assert shown.returncode == 0, shown.stderr
    assert ["clips", "6", "2", "4"] in [line.split() for line in shown.stdout.splitlines()]
    assert "leaks between parts, by name, group or span: none" in shown.stdout
    again = called("data", "split", table, "--split", "column:part")
    assert shown.stdout.split("\n\n")[1] == again.stdout.split("\n\n")[1]


def test_a_table_or_page_is_replaced_only_when_asked_and_never_a_file_of_the_data(run: Path, tmp_path: Path) -> None:
    table, page = tmp_path / "split.csv", tmp_path / "page.html"
    for path in (table, page):
        path.write_text("mine")
    asked = ("data", "split", run / "data", "--out", table)
    refused = called(*asked)
    assert (refused.returncode, refused.stdout, table.read_text()) == (2, "", "mine")
    assert called(*asked, "--overwrite").returncode == 0
    assert table.read_text().startswith("part,path,label,")
    again = called("data", "split", table, "--split", "column:part", "--out", table, "--overwrite")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert called("data", "inspect", run / "data", "--html", page).returncode == 2
    assert page.read_text() == "mine"
    assert called("data", "inspect", run / "data", "--html", page, "--overwrite").returncode == 0
    assert page.read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "split.csv"]


def test_the_next_command_is_shown_where_it_works(run: Path, tmp_path: Path) -> None:
    whole = called("data", "split", run / "data", "--split", "none", "--out", tmp_path / "my whole.csv")
    assert whole.stdout.splitlines()[-1] == f"try:   earsight train '{tmp_path}/my whole.csv' --split none"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "earsight", "data", "list"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert (
        done.stderr
        == "earsight: can't read or write: No space left on device; is the disk full, or standard output closed?\n"
    )


@pytest.mark.skipif(os.name != "posix", reason="this system limits no file's size")
def test_a_disk_that_takes_no_more_names_the_file_and_leaves_nothing(run: Path, tmp_path: Path) -> None:
    import resource

    command = [sys.executable, "-m", "earsight", "data", "split", run / "data", "--out", tmp_path / "split.csv"]
    small = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (64, 64))
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=small)
    assert done.returncode == 2
    assert done.stderr == f"earsight: can't use {tmp_path}/split.csv: File too large; fix this, or use another path\n"
    assert (done.stdout, list(tmp_path.iterdir())) == ("", [])


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["data", "list"]])
def test_a_reader_that_goes_away_is_no_error(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "earsight", *arguments]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_data_list_knows_the_sources_with_their_licences() -> None:
    rows = {row["name"]: row for row in json.loads(called("data", "list", "--json").stdout)}
    assert rows["ravdess"]["licence"] == "CC BY-NC-SA 4.0"
    assert rows["ravdess"]["downloaded"] is False
    text = called("data", "list").stdout
    assert all(name in text for name in rows)


def test_the_cache_of_decoded_recordings_is_shown_and_cleared(run: Path, tmp_path: Path) -> None:
    train = ("train", run / "data", *TINY)
    first = called(*train, "--out", tmp_path / "first")
    assert "12 clips, 0.1 min, 12 decoded now" in first.stderr
    assert "12 clips, 0.1 min, 0 decoded now" in called(*train, "--out", tmp_path / "second").stderr
    assert "12 decoded now" in called(*train, "--no-store", "--out", tmp_path / "third").stderr
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second", "third")]
    assert weights[0] == weights[1] == weights[2]  # with the store and without it, bit for bit
    shown = called("data", "cache").stdout
    assert "0.2 MB of decoded recordings" in shown
    assert "removed" in called("data", "cache", "--clear").stdout
    after = called("data", "cache").stdout
    assert "store: 0.0 MB of decoded recordings" in after
    assert "downloads: 0.0 MB of downloads" in after


def test_folds_are_trained_and_two_of_them_compared(tones: Path, tmp_path: Path) -> None:
    quick = (
        "--no-pretrained",
        "--model",
        "test_efficientnet",
        "--epochs",
        "1",
        "--audio.crop-s",
        "0.4",
        "--threads",
        "1",
    )
    folds = ("--folds", "group:2", "--group-pattern", r"(\d)\.wav$", "--accelerator", "cpu")
    for name, seed in (("one", "0"), ("two", "5")):
        done = called("crossval", tones, *folds, *quick, "--out", tmp_path / name, "--seed", seed)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert re.match(rf"group:2:0  seed {seed}  accuracy [01]\.\d", lines[0])
        assert [line.split()[0] for line in lines[4:7]] == ["accuracy", "UAR", "macro-F1"]
        assert "10 groups" in lines[4]
        assert lines[-1] == f"report: {tmp_path / name / 'report.html'}"
    again = called("crossval", tones, *folds, *quick, "--out", tmp_path / "one", "--resume")
    assert ", 2 already finished" in again.stderr
    found = called("compare", tmp_path / "one", tmp_path / "two")
    assert found.stdout.startswith("24 clips scored by both, from 10 groups")
    told = json.loads(called("compare", tmp_path / "one", tmp_path / "two", "--json").stdout)
    scores = [json.loads((tmp_path / name / "metrics.json").read_text())["accuracy"]["mean"] for name in ("one", "two")]
    assert [told["scores"]["accuracy"][which] for which in "ab"] == scores
    nothing = called("compare", tmp_path / "one", tones)
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert "it has no predictions; give a run that was trained to its end" in nothing.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ("--model", "a", "--network.model", "b"),
            "--model is short for --network.model, but they have different values, a and b; pass only one of them",
        ),
        (("--in-chans", "1", "--network.in-chans", "3"), "--network.in-chans, but they have different values, 1"),
        (("--augment.time-masks", "1000000000"), "augment.time_masks"),
        (("--augment.freq-masks", "101"), "augment.freq_masks"),
    ],
)
def test_flags_that_cannot_be_meant_are_refused(run: Path, flags: tuple[str, ...], said: str) -> None:
    done = called("train", run / "data", *flags)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert said in done.stderr


def test_short_and_long_flags_that_say_the_same_are_one(run: Path, tmp_path: Path) -> None:
    done = called("train", run / "data", *TINY, "--network.model", "test_efficientnet", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr


def test_ctrl_c_while_the_program_is_loaded_is_one_line() -> None:
    """The signal comes where the command line would be found."""
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # what a shell begins in the background ignores it
        "class Interrupted:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'earsight.command_line': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from earsight.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "stopped\n")


def test_not_enough_memory_is_one_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mocked: what numpy raises."""

    def ended(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 149. GiB for an array")

    monkeypatch.setattr("earsight.tasks.training.plan.plan_training", ended)
    done = called("train", run / "data", *TINY)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "not enough memory (Unable to allocate 149. GiB for an array)" in done.stderr


def test_an_argument_that_a_shell_left_empty_is_refused() -> None:
    done = called("data", "inspect", "")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("earsight: an argument is empty")


@pytest.mark.skipif(os.name != "posix", reason="a shell of another kind")
def test_closed_streams_are_no_error_and_rows_stay_alone(home: Path) -> None:
    file = home / "tones" / "high" / "high00.wav"
    program = shlex.join([sys.executable, "-m", "earsight", "predict", str(home / "model.onnx"), str(file)])
    for closed in (">&-", "2>&-"):
        done = subprocess.run(["sh", "-c", f"{program} {closed}"], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == (
            [] if closed == ">&-" else [str(file)]
        )
