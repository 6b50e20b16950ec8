"""What is written of a run's clips is read back."""

from pathlib import Path

from earsight.dataset.clip import Clip
from earsight.tasks.clips_table import CLIPS_NAME, RunClip, parts_csv, read_clips


def test_names_that_a_table_could_take_for_something_else_come_back(tmp_path: Path) -> None:
    clips = [
        Clip(tmp_path / "a\r.wav", "a", 'the 1st, "x"'),
        Clip(tmp_path / "b\r\n.wav", "b", "", "2", 0.25, 1.5),
        Clip(tmp_path / "c\udce9.wav", "c"),
    ]
    text = parts_csv(clips, {"train": [0], "valid": [1], "test": [2]}, whole=False, digests=["x", "y", ""])
    (tmp_path / CLIPS_NAME).write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    parts, digests = ("train", "valid", "test"), ("x", "y", "")
    assert read_clips(tmp_path) == [RunClip(*row) for row in zip(parts, clips, digests, strict=True)]
