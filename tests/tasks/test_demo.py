from pathlib import Path

import pytest

from earsight.errors import SettingsError
from earsight.tasks import demo as module
from earsight.tasks.demo import demo


def test_the_whole_way_on_fewer_voices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SPEAKERS", 8)
    done = demo(tmp_path / "demo")
    assert len(list(done.corpus.rglob("*.wav"))) == 8 * 8 * 4
    assert done.result.test is not None
    assert done.result.test.clips == 2 * 32
    assert done.result.test.accuracy > 0.5  # chance is 1/8; 0.66 and 0.70 with one thread and two, each ± 0.06
    assert len(done.rows) == 5
    assert all(row.label and row.error is None for row in done.rows)
    assert "Synthetic voices" in (done.result.run / "report.html").read_text()


def test_nothing_but_an_earlier_demo_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(SettingsError, match="something other than an earlier demo"):
        demo(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize(
    "name", ["corpus/anna/take.wav", "run/notes.txt", "run/model.json", "run/clips.csv", "corpus", "run"]
)
def test_a_folder_of_the_same_name_is_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("precious")
    with pytest.raises(SettingsError, match="something other than an earlier demo"):
        demo(tmp_path)
    assert (tmp_path / name).read_text() == "precious"


@pytest.mark.parametrize("left", [(), ("corpus/SYNTHETIC.txt",), ("corpus/SYNTHETIC.txt", "run/clips.csv")])
def test_an_earlier_demo_is_replaced_wherever_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: tuple[str, ...]
) -> None:
    for name in ("corpus", "run"):
        (tmp_path / name).mkdir()
    for name in left:
        (tmp_path / name).touch()

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_corpus", stop)
    with pytest.raises(KeyboardInterrupt):
        demo(tmp_path)
    assert not any(tmp_path.iterdir())
