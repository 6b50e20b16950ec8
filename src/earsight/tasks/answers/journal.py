"""A file beside the output, from which stopped work is resumed."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from earsight.errors import DataError, SettingsError
from earsight.files import locked
from earsight.tasks.answers.row_formats import Cells, json_line

_FORMAT = 1


class Journal:
    """Rows of items that are processed in a fixed order, as JSON Lines: a head that identifies the work, then the rows
    of each item, followed by the number of items that are done. If the process is killed, each item counts as done with
    all its rows or not at all.

    Use as a context manager. done: number of items that need not be done again.
    """

    def __init__(self, path: Path, head: Mapping[str, Any], *, resume: bool) -> None:
        """head: what identifies the work. Raises DataError where an existing journal has another head, SettingsError
        where there is a journal and not ``resume``."""
        self._path, self.done = path, 0
        first = json_line({"earsight journal": _FORMAT, **head}).encode() + b"\n"
        there = path.exists()
        with ExitStack() as stack:
            self._file = stack.enter_context(path.open("ab"))
            busy = f"{path} is being written by another process; wait until it has ended, or name another --out"
            stack.enter_context(locked(self._file, busy))
            if there and not resume:
                raise SettingsError(f"{path} is left from an interrupted run; pass --resume, or delete it")
            kept = self._kept(first)
            self._file.truncate(kept)
            if not kept:
                self._file.write(first)
                self._file.flush()
            self._open = stack.pop_all()

    def _kept(self, first: bytes) -> int:
        """Bytes up to the end of the last item that is done; 0 where even the first line is incomplete. Raises
        DataError where the head is another."""
        with self._path.open("rb") as file:
            head = file.readline()
            if first.startswith(head) and head != first:  # empty, or cut off in its first line
                return 0
            if head != first:
                was, asked = _read(head) or {}, _read(first) or {}
                other = sorted(name for name in {*was, *asked} if was.get(name) != asked.get(name))
                raise DataError(
                    f"{self._path} is from a different command ({', '.join(other)} differ); "
                    "use the same command or another --out, or delete it"
                )
            kept = place = len(head)
            for line in file:
                place += len(line)
                told = _read(line) if line.endswith(b"\n") else None
                if told is None:
                    break
                if "done" in told:
                    self.done, kept = int(told["done"]), place
        return kept

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def write(self, row: Cells) -> None:
        self._file.write(json_line({"row": row}).encode() + b"\n")

    def finish_item(self) -> None:
        """The rows written since the last call are those of an item that is done."""
        self.done += 1
        self._file.write(json_line({"done": self.done}).encode() + b"\n")
        self._file.flush()

    def rows(self) -> Iterator[Cells]:
        """All rows from the first."""
        self._file.flush()
        with self._path.open("rb") as file:
            for line in file:
                told = _read(line)
                if told is not None and "row" in told:
                    yield told["row"]

    def remove(self) -> None:
        self._path.unlink()


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None
