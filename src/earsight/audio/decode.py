"""path | bytes | file object → Sound: the only place where encoded sound is read."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from earsight.errors import DecodeError

Samples = npt.NDArray[np.float32]

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"})
"""File name endings (lower case) that are taken for recordings when a folder is walked."""


@dataclass(frozen=True)
class Sound:
    """Decoded sound.

    samples: float32 [channels, samples]; full scale is [-1, 1] (float files may exceed it).
    rate_hz: samples a second, > 0.
    """

    samples: Samples
    rate_hz: int

    @property
    def duration_s(self) -> float:
        return self.samples.shape[1] / self.rate_hz


def decode(source: str | Path | bytes | IO[bytes]) -> Sound:
    """Decode a whole recording with libsndfile.

    source: a path, the encoded bytes, or a binary file object open for reading.
    Raises DecodeError where nothing readable, no sample, or a NaN or infinite sample is found.
    """
    import soundfile  # here: a program that decodes nothing need not load libsndfile

    name = str(source) if isinstance(source, str | Path) else "the given bytes"
    if isinstance(source, str | Path):
        path = Path(source)
        if not path.is_file():
            raise DecodeError(f"no such recording: {name}" if not path.exists() else f"not a file: {name}")
        if path.stat().st_size == 0:
            raise DecodeError(f"empty file (0 bytes): {name}")
    try:
        samples, rate_hz = soundfile.read(
            io.BytesIO(source) if isinstance(source, bytes) else source, dtype="float32", always_2d=True
        )
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        reason = getattr(error, "error_string", None) or str(error)
        raise DecodeError(f"not readable as sound: {name} ({reason.strip().rstrip('.')})") from error
    if samples.shape[0] == 0:
        raise DecodeError(f"no samples in: {name}")
    if not np.isfinite(samples).all():
        raise DecodeError(f"NaN or infinite samples in: {name}")
    return Sound(np.ascontiguousarray(samples.T), int(rate_hz))
