from pathlib import Path

import pytest

from earsight.dataset.sources import known_sources, read_dataset
from earsight.dataset.split import split
from tests.conftest import lay

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
NAMES = tuple(f"genres/{genre}/{genre}.{number:05}.wav" for genre in GENRES for number in (0, 54, 98, 99))


@pytest.mark.parametrize("ending", ["wav", "au"])
def test_the_genre_comes_from_the_name_in_both_formats(tmp_path: Path, ending: str) -> None:
    dataset = read_dataset(lay(tmp_path, *(name.replace("wav", ending) for name in NAMES)))
    assert (dataset.source, dataset.labels) == ("gtzan", GENRES)
    assert (len(dataset.clips), dataset.failures) == (40, ())
    damaged = next(clip for clip in dataset.clips if clip.path.name == f"jazz.00054.{ending}")
    assert (damaged.label, damaged.tags) == ("jazz", {"number": "00054"})


def test_neither_group_nor_fold_is_known_so_the_split_is_at_random(tmp_path: Path) -> None:
    dataset = read_dataset(lay(tmp_path, *NAMES))
    assert (dataset.groups, dataset.folds) == ((), ())
    parts = split(dataset.clips, "auto", group_name=dataset.group_name, official=dataset.split)
    assert (parts.kind, parts.speaker_independent) == ("random", False)
    assert "random splits flatter" in known_sources()["gtzan"].protocol


def test_second_copies_and_other_names_are_left_out_with_their_reason(tmp_path: Path) -> None:
    dataset = read_dataset(lay(tmp_path, *NAMES, "more/pop.00000.wav", "genres/pop/folk.00000.wav"))
    reasons = {failure.path.name: failure.reason for failure in dataset.failures}
    assert set(reasons) == {"pop.00000.wav", "folk.00000.wav"}
    assert reasons["pop.00000.wav"].startswith("a second copy of ")
    assert "such as blues.00000.wav" in reasons["folk.00000.wav"]


def test_no_other_source_knows_these_names() -> None:
    assert [name for name, source in known_sources().items() if source.matches(NAMES)] == ["gtzan"]
    assert known_sources()["gtzan"].matches(NAMES) == len(NAMES)
