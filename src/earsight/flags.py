"""Types of flags, groups of flags that commands share, and the help formatter."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, Token
from cyclopts.help import PlainFormatter

from earsight.errors import SettingsError

if TYPE_CHECKING:
    from rich.console import Console

    from earsight.scores.events import Rule


def whole_number(_type: Any, tokens: Sequence[Token]) -> int:
    """Parse an integer flag; cyclopts would round 1.5. Raises ValueError."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        raise ValueError(f'"{text}" is not a whole number') from None


WholeNumber = Annotated[int, Parameter(converter=whole_number)]
Switch = Annotated[bool, Parameter(negative="")]
"""A flag without a --no-… form."""
Json = Annotated[bool, Parameter(name="--json", negative="")]
Thresholds = Annotated[list[str] | None, Parameter(name="--threshold", negative="")]


def parse_thresholds(texts: Sequence[str] | None) -> dict[str, float]:
    """LABEL=P → label → P. Raises SettingsError."""
    found = {}
    for text in texts or ():
        label, _, number = text.rpartition("=")
        try:
            found[label] = float(number)
        except ValueError:
            label = ""
        if not label:
            raise SettingsError(f"--threshold is LABEL=PROBABILITY, such as anomaly=0.2, got {text!r}")
    return found


@Parameter(name="*")
@dataclass(frozen=True)
class DataFlags:
    """How recordings are read: see ``read_dataset``."""

    source: str | None = None
    """How to read DATA: folder, table, annotations, or the name of a known data set (earsight data list). Default:
    recognised from the file names."""
    group_pattern: str | None = None
    """A regular expression that extracts the group of each clip (speaker, recording …) from its path."""


@Parameter(name="*")
@dataclass(frozen=True)
class EventFlags:
    """Windows, and events that are made from them."""

    window: float | None = None
    """Classify windows of this many seconds instead of whole recordings; at most the length of the network's input.
    Long recordings are read block by block."""
    hop: float | None = None
    """Seconds from one window to the next. Default: a third of --window."""
    events: Switch = False
    """Combine windows into events: what was heard, from when to when."""
    start_at: float | None = None
    """Probability at which an event begins. Default: 0.3, or the label's own threshold for a multilabel model."""
    stay_at: float | None = None
    """Probability below which an event ends. Default: 0.7 times --start-at."""
    shortest: float = 0.0
    """Leave out events shorter than this many seconds."""
    background: Annotated[list[str] | None, Parameter(negative="")] = None
    """A label that is no event, such as normal: it ends other events and is left out itself; may be repeated."""

    def rule(self) -> "Rule | None":
        """The rule by the flags; None without --events. Raises SettingsError."""
        from earsight.scores.events import Rule

        if self.events:
            return Rule(self.start_at, self.stay_at, self.shortest, tuple(self.background or ()))
        if self.start_at is not None or self.stay_at is not None or self.shortest or self.background:
            raise SettingsError(
                "--start-at, --stay-at, --shortest and --background only work with events; pass --events too"
            )
        return None


class WrappedHelp(PlainFormatter):
    """Plain help that rewraps docstrings: cyclopts would keep their line breaks."""

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
