"""The command line: parse arguments, call a task, print results, set the exit code."""

import io
import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter
from pydantic import ValidationError

import earsight
from earsight import data_commands, export_commands, predict_commands, score_commands, sweep_commands
from earsight.errors import EarsightError, SettingsError
from earsight.flags import Json, Switch, WholeNumber, WrappedHelp
from earsight.plain import plain, plain_full
from earsight.recipe_flags import MachineFlags, RecipeFlags, Settings, TrainingDataFlags
from earsight.score_lines import metrics_lines
from earsight.settings import validation_message
from earsight.tasks.machine.devices import Accelerator, Precision
from earsight.tasks.recipe import Recipe
from earsight.terminal import batch_size_lines, bench_lines, json_line, show

app = cyclopts.App(
    name="earsight",
    help="Train image networks to hear: recordings → mel images → any timm network → an honest score.",
    version=earsight.__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,  # main() answers it
)


def main(arguments: list[str] | None = None) -> None:
    """Run one command. Exit codes: 0 done · 2 refused, or some files could not be read · 130
    stopped by Ctrl-C."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 — for as long as the program runs
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal can't encode must not end the program
            stream.reconfigure(errors="backslashreplace")
    if "" in (sys.argv[1:] if arguments is None else arguments):
        _refuse("an argument is empty, perhaps from an unset shell variable; give it a value, or leave it out")
    try:
        code = app(
            arguments,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()  # a full disk is an error here, not at exit
    except EarsightError as error:
        _refuse(str(error))
    except cyclopts.CycloptsError as error:
        _refuse(_one_line(error))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        _silence()
        sys.exit(0)
    except SystemExit as end:  # rich, which prints the help, exits itself on a broken pipe
        sys.exit(0 if isinstance(end.__context__, BrokenPipeError) else end.code)
    except OSError as error:
        _refuse(_in_words(error))
    except MemoryError as error:  # numpy says how much it was
        told = f" ({error})" if str(error) else ""
        _refuse(f"not enough memory{told}; use smaller settings or less data, or close other programs")
    sys.exit(code if isinstance(code, int) else 0)


def _refuse(message: str) -> None:
    print(f"earsight: {plain_full(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(2)


def _silence() -> None:
    """Redirect a broken standard output, about which the interpreter would complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _in_words(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is not None:
        return f"can't use {os.fsdecode(error.filename)}: {reason}; fix this, or use another path"
    try:
        sys.stdout.flush()
    except OSError:
        _silence()
    return f"can't read or write: {reason}; is the disk full, or standard output closed?" if error.strerror else reason


def _one_line(error: cyclopts.CycloptsError) -> str:
    if isinstance(error.__cause__, ValidationError):
        return validation_message(Recipe, error.__cause__)
    text = str(error).strip() or type(error).__name__
    return f"{text} (see earsight --help)"


@app.command(help_formatter=WrappedHelp())
def train(
    data: Path,
    /,
    *,
    recipe_flags: RecipeFlags = RecipeFlags(),
    split: str = "auto",
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    resume: Switch = False,
    data_flags: TrainingDataFlags = TrainingDataFlags(),
    machine_flags: MachineFlags = MachineFlags(),
    devices: WholeNumber = 1,
    nodes: WholeNumber = 1,
    settings: Settings = None,
) -> int:
    """Train a network on labelled recordings, score it on speakers that it never heard, and write a report.

    Parameters
    ----------
    data
        A folder with one folder per class, with recordings that have Audacity or Raven label files next to them, or
        with a known data set; a zip or tar of these; a table (CSV, TSV, JSON Lines or Parquet) with the columns path
        and label; or the name of a known data set (earsight data list), which is downloaded on first use. File names
        end in wav, flac, mp3, ogg, oga, opus, aif, aiff, au, caf or w64; others, such as m4a, mp4 and webm, need pip
        install 'earsight[av]'.
    split
        Which clips are the test clips: auto (the data set's own split, else by group, else random), group, group:K,
        group:K:I, loso:GROUP, random, random:SHARE, luna5:0 … luna5:4, emobox6:1 … emobox6:6, esc50:1 … esc50:5,
        urbansound8k:1 … urbansound8k:10, speech_commands, fsdd, fold, fold:NAME, column:NAME, column:NAME:VALUE, none.
        docs/honest-evaluation.md explains them.
    out
        The run folder. Default: a new folder in runs/.
    resume
        Continue the run in --out after its last complete epoch.
    devices
        Number of devices per node.
    nodes
        Number of machines. Start the same command on each, with torchrun or with MASTER_ADDR, MASTER_PORT and NODE_RANK
        set.
    """
    chosen = recipe_flags.chosen(settings)
    from earsight.tasks.training.plan import plan_training

    plan = plan_training(
        data,
        chosen,
        recipe_name=recipe_flags.recipe,
        split_kind=split,
        out=out,
        resume=resume,
        progress=True,
        **asdict(data_flags),
    )
    from earsight.tasks.train import run_plan

    result = run_plan(plan, machine_flags.machine(devices, nodes), progress=True)
    if result.interrupted:
        return 130
    if result.test is None:  # the main process of the run prints
        return 0
    show(*metrics_lines(result.test, result.split.sentence, result.split.caveat))
    print(f"report: {result.run / 'report.html'}")
    print(f"try:    earsight predict {shlex.quote(str(result.run))} FILE…")
    return 0


@app.command(help_formatter=WrappedHelp())
def demo(*, out: Annotated[Path, Parameter(alias="-o")] = Path("runs/demo"), seed: WholeNumber = 0) -> int:
    """Generate synthetic voices, train on them, score unseen synthetic speakers, and predict a few files.

    Parameters
    ----------
    out
        Folder for the recordings and the run. An earlier demo there is replaced.
    seed
        Random seed of the voices and of training.
    """
    from earsight.tasks.demo import demo as task

    done = task(out, seed=seed, progress=True)
    test = done.result.test
    if test is None:
        return 130
    show(*metrics_lines(test, f"Synthetic voices. {done.sentence}", "synthetic"))
    for row in done.rows:
        probability = (row.probabilities or {}).get(row.label or "", 0.0)
        print(f"  {plain(Path(row.path).name)}  →  {row.label} {probability:.2f}")
    print(f"corpus: {done.corpus}\nrun:    {done.result.run}\nreport: {done.result.run / 'report.html'}")
    print("next, on real recordings (a RAVDESS folder or zip, or a folder with one folder per class):")
    print("        earsight train DATA")
    return 0


@app.command(help_formatter=WrappedHelp())
def bench(
    *,
    recipe: Annotated[str, Parameter(alias="-r")] = "default",
    model: Annotated[str | None, Parameter(alias="-m")] = None,
    batch_size: WholeNumber | None = None,
    clips: WholeNumber = 128,
    rounds: WholeNumber = 5,
    find_batch_size: Switch = False,
    device: Accelerator = "auto",
    precision: Precision = "32-true",
    compile_: Annotated[bool, Parameter(name="--compile", negative="")] = False,
    threads: WholeNumber | None = None,
    json_: Json = False,
) -> int:
    """Compare the speed of a training epoch with that of the network alone on this machine, or find the fastest batch
    size.

    Parameters
    ----------
    recipe
        default, article, demo, or a TOML file.
    model
        Any timm network, instead of the recipe's.
    batch_size
        Clips per batch, instead of the recipe's.
    clips
        Clips per epoch.
    rounds
        Number of epochs to measure.
    find_batch_size
        Instead, try batch sizes of 8, 16, 32 … until memory runs out or a larger batch is no faster.
    device
        Device to measure on.
    precision
        Floating-point precision of training.
    compile_
        Compile the network with torch.compile first, which takes about a minute.
    threads
        Number of CPU threads. Default: as many as there are idle cores.
    json_
        Print JSON instead of text.
    """
    if clips < 2 or rounds < 1:
        raise SettingsError(f"--clips must be 2 or more and --rounds 1 or more, got {clips} and {rounds}")
    if find_batch_size and batch_size is not None:
        raise SettingsError("--find-batch-size chooses the batch sizes to try; leave out --batch-size")
    changes: dict[str, Any] = {} if model is None else {"network": {"model": model}}
    changes |= {} if batch_size is None else {"batch_size": batch_size}
    settings = Recipe.named(recipe, changes)
    from earsight.tasks.machine.devices import Machine

    machine = Machine(accelerator=device, precision=precision, threads=threads, compiled=compile_)
    if find_batch_size:
        from earsight.tasks.training.batch_size import find_batch_size as find

        sizes = find(settings, machine, progress=True)
        show(json_line(sizes.to_dict())) if json_ else show(*batch_size_lines(sizes))
        return 0
    from earsight.tasks.bench import bench as task

    done = task(settings, clips=clips, rounds=rounds, machine=machine, progress=True)
    show(json_line(done.to_dict())) if json_ else show(*bench_lines(done))
    return 0


app.command(data_commands.app)
for command in (*score_commands.COMMANDS, sweep_commands.sweep, *predict_commands.COMMANDS, *export_commands.COMMANDS):
    app.command(command, help_formatter=WrappedHelp())
for name, operands in {"evaluate": "RUN [DATA]", "predict": "RUN PATHS…", "ensemble": "--out PATH RUNS…"}.items():
    app[name].usage = f"Usage: earsight {name} [OPTIONS] {operands}"  # cyclopts would write [ARGS], PATHS and RUNS
