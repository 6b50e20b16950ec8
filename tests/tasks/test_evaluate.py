"""What is said of other data that a run is scored on: whether its speakers were heard."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earsight.dataset.leaks import Policy
from earsight.dataset.sources import same_groups
from earsight.dataset.synth import write_corpus
from earsight.errors import DataError
from earsight.tasks.evaluate import evaluate
from earsight.tasks.train import train
from earsight.tasks.training.plan import Plan, plan_training
from tests.conftest import tone
from tests.tasks.test_train import recipe

_UNKNOWN = "whether the network heard their speakers or recordings is not known"


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """corpus: synthetic speech; song: the same voices under the names of songs, without the emotions that these have
    not; run: trained on the speech."""
    root = tmp_path_factory.mktemp("evaluate")
    write_corpus(root / "corpus", speakers=5, takes=1)
    shutil.copytree(root / "corpus", root / "song")
    for path in list((root / "song").rglob("*.wav")):
        number = int(path.name.split("-")[2])
        if number > 6:
            path.unlink()
        else:  # other samples, so that it is no copy
            data = bytearray(path.read_bytes())
            data[-1] ^= 1
            path.with_name(path.name.replace("03-01-", "03-02-", 1)).write_bytes(data)
            path.unlink()
    train(root / "corpus", recipe=recipe(epochs=1), out=root / "run", threads=1)
    return root


def test_sources_of_the_same_people_or_recordings() -> None:
    for one, two in (("ravdess", "ravdess_song"), ("esc10", "esc50"), ("esc50", "urbansound8k"), ("table", "table")):
        assert same_groups(one, two)
    for one, two in (("ravdess", "crema_d"), ("ravdess", "table"), ("esc50", "fsdd")):
        assert not same_groups(one, two)


def test_a_speaker_who_was_heard_speaking_is_known_when_he_sings(heard: Path) -> None:
    data = json.loads((heard / "run" / "model.json").read_text())["data"]
    speakers = {*data["trained_groups"], *data["validated_groups"]}
    with pytest.raises(DataError, match="the same speaker"):
        evaluate(heard / "run", heard / "song", threads=1)
    strangers = evaluate(heard / "run", heard / "song", leaks="drop", threads=1)
    assert strangers.predictions.groups
    assert not speakers & set(strangers.predictions.groups)
    assert _UNKNOWN not in strangers.sentence


def test_where_speakers_cannot_be_compared_that_is_said(heard: Path, tmp_path: Path) -> None:
    """A table may call them otherwise; the synthetic speaker 01 is not the actor 01."""
    clips = sorted((heard / "song").rglob("*.wav"))
    rows = [f"{path},{('neutral', 'calm', 'happy')[n % 3]},someone {n}" for n, path in enumerate(clips)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["path,label,group", *rows]) + "\n")
    assert _UNKNOWN in evaluate(heard / "run", table, threads=1).sentence
    by_take = evaluate(heard / "run", heard / "song", group_pattern=r"Actor_(\d+)", threads=1)  # of another kind
    assert _UNKNOWN in by_take.sentence
    real = tmp_path / "song"
    shutil.copytree(heard / "song", real, ignore=lambda _, names: [name for name in names if name.startswith(".")])
    for path in real.iterdir():
        if path.is_file():
            path.unlink()  # what says that it is synthetic
    assert _UNKNOWN not in evaluate(heard / "run", real, threads=1).sentence


def test_recordings_of_one_class_can_be_scored(heard: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "calm"
    folder.mkdir(parents=True)
    for number, path in enumerate(sorted((heard / "song").rglob("*-02-02-*.wav"))[:3]):
        shutil.copy(path, folder / f"{number}.wav")
    found = evaluate(heard / "run", folder.parent, threads=1)
    assert (found.metrics.clips, set(found.predictions.truth)) == (3, {found.predictions.labels.index("calm")})


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """site0.wav … site5.wav: low and high tones in turn; run: trained on spans of them."""
    root = tmp_path_factory.mktemp("spans")
    rng = np.random.default_rng(0)
    for number in range(6):
        sound = np.concatenate([tone(hz * rng.uniform(0.9, 1.1), 1.0) for hz in (300, 3000) * 3])
        soundfile.write(root / f"site{number}.wav", sound, 16000)
    train(table_of(root, "heard.csv", range(6)), recipe=recipe(epochs=1), split="group", out=root / "run", threads=1)
    return root


def table_of(root: Path, name: str, sites: Iterable[int], column: str = "recording", within_s: float = 0.0) -> Path:
    """A table of the spans of a second, or of a part of each."""
    rows = [
        f"site{site}.wav,{('low', 'high')[n % 2]},{n + within_s},{n + 1 - within_s},s{site}"
        for site in sites
        for n in range(6)
    ]
    (root / name).write_text("\n".join([f"path,label,start,end,{column}", *rows]) + "\n")
    return root / name


def test_tables_with_groups_are_compared_by_their_names(spans: Path, tmp_path: Path) -> None:
    for path in spans.glob("*.wav"):
        shutil.copy(path, tmp_path)
    data = json.loads((spans / "run" / "model.json").read_text())["data"]
    heard = {*data["trained_groups"], *data["validated_groups"]}
    strangers = [n for n in range(6) if f"s{n}" not in heard]
    for column in ("recording", "group"):
        found = evaluate(spans / "run", table_of(spans, "strangers.csv", strangers, column), threads=1)
        assert found.sentence.endswith(
            f"; none of its {len(strangers)} {column}s has the name of one that the network heard."
        )
        with pytest.raises(DataError, match=f"the same {column}, s"):
            evaluate(spans / "run", table_of(tmp_path, "all.csv", range(6), column, within_s=0.1), threads=1)
        rest = evaluate(spans / "run", tmp_path / "all.csv", leaks="drop", threads=1)
        assert len(rest.dropped) == 6 * len(heard)
        said = f"; none of its {len(strangers)} other {column}s has the name of one that the network heard."
        assert rest.sentence.endswith(said) or "have the name of a recording" in rest.warning


def test_spans_of_a_copy_are_warned_of(spans: Path, tmp_path: Path) -> None:
    for path in spans.glob("*.wav"):
        shutil.copy(path, tmp_path)
    bare = table_of(tmp_path, "bare.csv", range(6), "note", within_s=0.1)
    found = evaluate(spans / "run", bare, threads=1)
    assert (
        "have the name of a recording that was trained on; overlapping spans of copies are not found" in found.warning
    )
    assert found.metrics.clips == 36
    whole = tmp_path / "whole.csv"
    whole.write_text("path,label\n" + "".join(f"site{n}.wav,{('low', 'high')[n % 2]}\n" for n in range(6)))
    data = json.loads((spans / "run" / "model.json").read_text())["data"]
    heard = len({*data["trained_groups"], *data["validated_groups"]})
    assert evaluate(spans / "run", whole, threads=1).warning.startswith(f"{heard} files here, such as site")


def test_weights_of_a_run_that_has_heard_what_is_to_be_scored_are_a_leak(heard: Path, tmp_path: Path) -> None:
    weights = heard / "run" / "model.safetensors"

    def planned(seed: int, leaks: Policy, path: Path = weights) -> Plan:
        network = {"model": "test_efficientnet", "pretrained": True, "weights": str(path)}
        settings = recipe(seed=seed, network=network)
        return plan_training(heard / "corpus", settings, out=tmp_path / "new", split_kind="group", leaks=leaks)

    before = json.loads((heard / "run" / "model.json").read_text())["data"]
    known = {*before["trained_groups"], *before["validated_groups"]}
    same = planned(0, "refuse")
    assert not known & {same.dataset.clips[i].group for i in same.split.test}
    assert (same.split.caveat, same.split.speaker_independent) == ("", True)
    with pytest.raises(
        DataError, match=r"the run of --weights .* was trained on what is to be scored: .* the same file"
    ):
        planned(1, "refuse")
    allowed = planned(1, "allow")
    assert known & {allowed.dataset.clips[i].group for i in allowed.split.test}
    assert (allowed.split.caveat, allowed.split.speaker_independent) == ("with leaks", False)
    assert allowed.split.train == planned(1, "allow", Path(shutil.copy(weights, tmp_path))).split.train
