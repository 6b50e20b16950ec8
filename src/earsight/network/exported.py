"""A model as one ONNX file: waveform → probabilities by onnxruntime, without torch."""

import json
import os
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import ValidationError

from earsight import extras
from earsight.audio.decode import Samples
from earsight.audio.settings import AudioSettings
from earsight.errors import ModelError, first_line
from earsight.network.prediction import Answers, Predictor, UnknownLimits, to_probabilities

FORMAT = 2
METADATA_KEY = "earsight"
"""Key of the entry in the file's metadata that holds all settings, as JSON."""


class Exported(Predictor):
    """A model that answers by onnxruntime. labels: class names in the order of the outputs. audio: how a recording
    becomes a waveform. thresholds: one a label, where clips can have several; else None. unknown: limits beyond which
    the answer is "unknown". about: the metadata of the file."""

    def __init__(self, session: Any, about: dict[str, Any], labels: tuple[str, ...], audio: AudioSettings) -> None:
        self._session, self.about, self.labels, self.audio = session, about, labels, audio
        self.unknown = UnknownLimits.from_dict(about.get("unknown"), "the model")
        several = about.get("task") == "multilabel"
        self.thresholds = tuple(map(float, about["thresholds"])) if several else None

    @classmethod
    def load(cls, path: str | Path, threads: int | None = None) -> Self:
        """Raises ModelError where it is not a file of ``earsight export``, MissingExtraError without onnxruntime."""
        runtime = extras.require("onnxruntime")
        if not Path(path).is_file():
            raise ModelError(f"no such model file: {path}")
        if not os.access(path, os.R_OK):
            raise ModelError(f"{path} can't be read: permission denied; ask its owner")
        options = runtime.SessionOptions()
        options.log_severity_level = 4  # nothing: errors are raised as well
        if threads:
            options.intra_op_num_threads = threads
        try:
            session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common kind
            said = first_line(error)
            if "Unsupported model IR version" in said:
                raise ModelError(
                    f"{path} needs a newer onnxruntime than the one installed; upgrade onnxruntime"
                ) from error
            raise ModelError(f"{path} can't be run as ONNX ({said[:200]}); export it again") from error
        about = _about(Path(path), session)
        try:
            audio = AudioSettings.model_validate(about["audio"])
            labels = tuple(map(str, about["labels"]))
            size = session.get_outputs()[0].shape[-1]
            if not 1e-9 < float(about.get("temperature", 1.0)) < 1e9:
                raise ValueError("temperature")
            given = session.get_inputs()[0].shape
            if len(given) != (2 if audio.channels == 1 else 3):
                raise ValueError("channels")
            if about.get("task") == "multilabel" and len(tuple(map(float, about["thresholds"]))) != len(labels):
                raise ValueError("thresholds")
        except (KeyError, TypeError, ValueError, IndexError, OverflowError, ValidationError) as error:
            raise ModelError(f"{path} is damaged: its metadata is incomplete; export it again") from error
        if size != len(labels):
            raise ModelError(f"{path} is damaged: {len(labels)} labels for {size} answers; export it again")
        return cls(session, about, labels, audio)

    @property
    def multilabel(self) -> bool:
        return self.thresholds is not None

    def answers(self, crops: Samples) -> Answers:
        """As ``probabilities``, with familiarity and silence of each clip."""
        # The model takes whole recordings and crops them itself, but these differ in length and would not fit into one
        # batch. So it gets the crops of each clip, concatenated and marked as prepared.
        clips = crops.reshape(-1, self.audio.score_crops, *crops.shape[1:]).swapaxes(1, 2)
        waveform = clips.reshape(len(clips), self.audio.channels, -1)
        given = mark_prepared(waveform[:, 0] if self.audio.channels == 1 else waveform)
        logits, familiarity = self._session.run(["logits", "familiarity"], {"waveform": given})
        silent = np.logical_not(waveform.any(axis=(1, 2)))
        told = to_probabilities(logits, float(self.about.get("temperature", 1.0)), several=self.multilabel)
        return Answers(told, familiarity.astype(np.float64), silent)


def mark_prepared(waveform: Samples) -> Samples:
    """float32 [..., score_crops × crop_samples] → float32 [..., score_crops × crop_samples + 1]: a NaN at the end,
    which no recording has, tells an exported model that these are concatenated crops of ``load_waveform``."""
    return np.pad(waveform, [(0, 0)] * (waveform.ndim - 1) + [(0, 1)], constant_values=np.nan)


def _about(path: Path, session: Any) -> dict[str, Any]:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelError(f"{path} is an ONNX file, but was not made by earsight export: it has no labels and settings")
    try:
        about = json.loads(text)
        version = about["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: its metadata can't be read; export it again") from error
    if version != FORMAT:
        what = "export it again" if isinstance(version, int) and version < FORMAT else "upgrade earsight"
        raise ModelError(f"{path} has format {version!r}, but this earsight reads {FORMAT}; {what}")
    return dict(about)
