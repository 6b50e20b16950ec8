"""explain: a run and a recording → the part of its mel image that speaks for the answer."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from earsight import extras
from earsight.audio.decode import Samples
from earsight.audio.load import middle_crop
from earsight.audio.stream import read_waveform
from earsight.errors import SettingsError
from earsight.files import check_output_path
from earsight.network.device import check_device_name
from earsight.network.hub import resolve_run
from earsight.scores.figures import Explained, draw_explanations
from earsight.tasks.predict import LONGEST_S

if TYPE_CHECKING:
    from earsight.network.classifier import Classifier


@dataclass(frozen=True)
class Explanation(Explained):
    """An explanation of the middle crop of a recording. label: the class that is explained. probability: of that class.
    unknown: the answer would be "unknown". truncated: what is missing of a recording that was cut off."""

    label: str
    probability: float
    method: str
    unknown: bool
    truncated: str | None = None

    def __str__(self) -> str:
        return f"{self.label} {self.probability:.2f} ({self.method}{', unknown' if self.unknown else ''})"

    @property
    def strongest(self) -> tuple[float, float]:
        """Time in seconds and frequency in Hz of the centre of the hottest tenth of the image, or of all of it that is
        above zero where that is less; the centre of the image where nothing is."""
        hot = (self.heat >= np.quantile(self.heat, 0.9)) & (self.heat > 0)
        mels, frames = np.nonzero(hot if hot.any() else self.heat == 0)
        return float(frames.mean() * self.hop_s), float(
            np.interp(mels.mean(), np.arange(len(self.mel_hz)), self.mel_hz)
        )


def explain(
    run: "str | Path | Classifier",
    source: str | Path,
    out: str | Path,
    *,
    label: str | None = None,
    device: str = "cpu",
    overwrite: bool = False,
) -> Explanation:
    """Draw the evidence for the answer, or for ``label``, over the mel image, and write it to ``out``, a PNG file.

    run: a run folder, a model of the hub by its name (user/name), or a loaded model. Raises EarsightError.
    """
    check_device_name(device)
    place = Path(out)
    if place.suffix != ".png":
        raise SettingsError(f"--out {place} must end in .png; name such a file")
    check_output_path(place, overwrite=overwrite)
    extras.check("torch", "timm", "safetensors", "captum", "matplotlib")
    from earsight.network.classifier import Classifier

    classifier = Classifier.load(resolve_run(run), device) if isinstance(run, str | Path) else run
    if not isinstance(classifier, Classifier):
        raise SettingsError(f"{type(run).__name__} can't be explained; pass a run folder or a Classifier")
    if label is not None and label not in classifier.labels:
        raise SettingsError(f"no label {label!r}; the model knows {', '.join(classifier.labels)}")
    waveform, cut_off = read_waveform(source, classifier.audio, longest_s=LONGEST_S)
    found = replace(explain_waveform(classifier, waveform, label), truncated=cut_off)
    draw_explanations(place, [found], [f"{Path(source).name}: {found}"])
    return found


def explain_waveform(classifier: "Classifier", waveform: Samples, label: str | None = None) -> Explanation:
    """waveform: float32 [channels, samples], of ``load_waveform``. label: the class to explain; None: the answer."""
    import torch

    from earsight.mel.spectrogram import decibels, mel_edges_hz
    from earsight.network.attribution import attribution

    crop = np.ascontiguousarray(middle_crop(waveform, classifier.audio))
    answer = next(classifier.predictions(np.stack([crop] * classifier.audio.score_crops)))
    chosen = answer.label if label is None else label
    heat, method = attribution(classifier, crop, chosen)
    device = next(classifier.parameters()).device
    with torch.inference_mode():
        mel = classifier.image.spectrogram(torch.from_numpy(crop)[None].to(device))[0].mean(dim=0)
        decibel = decibels(mel, classifier.mel.power).cpu().numpy()
    return Explanation(
        label=chosen,
        probability=answer.probabilities[chosen],
        method=method,
        unknown=answer.unknown,
        heat=heat,
        decibel=decibel,
        waveform=crop.mean(axis=0),
        rate_hz=classifier.audio.rate_hz,
        hop_s=classifier.mel.hop_length / classifier.audio.rate_hz,
        mel_hz=mel_edges_hz(classifier.mel, classifier.audio.rate_hz)[1:-1],
    )
