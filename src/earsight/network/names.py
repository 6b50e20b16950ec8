"""timm's model names, read from its source files: importing timm takes seconds, and a typo should not."""

import difflib
import importlib.util
import re
from functools import cache
from pathlib import Path

from earsight.errors import ModelError
from earsight.extras import check

_REGISTERED = re.compile(r"^@register_model\s*\ndef (\w+)\(", re.MULTILINE)
_DEPRECATED = re.compile(r"^\s+'(\w+)': '[\w.]+',?$", re.MULTILINE)


@cache
def timm_names() -> tuple[frozenset[str], frozenset[str]]:
    """The registered names and the deprecated ones of the installed timm."""
    check("timm")
    spec = importlib.util.find_spec("timm")
    folder = Path(spec.origin or "").parent if spec else Path()
    names: set[str] = set()
    deprecated: set[str] = set()
    for path in (folder / "models").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        names.update(_REGISTERED.findall(text))
        _, found, tail = text.partition("register_model_deprecations(__name__")
        if found:
            deprecated.update(_DEPRECATED.findall(tail))
    return frozenset(names), frozenset(deprecated)


def _ratio(like: difflib.SequenceMatcher[str], name: str) -> float:
    like.set_seq1(name)
    return like.ratio()


def check_model_name(model: str) -> None:
    """Raise ModelError with the nearest names where timm has no network called ``model``."""
    names, deprecated = timm_names()
    base = model.partition(".")[0]
    address = ":" in model or "/" in model
    if not address and (base in names or base in deprecated or not names):
        return
    if address:
        raise ModelError(
            f"{model!r} is an address; pass the name of timm's network as --model, and its weights as --weights FILE"
        )
    like = difflib.SequenceMatcher(b=base)
    near = sorted(
        difflib.get_close_matches(base, names, n=20, cutoff=0.6), key=lambda name: (-_ratio(like, name), name)
    )[:3]
    hint = f"did you mean {', '.join(near)}?" if near else "timm.list_models() has them all"
    raise ModelError(f"timm has no network {model!r}; {hint}")
