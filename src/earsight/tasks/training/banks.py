"""Folders of impulse responses and backgrounds → sounds for augmentation."""

from collections.abc import Iterable
from pathlib import Path

from earsight.audio.decode import Samples, suffix_list
from earsight.audio.load import load_waveform
from earsight.audio.settings import AudioSettings
from earsight.dataset.clip import Clip
from earsight.dataset.walk import walk
from earsight.errors import DataError, DecodeError, SettingsError
from earsight.mel.settings import AugmentSettings
from earsight.plain import pluralise


def check_banks(settings: AugmentSettings) -> None:
    """Raises SettingsError where a folder does not exist or has no recordings."""
    for name, folder in _named_folders(settings):
        if not Path(folder).is_dir():
            raise SettingsError(f"augment.{name} {folder} is not a folder; name one with recordings, or pass none")
        if not walk(Path(folder)).names:
            raise SettingsError(f"no recordings in augment.{name} {folder}; looked for {suffix_list()}")


def check_disjoint(settings: AugmentSettings, held_out: Iterable[Clip]) -> None:
    """Raises DataError where a folder holds a recording of ``held_out``: it would be heard in training."""
    scored = {clip.absolute().path for clip in held_out}
    for name, folder in _named_folders(settings):
        listing = walk(Path(folder).resolve())
        if both := sorted(scored & set(map(listing.path, listing.names))):
            raise DataError(
                f"augment.{name} {folder} holds {pluralise(len(both), 'recording')} of the validation and test clips, "
                f"such as {both[0]}; name a folder without them"
            )


def _named_folders(settings: AugmentSettings) -> list[tuple[str, str]]:
    """(setting, folder) of the folders that are set."""
    named = (("reverb", settings.reverb), ("background", settings.background))
    return [(name, folder) for name, folder in named if folder is not None]


def read_bank(folder: str | None, audio: AudioSettings) -> tuple[list[Samples], list[str]]:
    """All recordings below the folder, whole, at the network's rate: float32 [channels, samples] each; and the reasons
    why some could not be read. Silent ones are left out. Raises SettingsError where none is left."""
    if folder is None:
        return [], []
    whole = audio.model_copy(update={"trim_db": None, "peak_normalise": True})
    listing, sounds, reasons = walk(Path(folder)), [], []
    for path in map(listing.path, listing.names):
        try:
            samples = load_waveform(path, whole)
        except DecodeError as error:
            reasons.append(str(error))
            continue
        if samples.any():
            sounds.append(samples)
        else:
            reasons.append(f"{path} is silent")
    if not sounds:
        raise SettingsError(f"none of {len(listing.names)} recordings in {folder} can be used: {reasons[0]}")
    return sounds, reasons
