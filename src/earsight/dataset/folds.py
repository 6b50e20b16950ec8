"""The splits of a cross-validation protocol, one a fold."""

from collections.abc import Sequence

from earsight.dataset.clip import PARTS, Clip, fold_order
from earsight.dataset.split import EMOBOX6, LUNA5, check_kind, column_values
from earsight.errors import SplitError
from earsight.plain import pluralise

KINDS = "luna5, emobox6, loso, group:K, esc50, urbansound8k, fold, column:NAME"


def expand_folds(protocol: str, clips: Sequence[Clip]) -> tuple[str, ...]:
    """The kinds of ``split`` of a protocol, in order; each clip is in the test part of one of them.

    protocol: ``luna5``, ``emobox6`` (RAVDESS's actors), ``loso`` (each group), ``group:K`` (5 without K), ``esc50``,
    ``urbansound8k``, ``fold`` (each fold that the data names), ``column:NAME`` (each value). Raises SplitError.
    """
    name, _, rest = protocol.partition(":")
    if protocol == "luna5":
        kinds = [f"luna5:{n}" for n in range(len(LUNA5))]
    elif protocol == "emobox6":
        kinds = [f"emobox6:{n}" for n in range(1, len(EMOBOX6) + 1)]
    elif protocol == "loso":
        kinds = [f"loso:{group}" for group in sorted({clip.group for clip in clips} - {""})]
    elif name == "group" and (rest.isdecimal() or protocol == "group"):
        kinds = [f"group:{rest or 5}:{n}" for n in range(int(rest[:4] or 5))]
    elif protocol == "fold" and {clip.fold for clip in clips} & set(PARTS):
        raise SplitError("this data names parts (train, test …), not folds: train once with --split fold")
    elif protocol in {"esc50", "urbansound8k", "fold"}:
        kinds = [f"{protocol}:{fold}" for fold in sorted({clip.fold for clip in clips} - {""}, key=fold_order)]
    elif name == "column" and rest and ":" not in rest:
        values = set(column_values(clips, rest, "group")) - {""}
        kinds = [f"{protocol}:{value}" for value in sorted(values, key=fold_order)]
    else:
        raise SplitError(f"unknown folds {protocol!r}; use one of: {KINDS}")
    if len(kinds) < 2:
        groups = "give groups by --group-pattern, or choose other --folds"
        advice = groups if protocol == "loso" else "choose other --folds, such as group:5"
        raise SplitError(
            f"{protocol} has {pluralise(len(kinds), 'fold')} in this data, and two or more are needed; {advice}"
        )
    for kind in kinds:
        check_kind(kind)
    return tuple(kinds)
