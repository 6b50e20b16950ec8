"""The embedded demo corpus: synthetic voice-like utterances, written as RAVDESS-named files.

Source and filter: a harmonic series with a spectral tilt, shaped by formants that move from vowel to vowel, plus
breath noise through the same formants. Speakers differ in pitch, vocal-tract length, tempo and breath; emotions differ
in pitch level, range and contour, loudness, tempo, brightness, breath and tremor. Nobody spoke these: a score on them
says nothing about real speech.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from earsight.errors import SettingsError

MARKER_NAME = "SYNTHETIC.txt"
_MARKER = """These recordings are synthetic: earsight's demo made them, nobody spoke them.
A score on them shows that the program works. It says nothing about real speech.
"""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Voice:
    """pitch_hz: at rest. tract: formant frequencies against an adult male's. tempo: syllables against the usual.
    breath: noise against tone."""

    pitch_hz: float
    tract: float
    tempo: float
    breath: float


@dataclass(frozen=True)
class Manner:
    """How an emotion is spoken. pitch: against the voice's. swing: pitch range in octaves. slope: octaves from first
    to last. tilt_db: of the source an octave. level_db. tempo: against the voice's. breath: against the voice's.
    tremor: in octaves at 6 Hz. accent: how much syllables stand out."""

    pitch: float
    swing: float
    slope: float
    tilt_db: float
    level_db: float
    tempo: float
    breath: float
    tremor: float
    accent: float


MANNERS = (
    Manner(1.00, 0.10, -0.10, -10, -14, 1.00, 1.0, 0.00, 0.3),  # neutral
    Manner(0.92, 0.08, -0.20, -13, -20, 0.80, 2.0, 0.00, 0.2),  # calm
    Manner(1.35, 0.50, 0.20, -8, -8, 1.15, 0.8, 0.00, 0.8),  # happy
    Manner(0.85, 0.15, -0.40, -14, -22, 0.68, 1.5, 0.04, 0.2),  # sad
    Manner(1.30, 0.25, -0.25, -5, -3, 1.20, 0.5, 0.00, 1.0),  # angry
    Manner(1.55, 0.20, 0.10, -9, -14, 1.40, 2.0, 0.08, 0.4),  # fearful
    Manner(0.90, 0.35, -0.50, -9, -11, 0.85, 3.0, 0.02, 0.9),  # disgust
    Manner(1.45, 0.70, 0.90, -7, -7, 1.00, 1.0, 0.00, 0.6),  # surprised
)
"""In the order of RAVDESS's codes 01–08."""

# First three formants in Hz, of an adult male (Peterson & Barney 1952, rounded).
_VOWELS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
_STATEMENTS = ("iaoei", "oaieu")
_FORMANT_WIDTH_HZ = (80, 110, 160)
_FRAME_SAMPLES = 160


def draw_voice(speaker: int, seed: int) -> Voice:
    """The voice of speaker 1–24: odd numbers male, even ones female, as in RAVDESS."""
    rng = np.random.default_rng([seed, 1, speaker])
    female = speaker % 2 == 0
    return Voice(
        pitch_hz=(200 if female else 115) * 2 ** rng.uniform(-0.2, 0.2),
        tract=(1.15 if female else 1.0) * rng.uniform(0.94, 1.06),
        tempo=rng.uniform(0.92, 1.08),
        breath=rng.uniform(0.6, 1.4),
    )


