"""The commands that explain or publish a model: explain, export, push."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from earsight.flags import Switch
from earsight.plain import plain, pluralise
from earsight.terminal import note_unfinished, show


def export(
    run: Path,
    /,
    *,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    to: Literal["onnx", "torch-export"] = "onnx",
    quantize: Literal["none", "int8", "fp16"] = "none",
    overwrite: Switch = False,
) -> int:
    """Export a trained network as one file that contains its mel image and labels and gives the same answers without
    torch.

    Parameters
    ----------
    run
        A run folder, or a model on the Hugging Face hub (user/name).
    out
        File to write. Default: RUN.onnx, or RUN.pt2 with --to torch-export.
    to
        File format: ONNX, or the format of torch.export.
    quantize
        int8: faster, calibrated on training clips; fp16: half the size. Both print their accuracy on validation clips.
    overwrite
        Replace the file if it exists.
    """
    from earsight.tasks.export import export as task

    note_unfinished(run)
    done = task(run, out, to=to, quantize=quantize, overwrite=overwrite)
    clips = f"{done.clips} clips" if done.real else f"{done.clips} clips of noise (the run's recordings were not found)"
    show(f"{plain(str(done.path))}: {done.bytes / 1e6:.1f} MB")
    when = "" if quantize == "none" else " before quantising"
    show(f"checked against the run on {clips}{when}: same answers, logits differ by at most {done.difference:.1g}")
    if quantize != "none":
        noise = "; calibrated on noise, because the training clips were not found" if done.calibrated is False else ""
        cost = f"accuracy with {quantize} was not measured: the run's validation clips were not found"
        if done.accuracy:
            whole, smaller = done.accuracy
            kind = "validation clips (also trained on)" if done.heard else "validation clips"
            cost = f"accuracy on {done.validated} {kind}: {whole:.3f} in 32 bits, {smaller:.3f} with {quantize}"
        show(cost + noise)
    return 0


def explain(
    run: Path,
    recording: Path,
    /,
    *,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    label: str | None = None,
    device: str = "cpu",
    overwrite: Switch = False,
) -> int:
    """Draw which part of a recording's mel image led to the answer (HiResCAM, a variant of Grad-CAM, or gradients).

    Parameters
    ----------
    run
        A run folder, or a model on the Hugging Face hub (user/name).
    recording
        The recording to explain; only the crop from its middle is used.
    out
        PNG file to write. Default: RECORDING-explained.png in the current folder.
    label
        The class to explain. Default: the predicted class.
    device
        Device to run on: cpu, cuda or mps.
    overwrite
        Replace the file if it exists.
    """
    from earsight.tasks.explain import explain as task

    place = out or Path(f"{recording.stem}-explained.png")
    note_unfinished(run)
    done = task(run, recording, place, label=label, device=device, overwrite=overwrite)
    seconds, hz = done.strongest
    where = f"strongest around {seconds:.2f} s and {hz:.0f} Hz ({done.method})"
    said = "; the model's answer is unknown" if done.unknown else ""
    show(f"{plain(done.label, 24)} {done.probability:.2f}: {where}{said}")
    show(plain(str(place)))
    if done.truncated:
        show(f"earsight: only the readable part was explained: {plain(done.truncated)}", to=sys.stderr)
        return 2
    return 0


def push(
    run: Path,
    name: str,
    /,
    *,
    private: Switch = False,
    licence: Annotated[str | None, Parameter(alias="--license")] = None,
    onnx: Path | None = None,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
) -> int:
    """Upload a trained network to the Hugging Face hub, with a model card that says how it was scored and how well.

    Parameters
    ----------
    run
        A run folder. No recordings are uploaded, and nothing that names your folders.
    name
        user/name or organisation/name. Existing files there become an earlier version.
    private
        Create the repository as private. An existing repository keeps its visibility.
    licence
        Licence of the weights, as an identifier of the hub (such as cc-by-4.0). Default: that of the data, if known.
    onnx
        A file exported from the same run (earsight export), to upload with it.
    out
        Write the files to this folder instead of uploading them.
    """
    from earsight.tasks.push import push as task

    note_unfinished(run)
    done = task(run, name, private=private, licence=licence, onnx=onnx, out=out)
    show(
        f"{plain(done.place)}: {pluralise(len(done.names), 'file')}, {done.bytes / 1e6:.1f} MB: {', '.join(done.names)}"
    )
    if out is None:
        show(f"try:    earsight predict {name} FILE…")
    return 0


COMMANDS = (explain, export, push)
