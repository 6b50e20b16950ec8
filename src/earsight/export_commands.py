"""The commands that take a model elsewhere: export."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from earsight.plain import plain
from earsight.terminal import show


def export(
    run: Path,
    /,
    *,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    to: Literal["onnx", "torch-export"] = "onnx",
    quantize: Literal["none", "int8", "fp16"] = "none",
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Write a trained network as one file, mel image and labels inside, that answers the same without torch.

    Parameters
    ----------
    run
        A run folder.
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

    done = task(run, out, to=to, quantize=quantize, overwrite=overwrite)
    clips = f"{done.clips} clips" if done.real else f"{done.clips} clips of noise (the run's recordings are gone)"
    show(f"{plain(str(done.path))}: {done.bytes / 1e6:.1f} MB")
    show(f"compared with the run on {clips}: logits differ by {done.difference:.1g} at most, no answer does")
    if quantize != "none":
        show(
            f"accuracy on {done.validated} validation clips: {done.accuracy[0]:.3f} in 32 bits, "
            f"{done.accuracy[1]:.3f} with {quantize}"
            if done.accuracy
            else f"what {quantize} costs is not known: the run's validation clips are gone"
        )
    return 0
