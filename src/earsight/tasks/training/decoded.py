"""A plan → decoded clips, checked for copies and divided; and clips.csv."""

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import xxhash

from earsight.audio.settings import AudioSettings
from earsight.dataset.clip import PARTS, Failure
from earsight.dataset.leaks import find_copies, resolve_leaks
from earsight.dataset.split import Split
from earsight.dataset.store import Store, build_store
from earsight.dataset.walk import store_folder
from earsight.errors import DataError
from earsight.files import write_atomic
from earsight.tasks.clips_table import CLIPS_NAME, parts_csv
from earsight.tasks.progress import Progress
from earsight.tasks.training.plan import Plan

REFIT_SENTENCE = "Refit: when the epoch was chosen, trained once more on training and validation clips together."


@dataclass(frozen=True)
class DecodedData:
    """store: the clips that could be read. split: as carried out. parts: train, valid, test → indices into the store.
    failures: everything that was left out, since listing. dropped: of these, the leaks."""

    store: Store
    split: Split
    parts: dict[str, Sequence[int]]
    failures: tuple[Failure, ...]
    dropped: tuple[Failure, ...]

    @property
    def validation(self) -> Sequence[int]:
        """Indices of the clips that choose the epoch; () where nothing is held out."""
        return () if self.split.training_score else self.parts["valid"]

    def groups_of(self, part: str) -> list[str]:
        """Sorted names of the groups of a part."""
        return sorted({self.store.clips[i].group for i in self.parts[part]} - {""})

    def refitted(self) -> Self:
        """The same with validation clips moved to training."""
        train = sorted((*self.parts["train"], *self.validation))
        split = replace(self.split, sentence=f"{self.split.sentence} {REFIT_SENTENCE}")
        return replace(self, split=split, parts={**self.parts, "train": train, "valid": ()})


def decode_parts(plan: Plan, cores: int, shown: Progress) -> DecodedData:
    """Decode every clip, look for copies across the sides of the split, and carry it over to the clips that could be
    read. Raises DataError."""
    dataset = plan.dataset
    shown.start("decoding", len(dataset.clips))
    folder = store_folder() if plan.store else None
    audio, clips = plan.recipe.audio, dataset.clips
    with _decoding_lock(folder):
        store = build_store(clips, audio, folder=folder, threads=cores, strict=plan.strict, progress=shown.advance)
    if not store.clips:
        raise DataError(f"none of {len(dataset.clips)} clips could be read; the first: {store.failures[0].reason}")
    digests = {i: digest for i, digest in store.digest_of.items() if digest}
    split, dropped = resolve_leaks(dataset.clips, plan.split, lambda way: find_copies(way, digests), plan.leaks)
    unusable, leaking = (*dataset.failures, *store.failures), (*plan.left_out, *dropped)
    failures = (*dataset.failures, *plan.left_out, *store.failures, *dropped)
    place = store.index_of
    parts: dict[str, Sequence[int]] = {part: [place[i] for i in getattr(split, part) if i in place] for part in PARTS}
    _check_left(plan, split, (*plan.left_out, *dropped))
    for part, indices in parts.items():
        if not indices:
            raise DataError(f"no readable clip is left for {part}; the first failure: {store.failures[0].reason}")
    lost = set(dataset.labels) - {label for i in parts["train"] for label in store.clips[i].labels}
    if lost:
        raise DataError(f"no readable training clip is left of: {', '.join(sorted(lost))}")
    shown.say(
        f"{len(store.clips)} clips, {store.duration_s / 60:.1f} min, {store.decoded} decoded now"
        + (f"; {len(unusable)} left out, the first: {failure_line(unusable[0])}" if unusable else "")
        + (f"; {len(leaking)} dropped for leaks, the first: {failure_line(leaking[0])}" if leaking else "")
        + (f"; {store.silent} silent" if store.silent else "")
        + (f"; now {_sizes(parts)}" if store.failures or dropped else "")
        + ("" if split.sentence == plan.split.sentence else f"\n{split.sentence}")
        + unscored(store.lengths / audio.rate_hz, audio)
    )
    return DecodedData(store, split, parts, failures, leaking)


def unscored(lengths_s: npt.NDArray[np.float64], audio: AudioSettings) -> str:
    """A note where half of the clips are more than twice as long as what is scored of each. lengths_s: of all clips."""
    heard_s = audio.score_crops * audio.crop_s
    middle_s = float(np.median(lengths_s))
    if middle_s <= 2 * heard_s:
        return ""
    crops = min(100, math.ceil(middle_s / audio.crop_s))
    return (
        f"\nnote: {heard_s:g} s of each clip are scored, and half of the clips have {middle_s:.1f} s of sound or more; "
        f"--audio.score-crops {crops} scores all of that"
    )


def _sizes(parts: Mapping[str, Sequence[int]]) -> str:
    return " / ".join(f"{len(indices)} {part}" for part, indices in parts.items())


def fingerprint(store: Store) -> str:
    """A digest of samples, labels and groups, 32 hexadecimal digits; independent of the paths and the order of
    clips."""
    lines = sorted(
        "\0".join((digest, *clip.labels, "", clip.group))
        for digest, clip in zip(store.digests, store.clips, strict=True)
    )
    return xxhash.xxh3_128_hexdigest("\n".join(lines).encode("utf-8", "surrogateescape"))


def _check_left(plan: Plan, split: Split, dropped: Sequence[Failure]) -> None:
    """Raises DataError where --leaks drop removed a whole part, or all training clips of a class."""
    clips, why = plan.dataset.clips, f"left out by --leaks drop, the first: {dropped[0].reason}" if dropped else ""
    advice = "use other groups, or another --split"
    for part in PARTS:
        if dropped and not getattr(split, part):
            raise DataError(f"no clip is left for {part}: {len(dropped)} clips were {why}; {advice}")
    lost = set(plan.dataset.labels) - {label for i in split.train for label in clips[i].labels}
    if dropped and lost:
        raise DataError(f"no training clip is left of {', '.join(sorted(lost))}: {len(dropped)} were {why}; {advice}")


def _decoding_lock(folder: Path | None) -> AbstractContextManager[object]:
    """A lock for processes of one training that were started externally (torchrun): the first decodes, the others find
    the clips in the store."""
    if folder is None or "LOCAL_RANK" not in os.environ:
        return nullcontext()
    from filelock import FileLock

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return nullcontext()  # build_store says what is wrong with the folder
    return FileLock(folder / "decoding.lock")


def failure_line(failure: Failure) -> str:
    """Path and reason in one line; the reason may contain the path already."""
    reason = failure.reason if str(failure.path) in failure.reason else f"{failure.path}: {failure.reason}"
    return " ".join(reason.split())


def write_clips(run: Path, decoded: DecodedData) -> None:
    """Write clips.csv, which can also be trained on: --split column:part gives the same split."""
    store, whole = decoded.store, decoded.split.training_score
    write_atomic(run / CLIPS_NAME, parts_csv(store.clips, decoded.parts, whole=whole, digests=store.digests))
