"""Models by their names on the Hugging Face hub (user/name) → folders here. No torch; no code of a model is run."""

import re
import socket
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from earsight import extras
from earsight.errors import ModelError, SettingsError, first_line
from earsight.network.description import SETTINGS_NAME, WEIGHTS_NAME

MODEL_FILES = (SETTINGS_NAME, WEIGHTS_NAME)
"""All that is ever downloaded of a model: numbers and JSON."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]*[A-Za-z0-9_]", re.ASCII)
_LOG_IN = "log in (hf auth login), or set HF_TOKEN"


def is_hub_name(run: str | Path) -> bool:
    """Whether a text that should name a run means one on the hub: user/name, where neither such a path nor a folder
    ``user`` is here, so that a mistyped path is never asked for on the hub."""
    text = run if isinstance(run, str) else run.as_posix()
    return (
        _NAME.fullmatch(text) is not None
        and not text.endswith(".onnx")
        and not Path(text).exists()
        and not Path(text).parent.exists()
    )


def check_hub_name(name: str) -> None:
    """Raise SettingsError where the hub would not take ``name``."""
    reason = "one slash between a user or an organisation and the model"
    if _NAME.fullmatch(name):
        validators = extras.require("huggingface_hub.utils")
        try:
            validators.validate_repo_id(name)
            return
        except validators.HFValidationError as error:
            reason = first_line(error)[:160]
    raise SettingsError(f"no name for the hub: {name!r} ({reason}); give one like user/name")


def check_token() -> None:
    """Raise ModelError where the hub's client has no token, which sending a model takes."""
    if extras.require("huggingface_hub").get_token() is None:
        raise ModelError(f"no token for {extras.require('huggingface_hub.constants').ENDPOINT} was found; {_LOG_IN}")


def resolve_run(run: str | Path, revision: str | None = None) -> Path:
    """What ``run`` names as a path: a model of the hub is downloaded first, anything else stays as it is. Raises
    ModelError, MissingExtraError."""
    return download_model(Path(run).as_posix(), revision) if is_hub_name(run) else Path(run)


def download_model(name: str, revision: str | None = None) -> Path:
    """Download a model of the hub into its client's cache, or find it there. revision: a branch, tag or commit; None:
    the newest. Raises SettingsError where ``name`` is none, ModelError where it can't be got."""
    check_hub_name(name)
    hub = extras.require("huggingface_hub")
    try:
        with quiet_client():
            folder = Path(hub.snapshot_download(name, revision=revision, allow_patterns=list(MODEL_FILES)))
    except Exception as error:  # the hub's client raises a dozen kinds, some of them not its own
        raise hub_error(error, name, revision) from error
    if missing := [file for file in MODEL_FILES if not (folder / file).is_file()]:
        raise ModelError(f"{name} on the hub is not a model of earsight: it has no {missing[0]}; name another")
    return folder


@contextmanager
def quiet_client() -> Iterator[None]:
    """While the hub's client works: as ``offline_if_unreachable``; its bars on terminals alone, and no warnings of
    its own beside our errors."""
    utils, log = extras.require("huggingface_hub.utils"), extras.require("huggingface_hub.utils.logging")
    silenced = not utils.are_progress_bars_disabled() and not (sys.stderr and sys.stderr.isatty())
    level = log.get_verbosity()
    if silenced:
        utils.disable_progress_bars()
    log.set_verbosity_error()
    try:
        with offline_if_unreachable():
            yield
    finally:
        log.set_verbosity(level)
        if silenced:
            utils.enable_progress_bars()


@contextmanager
def offline_if_unreachable() -> Iterator[None]:
    """Without a network the hub's client would try for a minute; offline it answers from its cache, or not, at once."""
    from urllib.request import getproxies  # predict without torch must not wait for it

    constants: Any = extras.require("huggingface_hub.constants")
    before = constants.HF_HUB_OFFLINE
    if not getproxies():
        try:
            socket.getaddrinfo(urllib.parse.urlsplit(constants.ENDPOINT).hostname, 443)
        except OSError:
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def hub_error(error: Exception, name: str, revision: str | None = None, *, sending: bool = False) -> ModelError:
    """In one line: what the hub's client says of ``name``, and what to do. sending: a model to the hub."""
    kinds = extras.require("huggingface_hub.errors")
    hub = extras.require("huggingface_hub.constants").ENDPOINT
    # Of an answer that is not a file, the client says that nothing is in its cache; why is what it met before.
    cause = error.__cause__ if isinstance(error, kinds.LocalEntryNotFoundError) and error.__cause__ else error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    said = getattr(cause, "server_message", None) or first_line(cause)[:160]
    if sending and status in {401, 403, 404}:
        why = f"{hub} answered {status}: the token may not write {name}; {_LOG_IN}, with a token that may"
    elif isinstance(cause, kinds.GatedRepoError):
        why = f"{name} is gated: ask for access at {hub}/{name}, then {_LOG_IN}"
    elif isinstance(cause, kinds.RevisionNotFoundError):
        why = f"{name} has no revision {revision!r} on {hub}; name a branch, tag or commit of it"
    elif isinstance(cause, kinds.RepositoryNotFoundError):
        why = f"no run folder {name} here, and no model of this name on {hub}; check it, or if it is private {_LOG_IN}"
    elif status in {401, 403}:
        why = f"{hub} answered {status}: the token may not read {name}; {_LOG_IN}, with a token that may"
    elif status is not None:
        why = f"{hub} answered {status} of {name} ({said}); try again later"
    elif isinstance(cause, ValueError):  # of what was sent
        why = f"{hub} does not take {name}: {' '.join(str(cause).split())[:200]}; fix that"
    else:
        if isinstance(cause, kinds.OfflineModeIsEnabled):
            said = "there is no network, or HF_HUB_OFFLINE is set"
        instead = "write a folder with --out" if sending else "name a folder here"
        why = f"can't reach {hub} for {name} ({said}); connect to the network, or {instead}"
    return ModelError(why)
