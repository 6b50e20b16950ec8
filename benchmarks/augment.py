"""What each augmentation costs beside the plain mel image, interleaved: ms a clip, medians (min–max) of the rounds.

Each is measured alone, on for every clip; the share of clips that a recipe gives noise, backgrounds and rooms costs as
much less.
"""

import argparse
import statistics
from collections.abc import Mapping

import numpy as np
import torch

from earsight.mel.augment import augmented_images, draw
from earsight.mel.image import MelImage
from earsight.mel.settings import AugmentSettings, MelSettings
from earsight.mel.wave_augment import Banks
from earsight.tasks.bench import interleaved
from earsight.tasks.machine.cores import allowed_cores
from earsight.tasks.machine.memory import keep_freed_memory

RATE_HZ, CROP_SAMPLES = 16000, 48000
OFF = {"mixup_alpha": 0.0, "time_masks": 0, "freq_masks": 0}
WAYS: Mapping[str, Mapping[str, object]] = {
    "plain mel image": {},
    "speed": {"speed": 0.15},
    "stretch and pitch": {"stretch": 0.2, "pitch_semitones": 2.0},
    "gain and polarity": {"gain_db": 6.0, "polarity": True},
    "noise": {"noise_share": 1.0},
    "background": {"background": "a folder", "background_share": 1.0},
    "room": {"reverb": "a folder", "reverb_share": 1.0},
    "filter": {"filter_db": 6.0},
    "masks": {"time_masks": 2, "freq_masks": 2},
    "mixup of images": {"mixup_alpha": 0.3},
    "mixup of waveforms": {"wave_mixup_alpha": 0.3},
    "cutmix": {"cutmix_alpha": 0.3},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(allowed_cores())
    keep_freed_memory()
    generator = torch.Generator().manual_seed(0)
    sounds = torch.randn(arguments.batch_size, 1, 2 * CROP_SAMPLES, generator=generator)
    rooms, backgrounds = tuple(sounds[:4, :, :8000]), tuple(sounds[:4])
    targets, image = torch.eye(arguments.batch_size), MelImage(MelSettings(), RATE_HZ)
    rng = np.random.default_rng(0)

    def once(settings: AugmentSettings) -> None:
        banks = Banks(rooms if settings.reverb else (), backgrounds if settings.background else ())
        drawn = draw(arguments.batch_size, image, CROP_SAMPLES, settings, rng, banks)
        samples = int(drawn.warp.samples.max()) if drawn.warp else CROP_SAMPLES
        with torch.no_grad():
            augmented_images(image, sounds[..., :samples], targets, drawn, banks)

    settings = {name: AugmentSettings.model_validate({**OFF, **changes}) for name, changes in WAYS.items()}
    seconds = interleaved({name: (lambda s=s: once(s)) for name, s in settings.items()}, arguments.rounds, "cpu")
    plain = statistics.median(seconds["plain mel image"])
    print(f"{arguments.batch_size} clips of {CROP_SAMPLES / RATE_HZ:g} s, {torch.get_num_threads()} threads")
    for name, values in seconds.items():
        low, middle, high = (
            1000 / arguments.batch_size * v for v in (min(values), statistics.median(values), max(values))
        )
        more = middle - 1000 / arguments.batch_size * plain
        print(f"  {name:20}{middle:7.2f} ms a clip  ({low:.2f}–{high:.2f})  {more:+.2f}")


if __name__ == "__main__":
    main()
