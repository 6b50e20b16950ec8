"""Folders of rooms and backgrounds → what augmentation mixes in."""

from pathlib import Path

from earsight.audio.decode import Samples, suffixes
from earsight.audio.load import load_waveform
from earsight.audio.settings import AudioSettings
from earsight.dataset.walk import walk
from earsight.errors import DecodeError, SettingsError
from earsight.mel.settings import AugmentSettings


def check_banks(settings: AugmentSettings) -> None:
    """Raises SettingsError where a folder is not there or holds no recordings."""
    for name, folder in (("reverb", settings.reverb), ("background", settings.background)):
        if folder is None:
            continue
        if not Path(folder).is_dir():
            raise SettingsError(f"augment.{name} {folder} is not a folder; name one with recordings, or pass none")
        if not walk(Path(folder)).names:
            raise SettingsError(f"no recordings in augment.{name} {folder}; looked for {', '.join(sorted(suffixes()))}")


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
