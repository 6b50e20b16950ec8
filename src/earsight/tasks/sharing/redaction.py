"""Remove the user's folders from the files of a run, before they are published."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Self

from earsight.tasks.clips_table import read_clips

_PATHS = frozenset({"weights", "background", "reverb", "pipeline", "recipe_name"})
"""Keys of settings that may hold a path of the user; only its last part is kept."""
_KEPT = frozenset({"label", "labels"})
"""Keys of names that answers consist of; they are never changed."""
_GROUPS = frozenset({"group", "trained_groups", "validated_groups"})
"""Keys of group names, which are changed only where a group is the path of a recording."""
_AUDIO = re.compile(r"<audio [^>]*></audio>")
_CELL = re.compile(r'(<td class="long">)(.*?)(</td>)', re.DOTALL)
_TEXT = re.compile(r"(?<=>)[^<>]+(?=<)")


@dataclass(frozen=True)
class Redactor:
    """Removes the folders ``known``, the longest first, from texts; paths below one become relative to it."""

    known: tuple[str, ...]

    @classmethod
    def of(cls, run: Path, described: Mapping[str, Any]) -> Self:
        """described: model.json. Raises ModelError where the run's table of clips is damaged."""
        data = described.get("data", {})
        place = Path(str(data.get("place") or "."))
        folders = {place, place.resolve(), Path.cwd(), Path.home(), run.absolute().parent, run.resolve().parent}
        named = [row.clip.path for row in read_clips(run)]
        named += [Path(str(failure[0])) for failure in data.get("failures", [])]
        folders |= {path.parent for path in named if not path.is_relative_to(place)}
        # Not / or .: these would be found everywhere.
        return cls(tuple(sorted((str(one) for one in folders if len(str(one)) > 1), key=len, reverse=True)))

    def redact(self, text: str) -> str:
        """Text without the known folders: a path below one becomes relative, the folder itself becomes its last
        part."""
        for folder in self.known:
            begin = "" if Path(folder).is_absolute() else r"(?<![\w./\\-])"
            text = re.sub(begin + re.escape(folder) + r"[/\\]", "", text)
            if not begin:
                text = text.replace(folder, "~" if folder == str(Path.home()) else last_part(folder))
        return text

    def path(self, text: str) -> str:
        """As ``redact``, for text that may be a path: of a path outside of the known folders only the last part is
        kept."""
        text = self.redact(text)
        elsewhere = text.startswith(("..", "~")) or any(
            kind(text).is_absolute() for kind in (PurePosixPath, PureWindowsPath)
        )
        return last_part(text) if elsewhere else text

    def description(self, described: Mapping[str, Any]) -> dict[str, Any]:
        """model.json to publish; labels are not changed."""
        found: dict[str, Any] = self._redact_value(described)
        if isinstance(data := found.get("data"), dict):
            data["place"] = last_part(str(described["data"].get("place", "")))
        return found

    def metrics(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        """metrics.json to publish. The members of an ensemble are reduced to the names of their folders."""
        found: dict[str, Any] = self._redact_value(numbers)
        if "members" in found:
            found["members"] = [last_part(str(member)) for member in numbers["members"]]
        return found

    def page(self, text: str) -> str:
        """report.html to publish: without sound, and without folders of the user."""

        def shown(cell: re.Match[str]) -> str:
            before, inside, after = cell.groups()
            return before + html.escape(self.path(html.unescape(inside))) + after

        def told(words: re.Match[str]) -> str:
            said = html.unescape(words[0])
            return words[0] if (cleaned := self.redact(said)) == said else html.escape(cleaned)

        return _TEXT.sub(told, _CELL.sub(shown, _AUDIO.sub("", text)))

    def _redact_value(self, value: Any, key: str = "") -> Any:
        if isinstance(value, Mapping):
            return {name: self._redact_value(inside, name) for name, inside in value.items()}
        if isinstance(value, list):
            return [self._redact_value(inside, key) for inside in value]
        if not isinstance(value, str) or key in _KEPT:
            return value
        if key in _GROUPS:  # a name, unless it is the path of a recording
            absolute = any(kind(value).is_absolute() for kind in (PurePosixPath, PureWindowsPath))
            return self.redact(value) if absolute else value
        return last_part(value) if key in _PATHS else self.path(value)


def last_part(path: str) -> str:
    """The last part of a path of any operating system."""
    return next((part for part in reversed(re.split(r"[/\\]", path)) if part), "")
