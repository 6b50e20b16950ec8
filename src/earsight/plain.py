"""A text from outside → what a terminal may be shown."""

import sys


def plain(text: object, most: int = 1000) -> str:
    """One line of at most ``most`` letters: what would steer the terminal is shown by its number, and a byte of a file
    name that is not UTF-8 as that byte."""
    shown = "".join(letter if letter.isprintable() else f"\\x{_number(letter):02x}" for letter in str(text))
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def plain_full(text: object) -> str:
    """As ``plain``, however long: a sentence may name files."""
    return plain(text, sys.maxsize)


def _number(letter: str) -> int:
    return ord(letter) & 0xFF if "\udc80" <= letter <= "\udcff" else ord(letter)


def pluralise(number: int, what: str) -> str:
    """1 clip, 2 clips."""
    return f"{number} {what}{'' if number == 1 else 's'}"
