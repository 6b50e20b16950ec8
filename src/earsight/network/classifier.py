"""Classifier: waveform → logits, with the mel front end, the labels and the settings inside."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from earsight.audio.decode import Samples
from earsight.audio.settings import AudioSettings
from earsight.errors import SettingsError
from earsight.mel.image import MelImage
from earsight.mel.settings import MelSettings
from earsight.network.checkpoint import check_folder, load_classifier, save_classifier
from earsight.network.device import find_device
from earsight.network.eval_mode import eval_mode
from earsight.network.familiarity import familiarity, features_and_logits
from earsight.network.head import Head, SigmoidHead, SoftmaxHead, as_logits
from earsight.network.hub import download_model
from earsight.network.prediction import Answers, Predictor, UnknownLimits
from earsight.network.settings import NetworkSettings
from earsight.network.weights import create_network, fixed_size


class Classifier(nn.Module, Predictor):
    """float32 waveform [batch, channels, samples] → float32 logits [batch, classes].

    labels: class names in the order of the logits. temperature: logits are divided by it before softmax or sigmoid;
    fitted on validation clips after training (``scores.calibration``); it changes no answer. directions: float32
    [directions, features], a basis of the features of training clips, from which familiarity is computed
    (``network.familiarity``); None where it was not fitted. unknown: limits beyond which the answer is "unknown".
    multilabel: a clip can have several labels, or none. thresholds: one a label, of multilabel models; None of others.
    ``state_dict`` has the weights alone, ``save`` writes everything.
    """

    members: tuple[NetworkSettings, ...] = ()
    """Settings of the networks of an ensemble (``network.ensemble``); () for a single network."""

    def __init__(
        self,
        labels: Sequence[str],
        audio: AudioSettings,
        mel: MelSettings,
        settings: NetworkSettings,
        *,
        multilabel: bool = False,
        network: nn.Module | None = None,
    ) -> None:
        """labels: one or more different names. network: timm's or your own, images float32 [batch, in_chans, height,
        width] → logits [batch, classes]; None: one is made by the settings. Raises SettingsError, ModelError."""
        super().__init__()
        _check_labels(labels)
        planes = audio.channels * mel.plane_count
        in_chans = settings.in_chans or planes
        if in_chans % planes:
            of = f"audio.channels {audio.channels}" + (f" with mel.planes {mel.planes}" if planes > 1 else "")
            raise SettingsError(f"in_chans {in_chans} is not a multiple of {planes} ({of}); change one of them")
        self.temperature = 1.0
        self.unknown = UnknownLimits()
        self.directions: Tensor | None
        self.register_buffer("directions", None, persistent=False)  # no weight of the network
        self.head: Head = SigmoidHead() if multilabel else SoftmaxHead()
        self.thresholds: tuple[float, ...] | None = (0.5,) * len(labels) if multilabel else None
        self.labels: tuple[str, ...] = tuple(labels)
        self.audio, self.mel, self.network_settings = audio, mel, settings
        self.network = create_network(settings, in_chans, len(labels)) if network is None else network
        self.in_chans = in_chans
        self.enlarge(settings.size_multiple)

    def enlarge(self, multiple: int) -> None:
        """Set the image size: height and width become multiples of ``multiple``, or the one size that the network
        takes."""
        self.network_settings = self.network_settings.model_copy(update={"size_multiple": multiple})
        repeat_channels = self.in_chans // (self.audio.channels * self.mel.plane_count)
        self.image = MelImage(self.mel, self.audio.rate_hz, repeat_channels, fixed_size(self.network))
        if self.image.size is None and multiple > 1:
            height, width = (-(-side // multiple) * multiple for side in self.image_shape[1:])
            self.image = MelImage(self.mel, self.audio.rate_hz, repeat_channels, (height, width))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the images that the network gets."""
        return (self.in_chans, *self.image.image_size(self.audio.crop_samples))

    @property
    def multilabel(self) -> bool:
        return isinstance(self.head, SigmoidHead)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.logits(self.image(waveform))

    def logits(self, image: Tensor) -> Tensor:
        """image: [batch, in_chans, height, width], as ``self.image`` makes it."""
        return as_logits(self.network(image.contiguous(memory_format=torch.channels_last)), len(self.labels))

    @classmethod
    def load(cls, run: str | Path, device: str | torch.device = "cpu", *, network: nn.Module | None = None) -> Self:
        """The model of a run folder, ready to predict. Runs no code of the folder.

        device: cpu, cuda, cuda:N or mps. network: gets the weights where the folder has those of a network that is not
        timm's. Raises ModelError, SettingsError.
        """
        place = find_device(str(device))
        return load_classifier(cls, Path(run), network).to(place).eval()

    def save(self, folder: str | Path) -> None:
        """Write what ``load`` reads: weights, labels, settings, and what was fitted (temperature, thresholds, when the
        answer is "unknown").

        folder: new, empty, or of an earlier ``save``; raises SettingsError where it holds something else.
        """
        check_folder(Path(folder))
        save_classifier(self, Path(folder), {})

    @classmethod
    def from_pretrained(cls, name: str | Path, revision: str | None = None, device: str | torch.device = "cpu") -> Self:
        """The model of a run folder, or of the Hugging Face hub by its name (user/name), ready to predict. Runs no code
        of either, and goes online only for a model of the hub.

        revision: branch, tag or commit on the hub; None: the newest. Raises ModelError, SettingsError.
        """
        if not Path(name).is_dir():
            return cls.load(download_model(str(name), revision), device)
        if revision is not None:
            raise SettingsError(f"{name} is a folder here, which has no revision {revision!r}; leave it out")
        return cls.load(name, device)

    def answers(self, crops: Samples) -> Answers:
        """As ``probabilities``, with familiarity and silence of each clip."""
        features, logits = self.features_and_logits(crops)
        familiar = torch.ones(len(logits)) if self.directions is None else familiarity(features, self.directions)
        return Answers(
            self.head.probabilities(logits.double() / self.temperature).cpu().numpy(),
            familiar.double().cpu().numpy(),
            np.logical_not(crops.reshape(len(logits), -1).any(axis=1)),
        )

    @torch.no_grad()  # not inference mode: tensors that networks cache here are used in training too
    def features_and_logits(self, crops: Samples) -> tuple[Tensor, Tensor]:
        """Of each clip, means over its crops: features float32 [batch, features], scaled to length 1, and logits
        float32 [batch, classes], without a gradient. crops: as for ``probabilities``. Always computed in eval mode."""
        device = next(chain(self.parameters(), self.buffers())).device
        image = self.image(torch.from_numpy(crops).to(device)).contiguous(memory_format=torch.channels_last)
        with eval_mode(self):
            features, logits = features_and_logits(self.network, image)
        logits = as_logits(logits, len(self.labels))
        count = self.audio.score_crops
        return (
            normalize(features.reshape(-1, count, features.shape[1]).mean(dim=1), dim=1),
            logits.reshape(-1, count, logits.shape[1]).mean(dim=1),
        )


def _check_labels(labels: Sequence[str]) -> None:
    """Raises SettingsError."""
    plain = isinstance(labels, list | tuple) and all(isinstance(label, str) and label for label in labels)
    if not plain or not labels or len(set(labels)) != len(labels):
        raise SettingsError(f"labels must be different names, such as ('cat', 'dog'), got {str(labels)[:100]!r}")
