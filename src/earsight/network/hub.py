"""Models of the Hugging Face hub by name (user/name) → local folders. No torch; no code of a model is run."""

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
"""All files that are downloaded of a model: numbers and JSON."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]*[A-Za-z0-9_]", re.ASCII)
_LOG_IN = "log in (hf auth login), or set HF_TOKEN"


def is_hub_name(run: str | Path) -> bool:
    """Whether ``run`` is a name on the hub: user/name where there is neither such a path nor a folder ``user`` here, so
    that a mistyped path is never looked up online."""
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
    """Raise ModelError where the hub's client has no token: uploads need one."""
    if extras.require("huggingface_hub").get_token() is None:
        raise ModelError(f"no token for {extras.require('huggingface_hub.constants').ENDPOINT} was found; {_LOG_IN}")


def resolve_run(run: str | Path, revision: str | None = None) -> Path:
    """``run`` as a local path: a model of the hub is downloaded, anything else is returned as it is. Raises ModelError,
    MissingExtraError."""
    return download_model(Path(run).as_posix(), revision) if is_hub_name(run) else Path(run)


def download_model(name: str, revision: str | None = None) -> Path:
    """The folder of a model in the cache of the hub's client, downloaded where it is not there. revision: branch, tag
    or commit; None: the newest. Raises SettingsError where ``name`` is no name, ModelError where it can't be had."""
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
    """The hub's client inside shows progress bars on terminals only and logs errors only, and is offline where the hub
    can't be reached (``offline_if_unreachable``)."""
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
    """Set the hub's client offline while the hub can't be reached: it would retry for a minute before it used its
    cache."""
    from urllib.request import getproxies  # deferred: it would slow the start of predict without torch

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
    """The client's error as ours, in one line with what to do. sending: it came of an upload."""
    kinds = extras.require("huggingface_hub.errors")
    hub = extras.require("huggingface_hub.constants").ENDPOINT
    # The client wraps the error of a failed request into one about its cache.
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
    elif isinstance(cause, ValueError):  # the upload was refused
        why = f"{hub} refused {name}: {' '.join(str(cause).split())[:200]}; fix that"
    else:
        if isinstance(cause, kinds.OfflineModeIsEnabled):
            said = "there is no network, or HF_HUB_OFFLINE is set"
        instead = "write a folder with --out" if sending else "name a folder here"
        why = f"can't reach {hub} for {name} ({said}); connect to the network, or {instead}"
    return ModelError(why)
