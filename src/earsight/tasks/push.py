"""push: a run folder → a model on the Hugging Face hub, with a model card."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earsight import extras
from earsight.errors import ModelError, SettingsError, first_line
from earsight.files import check_new_folder, write_atomic
from earsight.network.description import METRICS_NAME, REPORT_NAME, SETTINGS_NAME, WEIGHTS_NAME, read_description
from earsight.network.exported import METADATA_KEY
from earsight.network.hub import check_hub_name, check_token, hub_error, quiet_client
from earsight.tasks.metrics_file import read_metrics
from earsight.tasks.sharing.card import Card
from earsight.tasks.sharing.redaction import Redactor

CARD_NAME, ONNX_NAME = "README.md", "model.onnx"
_ENCODING: dict[str, str] = {"encoding": "utf-8", "errors": "surrogateescape"}


@dataclass(frozen=True)
class PushResult:
    """place: address of the model on the hub, or the folder that was written instead. names: of its files. bytes: their
    total size."""

    place: str
    names: tuple[str, ...]
    bytes: int


def push(
    run: str | Path,
    name: str,
    *,
    private: bool = False,
    licence: str | None = None,
    onnx: str | Path | None = None,
    out: str | Path | None = None,
) -> PushResult:
    """Upload a run as ``name`` (user/model): weights, model.json, metrics.json, report.html and a card, as a new
    commit.

    Recordings, predictions, the table of clips and the state for --resume are not uploaded, and no file names a folder
    of the user (``sharing.redaction``). private: a new model is visible to its owner only. licence: of the weights, by
    the hub's identifier (cc-by-4.0); None: that of the data, where it is known. onnx: an exported file of this run to
    add. out: a folder, new or empty, to write instead of uploading. Raises SettingsError, ModelError,
    MissingExtraError.
    """
    check_hub_name(name)
    run = Path(run)
    extras.check("torch", "timm", "safetensors", "jinja2", *(("onnx",) if onnx else ()))
    if out is not None:
        place = Path(out)
        check_new_folder(place)
        names = _write(run, place, name, licence, onnx)
        return PushResult(str(place), names, sum((place / one).stat().st_size for one in names))
    extras.check("huggingface_hub")
    check_token()
    with tempfile.TemporaryDirectory(prefix="earsight-push-") as folder:
        names = _write(run, Path(folder), name, licence, onnx)
        size = sum((Path(folder) / one).stat().st_size for one in names)
        return PushResult(_send(Path(folder), names, name, private=private), names, size)


def _write(run: Path, place: Path, name: str, licence: str | None, onnx: str | Path | None) -> tuple[str, ...]:
    """Write all files that are published; returns their names."""
    from earsight.network.classifier import Classifier

    described = read_description(run)
    Classifier.load(run)  # refuse a damaged model here, not where it is downloaded
    folders = Redactor.of(run, described)
    public = folders.description(described)
    numbers = folders.metrics(read_metrics(run, "remove it to push without scores"))
    try:
        text = Card(name, public, numbers, licence, ONNX_NAME if onnx else "").text()
    except (KeyError, TypeError, ValueError, AttributeError, extras.require("jinja2").UndefinedError) as error:
        raise ModelError(f"{run / METRICS_NAME} is damaged ({error}); restore it, or evaluate the run anew") from error
    exported = _exported(Path(onnx), public) if onnx else None
    place.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / WEIGHTS_NAME, place / WEIGHTS_NAME)
    texts = {SETTINGS_NAME: _json(public), CARD_NAME: text}
    if numbers:
        texts[METRICS_NAME] = _json(numbers)
    if (run / REPORT_NAME).is_file():
        texts[REPORT_NAME] = folders.page((run / REPORT_NAME).read_text(**_ENCODING))
    for file, content in texts.items():
        write_atomic(place / file, content)
    if exported is not None:
        write_atomic(place / ONNX_NAME, exported)
    return tuple(sorted([WEIGHTS_NAME, *texts, *([ONNX_NAME] if exported else [])]))


def _exported(path: Path, described: dict[str, Any]) -> bytes:
    """The content of an exported file. Raises ModelError where it is not of this run."""
    onnx = extras.require("onnx")
    if not path.is_file():
        raise SettingsError(f"no such file: --onnx {path}; give one of earsight export")
    try:
        content = path.read_bytes()
        entries = onnx.load_from_string(content).metadata_props
        about = json.loads(next(one.value for one in entries if one.key == METADATA_KEY))
        same = all(about[key] == described.get(key) for key in ("labels", "audio", "mel", "network", "created"))
    except Exception as error:  # a file of any content: whatever its reader raises
        raise ModelError(
            f"--onnx {path} was not made by earsight export ({first_line(error)[:160]}); export this run"
        ) from error
    if not same:
        raise ModelError(f"--onnx {path} was exported from another run; export this one")
    return content


def _json(values: Any) -> str:
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def _send(folder: Path, names: Sequence[str], name: str, *, private: bool) -> str:
    """Upload the files in one commit; returns the address of the model."""
    import earsight

    hub = extras.require("huggingface_hub")
    try:
        with quiet_client():
            api = hub.HfApi(library_name="earsight", library_version=earsight.__version__, token=True)
            address = api.create_repo(name, private=private or None, exist_ok=True)
            api.create_commit(
                name,
                [hub.CommitOperationAdd(path_in_repo=one, path_or_fileobj=folder / one) for one in names],
                commit_message=f"A run of earsight {earsight.__version__}",
            )
    except Exception as error:  # the hub's client raises a dozen kinds, some of them not its own
        raise hub_error(error, name, sending=True) from error
    return str(address)