def synthesise(
    voice: Voice,
    manner: Manner,
    statement: int,
    rate_hz: int,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> npt.NDArray[np.float32]:
    """One utterance of statement 0 or 1, float32 [samples] in [-1, 1]. strength: of the emotion, 1 normal."""
    vowels = _STATEMENTS[statement]
    syllable_s = 0.24 / (voice.tempo * manner.tempo) * rng.uniform(0.93, 1.07)
    frame_s = _FRAME_SAMPLES / rate_hz
    times = np.arange(0, len(vowels) * syllable_s, frame_s) / syllable_s  # in syllables
    progress = times / len(vowels)

    octaves = strength * (
        manner.swing * np.sin(2 * np.pi * (progress * 1.5 + rng.uniform(-0.05, 0.05))) / 2
        + manner.slope * (progress - 0.5)
    )
    octaves += manner.tremor * np.sin(2 * np.pi * 6 * times * syllable_s + rng.uniform(0, 6.28))
    octaves += 0.01 * rng.standard_normal(len(times))  # jitter
    pitch_hz = voice.pitch_hz * manner.pitch**strength * 2**octaves * rng.uniform(0.97, 1.03)

    targets = np.array([_VOWELS[vowel] for vowel in vowels], dtype=float) * voice.tract
    centres = np.arange(len(vowels)) + 0.5
    formants = np.stack([np.interp(times, centres, targets[:, k]) for k in range(3)], axis=1)  # [frames, 3]
    within = times % 1.0
    accents = 1 - manner.accent * rng.uniform(0.2, 0.7, len(vowels))
    loudness = (
        np.sin(np.pi * np.clip(within, 0.02, 0.98)) ** 0.6 * accents[np.minimum(times.astype(int), len(vowels) - 1)]
    )
    loudness *= 1 + 0.05 * rng.standard_normal(len(times))  # shimmer

    tone = _harmonics(pitch_hz, formants, loudness, manner.tilt_db, rate_hz)
    noise = _breath(formants, loudness, rate_hz, rng)
    sound = tone / (np.sqrt(np.mean(tone**2)) + 1e-9)
    sound += 0.12 * voice.breath * manner.breath * noise / (np.sqrt(np.mean(noise**2)) + 1e-9)
    sound *= 0.25 * 10 ** ((manner.level_db * strength + rng.uniform(-1, 1)) / 20)
    before, after = (round(rng.uniform(0.15, 0.3) * rate_hz) for _ in range(2))
    sound = np.pad(sound, (before, after)) + 2e-4 * rng.standard_normal(len(sound) + before + after)
    return np.clip(sound, -1, 1).astype(np.float32)


def _envelope(hz: Floats, formants: Floats) -> Floats:
    """Gain of three parallel resonances at ``hz`` [frames, n] for formants [frames, 3]."""
    gain = np.zeros_like(hz)
    for k, width_hz in enumerate(_FORMANT_WIDTH_HZ):
        gain += 0.6**k / np.sqrt(1 + ((hz - formants[:, k : k + 1]) / width_hz) ** 2)
    return gain


def _harmonics(pitch_hz: Floats, formants: Floats, loudness: Floats, tilt_db: float, rate_hz: int) -> Floats:
    count = int(min(60, 0.45 * rate_hz / pitch_hz.min()))
    order = np.arange(1, count + 1)
    hz = pitch_hz[:, None] * order  # [frames, harmonics]
    gain = _envelope(hz, formants) * 10 ** (tilt_db / 20 * np.log2(order)) * loudness[:, None]
    gain *= hz < 0.47 * rate_hz
    samples = np.arange(len(pitch_hz) * _FRAME_SAMPLES)
    frames = (np.arange(len(pitch_hz)) + 0.5) * _FRAME_SAMPLES
    phase = 2 * np.pi * np.cumsum(np.interp(samples, frames, pitch_hz)) / rate_hz
    sound = np.zeros(len(samples))
    for k in order:
        sound += np.interp(samples, frames, gain[:, k - 1]) * np.sin(k * phase)
    return sound


def _breath(formants: Floats, loudness: Floats, rate_hz: int, rng: np.random.Generator) -> Floats:
    """White noise through the formants, frame by frame, overlapped and added."""
    size = 2 * _FRAME_SAMPLES
    hz = np.broadcast_to(np.fft.rfftfreq(size, 1 / rate_hz), (len(loudness), _FRAME_SAMPLES + 1))
    white = np.fft.rfft(rng.standard_normal((len(loudness), size)), axis=1)
    frames = np.fft.irfft(white * _envelope(hz, formants), axis=1) * np.hanning(size) * loudness[:, None]
    sound = np.zeros((len(loudness) + 1) * _FRAME_SAMPLES)
    sound[:-_FRAME_SAMPLES] += frames[:, :_FRAME_SAMPLES].ravel()
    sound[_FRAME_SAMPLES:] += frames[:, _FRAME_SAMPLES:].ravel()
    return sound[: len(loudness) * _FRAME_SAMPLES]


def write_corpus(
    folder: Path,
    *,
    speakers: int = 12,
    takes: int = 4,
    rate_hz: int = 16000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write ``Actor_XX/03-01-…wav`` (16 bit) for every speaker and emotion, and SYNTHETIC.txt beside them.

    speakers: 2 to 24. takes: 1 to 4 (statement × repetition) an emotion; the second repetition is spoken with strong
    emotion, but for neutral. rate_hz: 8000 or more. The same seed gives the same bytes,
    however many speakers are asked for.
    """
    import soundfile

    if not 2 <= speakers <= 24:
        raise SettingsError(f"speakers must be 2 to 24, got {speakers}; RAVDESS's names have room for no more")
    if not 1 <= takes <= 4:
        raise SettingsError(f"takes must be 1 to 4, got {takes}; there are two statements and two repetitions")
    if rate_hz < 8000:
        raise SettingsError(f"rate_hz must be 8000 or more, got {rate_hz}; the formants need it")
    if seed < 0:
        raise SettingsError(f"seed must not be negative, got {seed}; pass 0 or more")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER_NAME).write_text(_MARKER, encoding="utf-8")
    paths: list[Path] = []
    for speaker in range(1, speakers + 1):
        voice = draw_voice(speaker, seed)
        for emotion, manner in enumerate(MANNERS, 1):
            for take in range(takes):
                statement, repetition = take % 2, take // 2
                strong = repetition == 1 and emotion != 1
                rng = np.random.default_rng([seed, 2, speaker, emotion, take])
                sound = synthesise(voice, manner, statement, rate_hz, rng, 1.15 if strong else 1.0)
                fields = (3, 1, emotion, 2 if strong else 1, statement + 1, repetition + 1, speaker)
                path = folder / f"Actor_{speaker:02}" / ("-".join(f"{field:02}" for field in fields) + ".wav")
                path.parent.mkdir(exist_ok=True)
                soundfile.write(path, sound, rate_hz, subtype="PCM_16")
                paths.append(path)
                if progress:
                    progress(len(paths), speakers * 8 * takes)
    return paths
