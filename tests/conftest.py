"""Real recordings and weights where they lie, small recordings made on the spot everywhere else."""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from filelock import FileLock

if TYPE_CHECKING:
    from earsight.tasks.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("EARSIGHT_DATA") or ROOT.parent / "shared" / "data")


def pytest_configure() -> None:
    """Of several workers each has its own cores: threads of one would wait for those of another. And what is imported
    is compiled once, not in each of the many processes that tests start."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup would hand on to programs that they ignore it
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    count, worker = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")), os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    if count > 1 and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[int(worker[2:]) % len(cores) :: count])


@pytest.fixture(scope="session", autouse=True)
def a_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For what is made once for many tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EARSIGHT_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def thumbnails() -> Iterator[None]:
    """Every picture is drawn, but small and without a layout, which would take most of the time of a short training.
    Where pictures are what is tested: ``whole_pictures``."""
    from matplotlib.figure import Figure

    real = Figure.savefig

    def small(figure: Figure, *args: object, **options: object) -> None:
        if not _whole:
            figure.set_layout_engine("none")
            figure.set_dpi(20)
        real(figure, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", small)
        yield


_whole: list[bool] = []


@contextlib.contextmanager
def whole_pictures() -> Iterator[None]:
    """Inside, pictures are as large and as carefully laid out as a user gets them."""
    _whole.append(True)
    try:
        yield
    finally:
        _whole.pop()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("EARSIGHT_HOME", str(tmp_path_factory.mktemp("cache")))


def _needed(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"real data is absent: {path} (set EARSIGHT_DATA)")
    return path


@pytest.fixture(scope="session")
def ravdess() -> Path:
    return _needed(DATA / "ravdess_16k")


@pytest.fixture(scope="session")
def ravdess_48k_zip() -> Path:
    return _needed(DATA / "ravdess_48k_actor_01.zip")


@pytest.fixture(scope="session")
def esc10() -> Path:
    return _needed(DATA / "esc10")


@pytest.fixture(scope="session")
def lite0_weights() -> Path:
    return _needed(DATA.parent / "weights" / "tf_efficientnet_lite0.in1k.fp16.safetensors")


def called(*arguments: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """The command in this process, which has torch imported: for what needs no process of its own."""
    from earsight.command_line import main

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with contextlib.ExitStack() as stack:
        for entered in (contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.chdir(cwd or ".")):
            stack.enter_context(entered)
        end = stack.enter_context(pytest.raises(SystemExit))
        main([*map(str, arguments)])
    said = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(arguments, int(end.value.code or 0), *said)


def learned(
    data: Path, settings: "Recipe", out: Path, *, split: str = "auto", resume: bool = False, **machine: object
) -> Path:
    """The run folder of a training that is not scored: for tests of the weights alone. machine: see ``Machine``."""
    from earsight.tasks.machine.devices import Machine
    from earsight.tasks.train import run_plan
    from earsight.tasks.training.plan import plan_training

    plan = plan_training(data, settings, split_kind=split, out=out, resume=resume)
    return run_plan(plan, Machine(**{"threads": 1, **machine}), score_test=False).run  # type: ignore[arg-type]


def stop_in_epoch(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Trainings are interrupted when that epoch begins, until the patch is undone."""
    from earsight.tasks.training import loop

    real = loop.train_epoch

    def stop(*args: object) -> object:
        if args[-1] == number:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "train_epoch", stop)


def lay(root: Path, *names: str) -> Path:
    """Empty files: only their names are read."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def tone(hz: float, seconds: float, rate_hz: int = 16000, gain: float = 0.5) -> np.ndarray:
    """float32 [samples]."""
    return (gain * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    return write_tones(tmp_path / "tones")


def write_tones(root: Path) -> Path:
    """A folder with one folder a class: low (≈ 300 Hz) and high (≈ 3 kHz) tones, 12 clips each, of 0.3 to 0.6 s."""
    rng = np.random.default_rng(0)
    for label, hz in (("low", 300.0), ("high", 3000.0)):
        for number in range(12):
            path = root / label / f"{label}{number:02}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            sound = tone(hz * rng.uniform(0.8, 1.25), rng.uniform(0.3, 0.6))
            soundfile.write(path, sound + 0.01 * rng.standard_normal(len(sound)), 16000)
    return root


def write_mixtures(root: Path, clips: int = 72) -> Path:
    """A table of clips of half a second in which low, middle and high tones sound, each or together or not at all, and
    of groups of eight clips; empty cells where none does."""
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["path,label,group"]
    for number in range(clips):
        sound, names = 0.01 * rng.standard_normal(8000), []
        for place, (name, hz) in enumerate((("low", 300.0), ("middle", 1000.0), ("high", 3000.0))):
            if number >> place & 1:
                sound += tone(hz * rng.uniform(0.85, 1.18), 0.5, gain=rng.uniform(0.15, 0.3))
                names.append(name)
        soundfile.write(root / f"{number:03}.wav", sound, 16000)
        rows.append(f"{number:03}.wav,{';'.join(names)},g{number // 8}")
    (root / "table.csv").write_text("\n".join(rows) + "\n")
    return root / "table.csv"


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first worker that needs it makes, and that all of them only read."""
    place = factory.getbasetemp()
    root = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / name
    with FileLock(f"{root}.lock"):
        if not Path(f"{root}.made").exists():
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            make(root)
            Path(f"{root}.made").touch()
    return root


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """run: a network that tells low tones from high ones; model.onnx: the same; tones: what it was trained on;
    song.wav: see ``song``."""
    return made_once(tmp_path_factory, "predict", _make_home)


def _make_home(root: Path) -> None:
    from earsight.tasks.export import export
    from earsight.tasks.train import train
    from tests.tasks.test_train import recipe

    # A seed and a length after which it is sure of every tone: what is tested is what is made of its answers.
    settings = recipe(epochs=24, seed=2, audio={"crop_s": 0.4, "trim_db": None})
    train(write_tones(root / "tones"), recipe=settings, out=root / "run", threads=1)
    export(root / "run", root / "model.onnx")
    rng = np.random.default_rng(0)
    sound = np.concatenate([tone(hz, seconds, 48000) for hz, seconds in ((300, 2), (3000, 3), (310, 2.13))])
    soundfile.write(root / "song.wav", np.stack([sound, sound], 1) + 0.01 * rng.standard_normal((len(sound), 2)), 48000)


@pytest.fixture(scope="session")
def song(home: Path) -> Path:
    """Low for two seconds, high for three, low for two and a bit, at 48 kHz in two channels."""
    return home / "song.wav"
