"""export: a run folder → one file that gives the same answers without torch, verified on clips before it is written."""

import json
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from earsight import extras
from earsight.audio.decode import Samples, decode
from earsight.audio.load import resample
from earsight.errors import DecodeError, ModelError, SettingsError, first_line
from earsight.files import check_output_path, write_atomic
from earsight.network.description import REFIT_KEY, read_description
from earsight.network.exported import FORMAT, METADATA_KEY
from earsight.network.hub import is_hub_name, resolve_run
from earsight.network.prediction import to_probabilities
from earsight.tasks.clips_table import RunClip, read_clips, split_labels
from earsight.tasks.sharing.redaction import Redactor

if TYPE_CHECKING:
    from earsight.network.classifier import Classifier
    from earsight.network.portable import Portable

Kind = Literal["onnx", "torch-export"]
Quantisation = Literal["none", "int8", "fp16"]
LARGEST_DIFFERENCE = 1e-3
_CHECKED, _CALIBRATED, _VALIDATED = 16, 128, 400
_KEPT_WHOLE = 3
"""Number of convolutions at the network's input that int8 leaves in 32 bits: a third to a half of the error of the
logits would come from them (docs/deploy.md)."""


@dataclass(frozen=True)
class ExportResult:
    """clips: number that was compared. real: they are recordings of the run, not noise. difference: the largest between
    logits of file and run, before quantisation. accuracy: of run and quantised file on validation clips, else None.
    validated: number of these. heard: the network was trained on these too. calibrated: for int8, whether on recordings
    of the run rather than noise, else None."""

    path: Path
    bytes: int
    clips: int
    real: bool
    difference: float
    accuracy: tuple[float, float] | None = None
    validated: int = 0
    heard: bool = False
    calibrated: bool | None = None


def export(
    run: str | Path,
    out: str | Path | None = None,
    *,
    to: Kind = "onnx",
    quantize: Quantisation = "none",
    overwrite: bool = False,
) -> ExportResult:
    """Write the network of a run, with mel front end, labels, temperature and settings, as one file.

    run: a run folder, or a model of the hub by its name (user/name). out: the file; None: named after the run. to: an
    ONNX file, or a program of torch.export. quantize: int8: weights and activations of 8 bits, calibrated on training
    clips; fp16: weights of 16 bits. The file is compared with the run on test clips (noise where they are gone) and not
    written where a logit differs by ``LARGEST_DIFFERENCE`` or more. Of a quantised file the accuracy on validation
    clips is measured, where these are there. Raises EarsightError.
    """
    ending = ".onnx" if to == "onnx" else ".pt2"
    beside = Path(Path(run).name) if is_hub_name(run) else Path(run)
    whole = beside.resolve()
    named = beside if beside.name not in {"", ".."} else whole
    place = Path(out) if out is not None else named.with_name(whole.name + ending)
    if quantize != "none" and to != "onnx":
        raise SettingsError(f"--quantize {quantize} is for ONNX files; leave out --to {to}")
    if place.suffix != ending:
        raise SettingsError(f"--out {place} must end in {ending}; name such a file")
    check_output_path(place, overwrite=overwrite)
    extras.check("torch", "timm", "safetensors", *(("onnx", "onnxscript", "onnxruntime") if to == "onnx" else ()))
    from earsight.network.classifier import Classifier
    from earsight.network.portable import Portable

    run = resolve_run(run)
    classifier = Classifier.load(run)
    recorded = read_clips(run)
    test, real = _example_sounds(classifier, recorded, "test", _CHECKED)
    portable = Portable.of(classifier)
    described = read_description(run)
    # The file may be published: no folders of this machine in it.
    about = {**Redactor.of(run, described).description(described), "format": FORMAT, "quantize": quantize}
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".export-") as folder:
        made = Path(folder) / f"model{ending}"
        answer = (_write_onnx if to == "onnx" else _write_program)(portable, made, about)
        difference = _difference(answer, portable, test)
        if difference >= LARGEST_DIFFERENCE:
            raise ModelError(
                f"the exported file gives other answers: a logit differs by {difference:.2g} on {len(test)} clips; "
                f"nothing was written. Please report this with the model's name ({classifier.network_settings.model})"
            )
        accuracy, validated, calibrated = None, 0, None
        if quantize != "none":
            valid = _labelled_sounds(classifier, recorded, "valid", _VALIDATED)
            calibration: list[Samples] = []
            if quantize == "int8":
                calibration, calibrated = _example_sounds(classifier, recorded, "train", _CALIBRATED)
            smaller = made.with_name("smaller.onnx")
            _FEWER_BITS[quantize](made, smaller, calibration)
            accuracy, validated = _accuracies(classifier, answer, _session(smaller), valid), len(valid)
            made = smaller
        write_atomic(place, made.read_bytes())
    heard = REFIT_KEY in described or any(row.part == "all" for row in recorded)
    return ExportResult(
        place, place.stat().st_size, len(test), real, difference, accuracy, validated, heard, calibrated
    )


