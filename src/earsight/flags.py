"""What the flags of all commands have in common: whole numbers, switches, and a help whose lines are broken once."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, Token
from cyclopts.help import PlainFormatter

if TYPE_CHECKING:
    from rich.console import Console


def whole_number(_type: Any, tokens: Sequence[Token]) -> int:
    """Of one flag. cyclopts would round 1.5. Raises ValueError."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        raise ValueError(f'"{text}" is not a whole number') from None


Whole = Annotated[int, Parameter(converter=whole_number)]
Switch = Annotated[bool, Parameter(negative="")]
"""On where it is given; there is no --no-…"""
Json = Annotated[bool, Parameter(name="--json", negative="")]


@Parameter(name="*")
@dataclass(frozen=True)
class DataFlags:
    """How recordings are read: see ``read_dataset``."""

    source: str | None = None
    """The name of a known data set (earsight data list), folder, table, or annotations; otherwise recognised by the
    file names."""
    group_pattern: str | None = None
    """A regular expression that finds a clip's group (speaker, recording …) in its path."""


class WrappedHelp(PlainFormatter):
    """cyclopts' plain help keeps the line breaks of a docstring beside those of the terminal."""

    def _print_plain(self, console: "Console", text: str) -> None:
        if text.startswith(self.indent):  # a flag, or a command, and what it does
            text = textwrap.fill(
                " ".join(text.split()),
                console.width,
                initial_indent=self.indent,
                subsequent_indent=3 * self.indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
        super()._print_plain(console, text)
