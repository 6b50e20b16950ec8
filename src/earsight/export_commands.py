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
    """Write a trained network as one file, mel image and labels inside, that answers the same without torch.

    Parameters
    ----------
    run
        A run folder, or a model of the hub (user/name).
    out
        The file; otherwise RUN.onnx.
    to
        An ONNX file, or a program of torch.export.
    quantize
        int8: faster, calibrated on training clips; fp16: half the size. Both print what they cost on validation clips.
    overwrite
        Replace the file where it is there already.
    """
    from earsight.tasks.export import export as task

    note_unfinished(run)
    done = task(run, out, to=to, quantize=quantize, overwrite=overwrite)
    clips = f"{done.clips} clips" if done.real else f"{done.clips} clips of noise (the run's recordings are gone)"
    show(f"{plain(str(done.path))}: {done.bytes / 1e6:.1f} MB")
    when = "" if quantize == "none" else ", before quantising"
    show(f"compared with the run on {clips}{when}: logits differ by {done.difference:.1g} at most, no answer does")
    if quantize != "none":
        noise = "; calibrated on noise: the training clips are gone" if done.calibrated is False else ""
        cost = f"what {quantize} costs is not known: the run's validation clips are gone"
        if done.accuracy:
            whole, smaller = done.accuracy
            kind = "clips that it was trained on, too" if done.heard else "validation clips"
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
    """Draw which part of a recording's mel image spoke for the answer (HiResCAM, a kin of Grad-CAM, or gradients).

    Parameters
    ----------
    run
        A run folder, or a model of the hub (user/name).
    recording
        The recording to explain; only the crop in its middle is used.
    out
        A PNG file; otherwise RECORDING-explained.png here.
    label
        The class to explain; default: the predicted one.
    device
        cpu, cuda, mps.
    overwrite
        Replace the file where it is there already.
    """
    from earsight.tasks.explain import explain as task

    place = out or Path(f"{recording.stem}-explained.png")
    note_unfinished(run)
    done = task(run, recording, place, label=label, device=device, overwrite=overwrite)
    seconds, hz = done.strongest
    where = f"most of it around {seconds:.2f} s and {hz:.0f} Hz ({done.method})"
    said = "; the model would say unknown" if done.unknown else ""
    show(f"{plain(done.label, 24)} {done.probability:.2f}: {where}{said}")
    show(plain(str(place)))
    if done.truncated:
        show(f"earsight: explained as far as it goes: {plain(done.truncated)}", to=sys.stderr)
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
    """Put a trained network on the Hugging Face hub, with a card that tells how it was scored and how well.

    Parameters
    ----------
    run
        A run folder. No recording of it is sent, and nothing that names your folders.
    name
        user/name, or organisation/name. What is there already becomes an earlier version.
    private
        Create the repository as a private one; an existing one stays as it is.
    licence
        Licence of the weights, by the hub's identifier (cc-by-4.0); default: that of the data, where earsight knows it.
    onnx
        A file of earsight export of the same run, to lie beside.
    out
        Write what would be sent into this folder, and send nothing.
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
