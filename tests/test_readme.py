"""The README's commands are commands, its pictures are there, its Python runs."""

import re
import shlex
from pathlib import Path

import pytest

from earsight.command_line import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^(earsight .*?)(?:\s+#.*)?$", README, re.MULTILINE)


def test_commands_were_found() -> None:
    assert len(COMMANDS) >= 7


@pytest.mark.parametrize("line", COMMANDS)
def test_command_parses(line: str) -> None:
    words = shlex.split(line)[1:]
    function, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    assert function.__name__.rstrip("_") == (words[1] if words[0] == "data" else words[0])
    assert bound.args or words == ["data", "list"]


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"^make (\w+)", README, re.MULTILINE)) <= targets


def test_pictures_and_pages_exist() -> None:
    linked = re.findall(r"\]\((?!http)([^)]+)\)", README) + re.findall(r"`(docs/[\w./-]+)`", README)
    assert linked
    assert [name for name in linked if not (ROOT / name).exists()] == []
