"""Classifier: waveform → logits, with the mel front end, the labels and the settings inside."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

import numpy as np
import torch
from torch import Tensor, nn

from earsight.audio.decode import Samples
from earsight.audio.load import fixed_crop, load_waveform
from earsight.audio.settings import AudioSettings
from earsight.errors import SettingsError
from earsight.mel.image import MelImage
from earsight.mel.settings import MelSettings
from earsight.network.head import AnyOf, Head, OneOf
from earsight.network.settings import NetworkSettings
from earsight.network.weights import create_network, fixed_size


@dataclass(frozen=True)
class Prediction:
    """label: the likeliest class. probabilities: class → [0, 1], in the order of the network, summing to 1.

    labels: where clips can have several, those at or above their thresholds, the likeliest first, perhaps none; the
    probabilities are then each by themselves. None for a network that answers with one label.
    """

    label: str
    probabilities: dict[str, float]
    labels: tuple[str, ...] | None = None

    @property
    def probability(self) -> float:
        return self.probabilities[self.label]


class Classifier(nn.Module):
    """float32 waveform [batch, channels, samples] → float32 logits [batch, classes].

    labels: class names in the order of the logits. temperature: what logits are divided by before they become
    probabilities, fitted on validation clips after training (``scores.calibration``); it changes no answer.
    multilabel: a clip can have several labels, or none. thresholds: of each label then, likewise fitted.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        audio: AudioSettings,
        mel: MelSettings,
        network: NetworkSettings,
        *,
        multilabel: bool = False,
    ) -> None:
        super().__init__()
        in_chans = network.in_chans or audio.channels
        if in_chans % audio.channels:
            raise SettingsError(f"in_chans {in_chans} is not a multiple of audio.channels {audio.channels}")
        self.temperature = 1.0
        self.head: Head = AnyOf() if multilabel else OneOf()
        self.thresholds = (0.5,) * len(labels) if multilabel else ()
        self.labels, self.audio, self.mel, self.network_settings = labels, audio, mel, network
        self.network = create_network(network, in_chans, len(labels))
        self.image = MelImage(mel, audio.rate_hz, in_chans // audio.channels, fixed_size(self.network))

    @property
    def multilabel(self) -> bool:
        return isinstance(self.head, AnyOf)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.logits(self.image(waveform))

    def logits(self, image: Tensor) -> Tensor:
        """image: [batch, in_chans, height, width], as ``self.image`` makes it."""
        logits: Tensor = self.network(image.contiguous(memory_format=torch.channels_last))
        return logits.float()

    @classmethod
    def load(cls, run: str | Path, device: str = "cpu") -> Self:
        """The best network of a run folder, ready to predict. Runs no code of the folder. Raises ModelError."""
        from earsight.network.checkpoint import load_classifier

        return load_classifier(cls, Path(run)).to(device).eval()

    @torch.inference_mode()
    def probabilities(self, crops: Samples) -> np.ndarray:
        """float32 [batch, channels, crop_samples] → float64 [batch, classes]; rows sum to 1 unless multilabel."""
        device = next(self.parameters()).device
        logits = self(torch.from_numpy(crops).to(device))
        return self.head.probabilities(logits.double() / self.temperature).cpu().numpy()

    def predict(self, source: str | Path | bytes | IO[bytes]) -> Prediction:
        """Classify one recording (path, encoded bytes or file object). Raises DecodeError."""
        return next(self.predict_many([source]))

    def predict_many(
        self, sources: Iterable[str | Path | bytes | IO[bytes]], batch_size: int = 16
    ) -> Iterator[Prediction]:
        """Classify recordings, lazily and in order. Raises DecodeError at the first that can't be read."""
        was_training = self.training
        self.eval()
        try:
            batch: list[Samples] = []
            for source in sources:
                batch.append(fixed_crop(load_waveform(source, self.audio), self.audio))
                if len(batch) == batch_size:
                    yield from self.predictions(np.stack(batch))
                    batch = []
            if batch:
                yield from self.predictions(np.stack(batch))
        finally:
            self.train(was_training)

    def predictions(self, crops: Samples) -> Iterator[Prediction]:
        """float32 [batch, channels, crop_samples] → one Prediction an item."""
        for row in self.probabilities(crops):
            of = dict(zip(self.labels, row.tolist(), strict=True))
            first, labels = self.labels[int(row.argmax())], None
            if self.multilabel:
                over = (one for one, least in zip(self.labels, self.thresholds, strict=True) if of[one] >= least)
                labels = tuple(sorted(over, key=lambda one: -of[one]))
            yield Prediction(first, of, labels)