Answer = Callable[[Samples], np.ndarray]
"""A waveform [channels, samples] → logits [classes]."""


def _example_sounds(
    classifier: "Classifier", recorded: Sequence[RunClip], part: str, most: int
) -> tuple[list[Samples], bool]:
    """Waveforms of up to ``most`` clips, spread over the part, at the network's rate, and True; noise and tones, and
    False, where the clips are gone."""
    sounds = [sound for sound, _ in _labelled_sounds(classifier, recorded, part, most)]
    if sounds:
        return sounds, True
    rng, audio = np.random.default_rng(0), classifier.audio
    lengths = rng.integers(audio.crop_samples // 2, 2 * audio.crop_samples, 8)
    made = [0.1 * rng.standard_normal((audio.channels, length)).astype(np.float32) for length in lengths]
    for number, sound in enumerate(made[::2], 1):
        seconds = np.arange(sound.shape[1]) / audio.rate_hz
        sound += 0.5 * np.sin(2 * np.pi * 0.05 * number * audio.rate_hz * seconds).astype(np.float32)
    return made, False


def _labelled_sounds(
    classifier: "Classifier", recorded: Sequence[RunClip], part: str, most: int
) -> list[tuple[Samples, npt.NDArray[np.bool_]]]:
    """Waveforms and labels, bool [classes]. Clips that are gone or can't be read are skipped."""
    clips = [row.clip for row in recorded if row.part in {part, "all"}]
    clips = [split_labels(clip) for clip in clips] if classifier.multilabel else clips
    known = set(classifier.labels)
    clips = [clip for clip in clips if set(clip.labels) <= known and (clip.labels or classifier.multilabel)]
    found = []
    for place in np.unique(np.linspace(0, len(clips) - 1, min(most, len(clips))).round().astype(int)):
        clip = clips[place]
        try:
            sound = resample(decode(clip.path, clip.start_s or 0.0, clip.end_s), classifier.audio).samples
        except DecodeError:
            continue
        found.append((sound, np.array([label in clip.labels for label in classifier.labels])))
    return found


def _write_onnx(portable: "Portable", path: Path, about: dict[str, Any]) -> Answer:
    import torch

    dimensions = {0: torch.export.Dim("batch", min=1), portable.length_axis: torch.export.Dim("samples", min=1)}
    try:
        program = torch.onnx.export(
            portable,
            (portable.example(),),
            dynamo=True,
            input_names=["waveform"],
            output_names=["probabilities", "logits", "familiarity"],
            dynamic_shapes=(dimensions,),
            verbose=False,
        )
    except Exception as error:  # the exporter's errors have no common kind
        raise ModelError(f"this network can't be exported to ONNX: {_root_line(error)}; try another --model") from error
    if program is None:
        raise ModelError("this network can't be exported to ONNX; train another")
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # file names of this machine
        node.doc_string = ""
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(about, ensure_ascii=False)
    path.write_bytes(model.SerializeToString())
    return _session(path)


def _session(path: Path) -> Answer:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    flat = len(session.get_inputs()[0].shape) == 2

    def answer(sound: Samples) -> np.ndarray:
        found: np.ndarray = session.run(["logits"], {"waveform": sound if flat else sound[None]})[0][0]
        return found

    return answer


def _write_program(portable: "Portable", path: Path, about: dict[str, Any]) -> Answer:
    import torch

    dimensions = {0: torch.export.Dim("batch", min=1), portable.length_axis: torch.export.Dim("samples", min=1)}
    try:
        program = torch.export.export(portable, (portable.example(),), dynamic_shapes=(dimensions,))
    except Exception as error:  # as above
        raise ModelError(f"this network can't be exported by torch.export: {_root_line(error)}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about views among the weights, which are saved in full
        torch.export.save(program, path, extra_files={"earsight.json": json.dumps(about, ensure_ascii=False)})
    module = torch.export.load(path).module()

    def answer(sound: Samples) -> np.ndarray:
        with torch.inference_mode():
            waveform = torch.from_numpy(sound)
            found: np.ndarray = module(waveform if waveform.shape[0] == 1 else waveform[None])[1][0].numpy()
        return found

    return answer


def _difference(answer: Answer, portable: "Portable", sounds: Sequence[Samples]) -> float:
    """The largest difference between logits of the file and of the run; infinite where an answer differs."""
    largest = 0.0
    for sound in sounds:
        theirs, ours = answer(sound), portable.reference(sound)
        if theirs.argmax() != ours.argmax() and np.ptp(np.sort(ours)[-2:]) > LARGEST_DIFFERENCE:
            return float("inf")
        largest = max(largest, float(np.abs(theirs - ours).max()))
    return largest


def _int8(whole: Path, smaller: Path, sounds: Sequence[Samples]) -> None:
    """Static quantisation of the network. The mel image stays in 32 bits, since it spans too many powers of ten; so do
    the first convolutions, and familiarity, which is cheap and has fitted limits. Clip and Relu are quantised, or the
    range of the tensors before them would include what they cut off."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = whole.with_name("prepared.onnx")
    quant_pre_process(whole, prepared, skip_symbolic_shape=True)
    model = onnx.load(prepared)
    flat = len(model.graph.input[0].type.tensor_type.shape.dim) == 2
    front_end = _front_end_nodes(model)
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv" and node.name not in front_end]

    class Sounds(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(sounds)

        def get_next(self) -> dict[str, Samples] | None:
            sound = next(self.left, None)
            return None if sound is None else {"waveform": sound if flat else sound[None]}

    quantize_static(
        prepared,
        smaller,
        Sounds(),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        op_types_to_quantize=["Conv", "Gemm", "MatMul", "Clip", "Relu"],
        nodes_to_exclude=[*front_end, *convolutions[:_KEPT_WHOLE], *_familiarity_nodes(model)],
    )


def _fp16(whole: Path, smaller: Path, sounds: Sequence[Samples]) -> None:
    """Store the network's weights in 16 bits, cast to 32 bits before use: half the size, the same speed."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(whole)
    of_front_end = set(_front_end_nodes(model))
    kept = {name for node in model.graph.node if node.name in of_front_end for name in node.input}
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < 64 or tensor.name in kept:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_fp16"))
        casts.append(helper.make_node("Cast", [f"{name}_fp16"], [name], to=TensorProto.FLOAT))
    for number, cast in enumerate(casts):
        model.graph.node.insert(number, cast)
    smaller.write_bytes(model.SerializeToString())


_FEWER_BITS: dict[str, Callable[[Path, Path, Sequence[Samples]], None]] = {"int8": _int8, "fp16": _fp16}


def _front_end_nodes(model: Any) -> list[str]:
    """Names of the nodes that compute the image: ancestors of the first node that uses a weight of the network."""
    weights = {tensor.name for tensor in model.graph.initializer if tensor.name.startswith("network.")}
    first = next(node for node in model.graph.node if weights & set(node.input))
    return _ancestors(model, [name for name in first.input if name not in weights])


def _familiarity_nodes(model: Any) -> list[str]:
    """Names of the nodes that are used for familiarity alone."""
    outputs = [output.name for output in model.graph.output]
    others = set(_ancestors(model, [name for name in outputs if name != "familiarity"]))
    return [name for name in _ancestors(model, ["familiarity"]) if name not in others]


def _ancestors(model: Any, left: list[str]) -> list[str]:
    """Names of all nodes that the values ``left`` depend on."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    found: list[str] = []
    left = list(left)
    while left:
        node = made_by.get(left.pop())
        if node is not None and node.name not in found:
            found.append(node.name)
            left += node.input
    return found


def _accuracies(
    classifier: "Classifier", one: Answer, other: Answer, valid: Sequence[tuple[Samples, npt.NDArray[np.bool_]]]
) -> tuple[float, float] | None:
    """The share of clips with every label correct, of both."""
    if not valid:
        return None

    def right(logits: np.ndarray, truth: npt.NDArray[np.bool_]) -> bool:
        if classifier.thresholds is None:
            return bool(truth[logits.argmax()])
        told = to_probabilities(logits[None], classifier.temperature, several=True)[0]
        return bool(((told >= np.array(classifier.thresholds)) == truth).all())

    first, second = (np.mean([right(answer(sound), truth) for sound, truth in valid]) for answer in (one, other))
    return float(first), float(second)


def _root_line(error: BaseException) -> str:
    """The first line of the root cause, which exporters wrap into advice of their own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)[:200]
