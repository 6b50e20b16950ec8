"""The base of all settings: frozen and validated, without unknown keys."""

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core.core_schema import ValidationInfo

from earsight.errors import SettingsError


class Settings(BaseModel):
    """A group of settings. Unknown keys and values out of range are errors.

    The string "none" means None where a setting allows it, since TOML and the command line have no null.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
    )

    def __init__(self, /, **values: Any) -> None:
        """Raises SettingsError that names each wrong setting, its value, and for an unknown one the nearest known
        name."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(validation_message(type(self), error)) from None

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # else model_validate would call it

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Add the range of values to each description, for ``--help``."""
        for field in cls.model_fields.values():
            field.description = " ".join(f"{field.description or ''} {_range(field)}".split())

    @field_validator("*", mode="before")
    @classmethod
    def _none(cls, value: Any, info: ValidationInfo) -> Any:
        if value != "none" or info.field_name is None:
            return value
        field = cls.model_fields[info.field_name]
        return None if type(None) in getattr(field.annotation, "__args__", ()) else value


def _range(field: FieldInfo) -> str:
    """The range of a setting as a sentence; "" without limits."""
    limits = {
        name: getattr(rule, name) for rule in field.metadata for name in ("gt", "ge", "lt", "le") if hasattr(rule, name)
    }
    words = {"ge": "{} or more", "gt": "above {}", "le": "at most {}", "lt": "below {}"}
    if {"ge", "le"} <= limits.keys():
        return f"{limits['ge']} to {limits['le']}."
    text = " and ".join(words[name].format(value) for name, value in limits.items())
    return text[:1].upper() + text[1:] + "." if text else ""


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as a flat dict with dotted names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def differences(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """Settings of ``now`` whose value differs in ``then``, in words. Both nested."""
    before = flatten(then)
    return [
        f"{name} was {before.get(name)}, is {value}"
        for name, value in flatten(now).items()
        if before.get(name) != value
    ]


_EXPECTED = {
    "model_type": "a group of settings is expected",
    "int_type": "a whole number is expected",
    "float_type": "a number is expected",
    "bool_type": "true or false is expected",
    "string_type": "a text is expected",
}


def validation_message(model: type[BaseModel], error: ValidationError) -> str:
    """All validation errors in one line; see ``Settings.__init__``."""
    return "; ".join(_explain(model, dict(one)) for one in error.errors())


def _explain(model: type[BaseModel], error: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        message = error["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        message = _EXPECTED.get(error["type"], message)
        where = f"setting {name}: " if name else ""
        return where + message + ("" if isinstance(error["input"], Mapping) else f", got {error['input']!r}")
    near = difflib.get_close_matches(name, setting_names(model), n=1, cutoff=0.5)
    return f"no setting {name!r}" + (f"; did you mean {near[0]}?" if near else "")


def setting_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted names of all settings of a model."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        inner = isinstance(kind, type) and issubclass(kind, BaseModel)
        names += setting_names(kind, f"{prefix}{name}.") if inner else [f"{prefix}{name}"]  # type: ignore[arg-type]
    return names
