"""A run on the hub and back. The endpoint is a stand-in: a real HTTP server on the loopback with the routes that the
hub's client calls, since tests do not reach the hub itself; what the hub does beyond them (Xet, its check of the card's
front matter, its pages) is not tested here."""

import hashlib
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import earsight as es
from earsight.errors import MissingExtraError, ModelError, SettingsError
from earsight.network.hub import check_hub_name, download_model, is_hub_name, resolve_run
from earsight.tasks.export import export
from earsight.tasks.push import push
from earsight.tasks.sharing.redaction import Redactor, last_part
from tests.hub import TOKEN, Hub, Repo, stand_in
from tests.tasks.sharing.test_card import front_matter

FILES = ["README.md", "metrics.json", "model.json", "model.safetensors", "report.html"]


@pytest.fixture(scope="session")
def hub() -> Iterator[Hub]:
    with stand_in() as running:
        yield running


@pytest.fixture
def absent() -> str:
    """An endpoint that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def earsight(hub: Hub, folder: Path, *arguments: object, **changes: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, since the client reads its endpoint when it is imported."""
    environment = hub.environment(folder) | changes
    command = [sys.executable, "-m", "earsight", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=folder)


@pytest.fixture(scope="session")
def pushed(home: Path, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    given = ["push", home / "run", "me/voices", "--private", "--onnx", home / "model.onnx", "--licence", "cc-by-4.0"]
    return earsight(hub, tmp_path_factory.mktemp("hf"), *given)


@pytest.fixture(scope="module")
def written(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("written") / "model"
    assert push(home / "run", "me/voices", out=place).names == tuple(FILES)
    return place


def numbers_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return found


def test_what_is_pushed_comes_back_and_answers_the_same(
    home: Path, hub: Hub, pushed: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    assert pushed.returncode == 0, pushed.stderr
    assert f"{hub.endpoint}/me/voices: 6 files" in pushed.stdout
    repo = hub.repos["me/voices"]
    assert repo.private
    assert len(repo.commits) == 2  # the empty one, and one of all files
    assert sorted(repo.commits[-1]) == sorted([*FILES, "model.onnx"])
    hub.asked.clear()
    path = home / "tones" / "low" / "low00.wav"
    code = (
        "import earsight as es, json, sys, torch\n"
        f"torch.set_num_threads({torch.get_num_threads()})\n"  # other counts add in another order
        f"found = es.Classifier.from_pretrained('me/voices', revision={repo.sha!r}).predict(sys.argv[1])\n"
        "print(json.dumps(found.probabilities))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, env=hub.environment(tmp_path), check=True
    )
    assert json.loads(done.stdout) == es.Classifier.load(home / "run").predict(path).probabilities
    fetched = {Path(line).name for line in hub.asked if line.startswith("GET /me/voices/resolve/")}
    assert fetched == {"model.json", "model.safetensors"}
    cached = {path.name: path.read_bytes() for path in tmp_path.glob("hub/models--me--voices/snapshots/*/*")}
    assert cached["model.safetensors"] == (home / "run" / "model.safetensors").read_bytes()
    assert set(cached) == fetched


def test_the_command_line_takes_the_name_for_a_run(
    home: Path, hub: Hub, pushed: subprocess.CompletedProcess[str], absent: str, tmp_path: Path
) -> None:
    path = home / "tones" / "high" / "high03.wav"
    done = earsight(hub, tmp_path, "predict", "me/voices", path, "--out", tmp_path / "x.jsonl")
    assert done.returncode == 0, done.stderr
    (row,) = map(json.loads, (tmp_path / "x.jsonl").read_text().splitlines())
    assert row["probabilities"] == pytest.approx(es.Classifier.load(home / "run").predict(path).probabilities, abs=1e-6)
    # What was fetched once is there where the hub can no longer be reached.
    again = earsight(hub, tmp_path, "predict", "me/voices", path, "--json", HF_ENDPOINT=absent)
    assert (again.returncode, json.loads(again.stdout)["probabilities"]) == (0, row["probabilities"]), again.stderr
    scored = earsight(hub, tmp_path, "evaluate", "me/voices")
    assert (scored.returncode, scored.stderr.count("\n")) == (2, 1)
    assert "has no list of its test clips" in scored.stderr


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("me/absent", {}, "no run folder me/absent here, and no model of this name on"),
        ("me/voices", {"HF_TOKEN": ""}, "if it is private log in (hf auth login), or set HF_TOKEN"),
        ("me/voices", {"HF_TOKEN": "wrong"}, "answered 401: the token may not read me/voices"),
        ("me/gated", {}, "me/gated is gated: ask for access at"),
        ("me/empty", {}, "me/empty on the hub is not a model of earsight: it has no model.json"),
        ("me/voices", {"HF_ENDPOINT": "absent"}, "connect to the network, or name a folder here"),
        ("me/voices", {"HF_ENDPOINT": "http://hub.invalid"}, "there is no network, or HF_HUB_OFFLINE is set"),
        ("me--x/voices", {}, "no name for the hub: 'me--x/voices'"),
        ("a/b/c", {}, "no such run folder"),
    ],
)
def test_what_can_not_be_fetched_is_one_line_and_exit_code_2(
    home: Path,
    hub: Hub,
    pushed: subprocess.CompletedProcess[str],
    absent: str,
    tmp_path: Path,
    name: str,
    changes: dict[str, str],
    message: str,
) -> None:
    files = hub.repos["me/voices"].commits[-1]
    hub.repos["me/gated"] = Repo(private=False, gated=True, commits=[files])
    hub.repos["me/empty"] = Repo(private=False, commits=[{"pytorch_model.bin": b"x", "README.md": b"x"}])
    changes = {key: absent if value == "absent" else value for key, value in changes.items()}
    done = earsight(hub, tmp_path, "predict", name, home / "tones" / "low" / "low00.wav", **changes)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert message in done.stderr


def test_without_a_token_nothing_is_sent(home: Path, hub: Hub, tmp_path: Path) -> None:
    hub.asked.clear()
    done = earsight(hub, tmp_path, "push", home / "run", "me/voices", HF_TOKEN="")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert f"no token for {hub.endpoint} was found; log in (hf auth login), or set HF_TOKEN" in done.stderr
    assert not [line for line in hub.asked if line.startswith("POST")]


def test_what_can_not_be_sent_says_why(home: Path, hub: Hub, absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {key: len(repo.commits) for key, repo in hub.repos.items()}
    for token, endpoint, name, message in (
        (TOKEN, hub.endpoint, "you/voices", "answered 403: the token may not write you/voices; log in"),
        ("wrong", hub.endpoint, "me/voices", "answered 401: the token may not write me/voices; log in"),
        (TOKEN, absent, "me/voices", f"can't reach {absent} for me/voices .* connect to the network"),
    ):
        monkeypatch.setenv("HF_TOKEN", token)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        with pytest.raises(ModelError, match=message) as raised:
            push(home / "run", name)
        assert "\n" not in str(raised.value)
    assert {key: len(repo.commits) for key, repo in hub.repos.items()} == before


def test_a_folder_is_loaded_without_any_network(home: Path, written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a connection was asked for")

    for name in ("socket", "getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refused)
    path = home / "tones" / "low" / "low01.wav"
    expected = es.Classifier.load(home / "run").predict(path)
    for folder in (home / "run", written, str(written)):
        assert es.Classifier.from_pretrained(folder).predict(path) == expected
    with pytest.raises(SettingsError, match="is a folder here, which has no revision 'v1'"):
        es.Classifier.from_pretrained(written, revision="v1")


@pytest.mark.parametrize("name", ["a", "a/b/c", "a b/c", "a/", "/b", "../b", "me/voices.git", "me/a--b", "", "a/b."])
def test_names_that_the_hub_does_not_take(home: Path, tmp_path: Path, name: str) -> None:
    for refuse in (check_hub_name, download_model, es.Classifier.from_pretrained):
        if name:
            with pytest.raises(SettingsError, match=r"no name for the hub: .* give one like user/name"):
                refuse(name)
    with pytest.raises(SettingsError, match="no name for the hub"):
        push(home / "run", name, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_path_is_never_taken_for_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert is_hub_name("me/voices")
    for path in ("runs/mien", "me/model.onnx", "./me/voices", "/me/voices", "voices", "a/b/c", tmp_path / "me"):
        assert not is_hub_name(path)
        assert resolve_run(path) == Path(path)
    (tmp_path / "me").mkdir()
    assert not is_hub_name("me/voices")


def test_what_is_no_whole_run_is_not_pushed(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such run folder"):
        push(tmp_path / "absent", "me/voices", out=tmp_path / "out")
    with pytest.raises(ModelError, match=r"no model\.json in"):
        push(home / "tones", "me/voices", out=tmp_path / "out")
    shutil.copytree(home / "run", tmp_path / "run")
    (tmp_path / "run" / "metrics.json").write_text("[")
    with pytest.raises(ModelError, match=r"metrics\.json is damaged .*restore it, or remove it"):
        push(tmp_path / "run", "me/voices", out=tmp_path / "out")
    (tmp_path / "run" / "metrics.json").write_text('{"test": {"accuracy": "high"}}')
    with pytest.raises(ModelError, match=r"metrics\.json is damaged"):
        push(tmp_path / "run", "me/voices", out=tmp_path / "out")
    (tmp_path / "run" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match="does not fit"):
        push(tmp_path / "run", "me/voices", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(SettingsError, match="is not empty; name a new folder"):
        push(home / "run", "me/voices", out=home)


def test_no_file_names_a_folder_of_the_user(
    home: Path, hub: Hub, pushed: subprocess.CompletedProcess[str], written: Path
) -> None:
    """The run itself does name them: in model.json and in the report."""
    private = str(home.parent).encode()
    assert private in (home / "run" / "model.json").read_bytes()
    files = {path.name: path.read_bytes() for path in written.iterdir()}
    for name, content in [*files.items(), *hub.repos["me/voices"].commits[-1].items()]:
        assert private not in content, name
        assert str(Path.cwd()).encode() not in content, name
    assert json.loads(files["model.json"])["data"]["place"] == "tones"
    assert files["model.safetensors"] == (home / "run" / "model.safetensors").read_bytes()


def test_an_exported_file_lies_beside_and_answers_as_before(
    home: Path, hub: Hub, pushed: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    from earsight.network.exported import Exported

    (tmp_path / "model.onnx").write_bytes(hub.repos["me/voices"].commits[-1]["model.onnx"])
    path = home / "tones" / "low" / "low02.wav"
    assert Exported.load(tmp_path / "model.onnx").predict(path) == Exported.load(home / "model.onnx").predict(path)
    card = hub.repos["me/voices"].commits[-1]["README.md"].decode()
    assert "`model.onnx` is the same model as one file" in card
    (tmp_path / "x.onnx").write_bytes(b"x")
    with pytest.raises(ModelError, match="was not made by earsight export"):
        push(home / "run", "me/voices", onnx=tmp_path / "x.onnx", out=tmp_path / "out")
    shutil.copytree(home / "run", tmp_path / "run")
    described = json.loads((home / "run" / "model.json").read_text())
    (tmp_path / "run" / "model.json").write_text(json.dumps(described | {"created": "another day"}))
    with pytest.raises(ModelError, match="was exported from another run"):
        push(tmp_path / "run", "me/voices", onnx=home / "model.onnx", out=tmp_path / "out")
    network = described["network"] | {"weights": str(tmp_path / "mine" / "w.safetensors")}  # told without its folder
    (tmp_path / "run" / "model.json").write_text(json.dumps(described | {"network": network}))
    export(tmp_path / "run", tmp_path / "own.onnx")
    push(tmp_path / "run", "me/voices", onnx=tmp_path / "own.onnx", out=tmp_path / "own")
    assert (tmp_path / "own" / "model.onnx").read_bytes() == (tmp_path / "own.onnx").read_bytes()
    with pytest.raises(SettingsError, match="no such file: --onnx"):
        push(home / "run", "me/voices", onnx=tmp_path / "none.onnx", out=tmp_path / "out")


def test_the_report_plays_nobody(home: Path, tmp_path: Path) -> None:
    """Recordings of the most confident mistakes are part of a run's report, and not the model's to give away."""
    described = json.loads((home / "run" / "model.json").read_text())
    cell = '<td><audio controls preload="metadata" src="data:audio/wav;base64,UklGRg/+=="></audio></td>\n'
    at = f'<td class="long">{home}/tones/low/a &amp; b.wav</td>'
    odd = '<td class="long">/elsewhere/of/mine/w.safetensors</td><td class="long">16 / 4 / 4</td>'
    words = f"<p>With leaks: 1 found, such as {home}/tones/low/a &amp; b.wav (train) and c.wav, AT&amp;T.</p>"
    found = Redactor.of(home / "run", described).page(cell + at + odd + words)
    assert found == (
        '<td></td>\n<td class="long">low/a &amp; b.wav</td>'
        '<td class="long">w.safetensors</td><td class="long">16 / 4 / 4</td>'
        "<p>With leaks: 1 found, such as low/a &amp; b.wav (train) and c.wav, AT&amp;T.</p>"
    )


def test_folders_are_taken_out_of_settings_and_reasons_and_names_stay(tmp_path: Path) -> None:
    described = {
        "labels": ["/m/01abc", "..low"],
        "network": {"model": "a", "weights": "../mine/w.safetensors"},
        "members": [{"network": {"weights": "/x/w2.pth"}, "temperature": 1.0}],
        "recipe_name": "/x/my.toml",
        "recipe": {"augment": {"reverb": r"C:\rooms\large", "background": None}},
        "data": {
            "place": str(tmp_path / "data"),
            "trained_groups": ["/anna", str(tmp_path / "data" / "day0.wav")],
            "failures": [
                [str(tmp_path / "data" / "sub" / "a.wav"), f"a second copy of {tmp_path}/data/b.wav"],
                ["/other/place/c.wav", "no sound: /other/place/c.wav"],
            ],
        },
    }
    found = Redactor.of(tmp_path / "run", described).description(described)
    assert found["labels"] == ["/m/01abc", "..low"]
    assert found["network"]["weights"] == "w.safetensors"
    assert found["members"][0]["network"]["weights"] == "w2.pth"
    assert found["recipe_name"] == "my.toml"
    assert found["recipe"]["augment"] == {"reverb": "large", "background": None}
    data = found["data"]
    assert (data["place"], data["trained_groups"]) == ("data", ["/anna", "day0.wav"])
    assert data["failures"] == [["sub/a.wav", "a second copy of b.wav"], ["c.wav", "no sound: c.wav"]]
    numbers = {"members": ["/x/seed0", "runs/seed1/"], "test": {"per_class": [{"label": "/m/01abc", "f1": 0.5}]}}
    shown = Redactor(()).metrics(numbers)
    assert (shown["members"], shown["test"]) == (["seed0", "seed1"], numbers["test"])
    assert last_part(r"a\b\ ".strip()) == "b"


def test_the_card_tells_the_runs_own_numbers(home: Path, written: Path) -> None:
    numbers, text = numbers_of(home / "run"), (written / "README.md").read_text(encoding="utf-8")
    test = numbers["test"]
    about = front_matter(text)
    (result,) = about["model-index"][0]["results"]
    values = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert values == {
        "accuracy": round(test["accuracy"], 4),
        "UAR": round(test["uar"], 4),
        "macro-F1": round(test["macro_f1"], 4),
    }
    assert (result["dataset"]["split"], result["dataset"]["config"]) == ("test", "random")
    assert (about["library_name"], about["pipeline_tag"]) == ("earsight", "audio-classification")
    assert "test_efficientnet" in about["tags"]
    assert not {"license", "datasets"} & set(about)  # of these tones nothing is known
    assert f"| accuracy | {test['accuracy']:.3f} | not known |" in text
    for row in test["per_class"]:
        values = " | ".join(f"{row[key]:.3f}" for key in ("precision", "recall", "f1"))
        assert f"| {row['label']} | {values} | {row['support']} |" in text
    assert numbers["split"]["sentence"] in text
    assert "was also heard in training is not known" in text
    assert f"temperature of {numbers['calibration']['temperature']:.2f}" in text
    assert 'from_pretrained("me/voices")' in text
    assert "It hears 0.4 s at 16000 Hz" in text


def test_without_the_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub.utils", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'earsight\[train\]'"):
        download_model("me/voices")


def test_the_stand_in_takes_no_damaged_upload(hub: Hub) -> None:
    import urllib.error
    import urllib.request

    oid = hashlib.sha256(b"x").hexdigest()
    request = urllib.request.Request(f"{hub.endpoint}/lfs/{oid}", data=b"y", method="PUT")
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)
    assert oid not in hub.objects
