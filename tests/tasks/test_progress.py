import pytest

from earsight.tasks import progress
from earsight.tasks.progress import Progress


def test_where_there_is_no_terminal_a_line_a_minute_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = 0.0
    monkeypatch.setattr(progress, "monotonic", lambda: now_s)
    with Progress() as shown:
        shown.start("decoding", 100)
        for done in range(0, 101, 10):
            now_s += 25
            shown.advance(done, 100)
        shown.start("fetching", 300_000_000, in_bytes=True)
        now_s += 61
        shown.advance(120_000_000, 300_000_000)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["decoding: 20 of 100", "decoding: 50 of 100", "decoding: 80 of 100", "fetching: 120 of 300 MB"]


def test_nothing_is_said_where_nobody_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "monotonic", iter(range(0, 10_000, 100)).__next__)
    with Progress(shown=False) as quiet:
        quiet.start("decoding", 10)
        quiet.advance(5, 10)
    assert capsys.readouterr().err == ""
