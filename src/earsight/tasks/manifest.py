"""The manifest of a folder of many trainings, which identifies the work, so that only the same work is resumed."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import xxhash

from earsight.dataset.split import Split
from earsight.errors import SettingsError
from earsight.files import read_json, write_json
from earsight.settings import differences, flatten
from earsight.tasks.recipe import fill_missing_settings


def check_resumable(file: Path, manifest: Mapping[str, Any], what: str, *, resume: bool) -> bool:
    """Whether the folder of ``file`` has this work begun already. what: the kind of work, for messages. Raises
    SettingsError where the folder holds something else."""
    place = file.parent
    if place.exists() and not place.is_dir():
        raise SettingsError(f"--out {place} is a file; name a folder")
    if not place.is_dir() or not any(place.iterdir()):
        return False
    if not file.is_file():
        raise SettingsError(f"{place} is not empty, but holds no {what}; pass another --out")
    if not resume:
        raise SettingsError(f"{place} is not empty; pass --resume to continue it, or another --out")
    try:
        told = read_json(file)
        then = flatten({**told, "recipe": fill_missing_settings(told["recipe"])})
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise SettingsError(f"{file} is damaged; start again with another --out") from error
    changed = differences(manifest, then)
    changed += [f"{name} was {value}, is missing" for name, value in then.items() if name not in flatten(manifest)]
    if changed:
        raise SettingsError(f"can't continue {place} with other settings: {'; '.join(changed)}; use the same ones")
    return True


def write_manifest(file: Path, manifest: Mapping[str, Any]) -> None:
    """Raises SettingsError where the folder can't be made or written to."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, manifest)
    except OSError as error:
        raise SettingsError(f"can't write to --out {file.parent} ({error.strerror}); name another folder") from error


def split_digest(splits: Iterable[Split]) -> str:
    """A digest of the clips in train, valid and test of all splits."""
    numbers = [(one.train, one.valid, one.test) for one in splits]
    return xxhash.xxh3_64_hexdigest(json.dumps(numbers).encode())
