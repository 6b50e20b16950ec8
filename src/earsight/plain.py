"""Untrusted text → text that is safe to print on a terminal."""

import sys
from collections.abc import Mapping


def plain(text: object, most: int = 1000) -> str:
    """One line of at most ``most`` characters, with escapes for control characters and for bytes of file names that are
    not UTF-8."""
    shown = "".join(letter if letter.isprintable() else f"\\x{_number(letter):02x}" for letter in str(text))
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def plain_full(text: object) -> str:
    """As ``plain``, of any length."""
    return plain(text, sys.maxsize)


def _number(letter: str) -> int:
    return ord(letter) & 0xFF if "\udc80" <= letter <= "\udcff" else ord(letter)


def counts_text(counts: Mapping[str, int], unit: str = "") -> str:
    """16000 Hz (3), 44100 Hz (1)."""
    return ", ".join(f"{value}{unit} ({count})" for value, count in counts.items())


def pluralise(number: int, what: str) -> str:
    """A number with its noun: 1 clip, 2 clips."""
    return f"{number} {what}{'' if number == 1 else 's'}"
