"""The command line: parse, call one task, print, set the exit code."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
from cyclopts import Parameter
from pydantic import BaseModel, ValidationError

import earsight
from earsight.errors import EarsightError
from earsight.tasks.recipe import Recipe, explain

app = cyclopts.App(
    name="earsight",
    help="Train image networks to hear: recordings → mel images → any timm network → an honest score.",
    version=earsight.__version__,
    help_format="plaintext",
)
_RECIPE_GROUP = cyclopts.Group("Recipe settings (each replaces one value of the recipe)", sort_key=9)


def main(arguments: list[str] | None = None) -> None:
    """Run one command. Exit codes: 0 done · 2 refused, or some files could not be read · 130
    stopped by Ctrl-C."""
    try:
        code = app(
            arguments,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except EarsightError as error:
        _refuse(str(error))
    except cyclopts.CycloptsError as error:
        _refuse(_one_line(error))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)


def _refuse(message: str) -> None:
    print(f"earsight: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def _one_line(error: cyclopts.CycloptsError) -> str:
    if isinstance(error.__cause__, ValidationError):
        return explain(Recipe, error.__cause__)
    text = str(error).strip() or type(error).__name__
    return f"{text} (earsight --help lists what there is)"


def _set_values(model: BaseModel | None) -> dict[str, Any]:
    """Only what was given on the command line, nested."""
    if model is None:
        return {}
    values: dict[str, Any] = {}
    for name in model.model_fields_set:
        value = getattr(model, name)
        values[name] = _set_values(value) if isinstance(value, BaseModel) else value
    return values


@app.command(help_formatter="plain")
def train(
    data: Path,
    /,
    *,
    recipe: Annotated[str, Parameter(alias="-r")] = "default",
    split: str = "auto",
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    model: Annotated[str | None, Parameter(alias="-m")] = None,
    weights: Path | None = None,
    pretrained: bool | None = None,
    in_chans: int | None = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    strict: Annotated[bool, Parameter(negative="")] = False,
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    devices: int = 1,
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true",
    threads: int | None = None,
    settings: Annotated[Recipe | None, Parameter(name="*", group=_RECIPE_GROUP)] = None,
) -> int:
    """Train a network on labelled recordings, score it on speakers it never heard, write a report.

    Parameters
    ----------
    data
        A RAVDESS folder or zip, or a folder (or zip) with one folder a class.
    recipe
        default, article (the tutorial's way), demo, or a TOML file.
    split
        auto (by group where there are groups), group, random, luna5:0 … luna5:4, none.
    out
        The run folder; otherwise runs/ with a name of its own.
    model
        Any timm network: short for --network.model.
    weights
        A safetensors or pth file under timm's names: short for --network.weights.
    pretrained
        Whether to start from ImageNet weights: short for --network.pretrained.
    in_chans
        Channels of the image: short for --network.in-chans.
    resume
        Go on with the run in --out from its last whole epoch.
    strict
        Stop at the first bad file instead of leaving it out and saying so.
    accelerator
        Where to train.
    devices
        How many devices.
    precision
        Of the network's arithmetic.
    threads
        Threads of the CPU; otherwise the cores that are free.
    """
    changes = _set_values(settings)
    shorts = {
        "model": model,
        "weights": None if weights is None else str(weights),
        "pretrained": pretrained,
        "in_chans": in_chans,
    }
    given = {name: value for name, value in shorts.items() if value is not None}
    if given:
        changes["network"] = {**changes.get("network", {}), **given}
    from earsight.tasks.plan import plan_training

    plan = plan_training(
        data,
        Recipe.named(recipe, changes),
        recipe_name=recipe,
        split_kind=split,
        out=out,
        strict=strict,
        resume=resume,
    )
    from earsight.tasks.train import run_plan

    result = run_plan(
        plan, accelerator=accelerator, devices=devices, precision=precision, threads=threads, progress=True
    )
    if result.interrupted:
        return 130
    if result.test is None:  # another process of the same run speaks
        return 0
    _print_metrics(result.test, plan.split.sentence)
    print(f"report: {result.run / 'report.html'}")
    print(f"try:    earsight predict {result.run} FILE…")
    return 0


@app.command(help_formatter="plain")
def evaluate(
    run: Path,
    data: Path | None = None,
    /,
    *,
    device: str = "cpu",
    threads: int | None = None,
    strict: Annotated[bool, Parameter(negative="")] = False,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Score a trained run: on its own test clips, or on all recordings of DATA.

    Parameters
    ----------
    run
        A run folder.
    data
        Labelled recordings; otherwise the run's own test clips.
    device
        cpu, cuda, mps.
    threads
        Threads of the CPU; otherwise the cores that are free.
    strict
        Stop at the first bad file.
    json_
        Print JSON instead of a table.
    """
    from earsight.tasks.evaluate import evaluate as task

    done = task(run, data, device=device, threads=threads, strict=strict)
    if json_:
        failures = [{"path": str(f.path), "reason": f.reason} for f in done.failures]
        print(
            json.dumps(
                {
                    **done.metrics.to_dict(),
                    "sentence": done.sentence,
                    "warning": done.warning,
                    "failures": failures,
                },
                ensure_ascii=False,
            )
        )
    else:
        _print_metrics(done.metrics, done.sentence, table=True)
        if done.warning:
            print(f"warning: {done.warning}", file=sys.stderr)
        for failure in done.failures:
            print(f"left out: {failure.path}: {failure.reason}", file=sys.stderr)
    return 2 if done.failures else 0


@app.command(help_formatter="plain")
def predict(
    run: Path,
    paths: Annotated[list[Path], Parameter(negative="")],
    /,
    *,
    device: str = "cpu",
    threads: int | None = None,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Classify recordings: a table on a terminal, JSON Lines when piped.

    Parameters
    ----------
    run
        A run folder.
    paths
        Recordings, and folders of recordings.
    device
        cpu, cuda, mps.
    threads
        Threads of the CPU; otherwise the cores that are free.
    json_
        JSON Lines on a terminal too.
    """
    from earsight.tasks.predict import predict as task

    rows = task(run, paths, device=device, threads=threads)
    failed = 0
    width = min(60, max(len(str(path)) for path in paths) + 24)
    for row in rows:
        failed += row.error is not None
        if json_ or not sys.stdout.isatty():
            record: dict[str, Any] = {
                "path": str(row.path),
                "label": row.label,
                "probabilities": row.probabilities,
            }
            if row.error is not None:
                record["error"] = row.error
            print(json.dumps(record, ensure_ascii=False))
        elif row.probabilities is None:
            print(f"{row.path}  failed: {row.error}")
        else:
            first, *others = sorted(row.probabilities.items(), key=lambda item: -item[1])[:3]
            rest = "  ".join(f"{label} {p:.2f}" for label, p in others)
            print(f"{row.path!s:<{width}}  {first[0]:<12} {first[1]:.2f}   ({rest})")
    if failed:
        print(f"earsight: {failed} of the recordings could not be read", file=sys.stderr)
    return 2 if failed else 0


@app.command(help_formatter="plain")
def demo(*, out: Annotated[Path, Parameter(alias="-o")] = Path("runs/demo"), seed: int = 0) -> int:
    """Write a synthetic corpus, train on it, score unseen synthetic speakers, predict a few files.

    Parameters
    ----------
    out
        Where the corpus and the run go; an earlier demo there is replaced.
    seed
        Of the corpus and of the training.
    """
    from earsight.tasks.demo import demo as task

    done = task(out, seed=seed, progress=True)
    test = done.result.test
    if test is None:
        return 130
    _print_metrics(test, f"Synthetic voices. {done.sentence}")
    for row in done.rows:
        probability = (row.probabilities or {}).get(row.label or "", 0.0)
        print(f"  {row.path.name}  →  {row.label} {probability:.2f}")
    print(f"corpus: {done.corpus}\nrun:    {done.result.run}\nreport: {done.result.run / 'report.html'}")
    print("next, on real recordings (a RAVDESS folder or zip, or a folder with one folder a class):")
    print("        earsight train DATA")
    return 0


def _print_metrics(metrics: Any, sentence: str, *, table: bool = False) -> None:
    print(sentence)
    print(
        f"accuracy {metrics.accuracy:.3f}   UAR {metrics.uar:.3f}   macro-F1 {metrics.macro_f1:.3f}   "
        f"({metrics.clips} clips)"
    )
    if not table:
        return
    labels = [row.label for row in metrics.per_class]
    wide = max(len(label) for label in labels)
    print(f"\n{'':{wide}}  precision  recall     F1  support")
    for row in metrics.per_class:
        print(f"{row.label:{wide}}  {row.precision:9.3f} {row.recall:7.3f} {row.f1:6.3f} {row.support:8}")
    print("\ntruth in rows, answers in columns")
    print(f"{'':{wide}}  " + " ".join(f"{label[:6]:>6}" for label in labels))
    for label, counts in zip(labels, metrics.confusion, strict=True):
        print(f"{label:{wide}}  " + " ".join(f"{int(count):6}" for count in counts))


if __name__ == "__main__":
    main()
