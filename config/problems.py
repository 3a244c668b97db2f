"""Turns validation errors of settings and rules into messages: one line each, without secrets."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

_SHOWN_LENGTH = 60
_MEANINGS = {
    "bool_type": "must be true or false",
    "dict_type": "must be a table of keys and values",
    "finite_number": "must be a number",
    "float_type": "must be a number",
    "greater_than_equal": "must be at least {ge:.15g}",
    "int_type": "must be a whole number",
    "less_than_equal": "must be at most {le:.15g}",
    "literal_error": "must be {expected}",
    "model_type": "must be a table of keys and values",
    "string_type": "must be text",
    "tuple_type": 'must be a list, such as ["one", "two"]',
    "value_error": "{error}",
}


class ConfigError(ValueError):
    """The settings are invalid. `problems` has one line for each problem; `str` joins the lines."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def describe(error: ErrorDetails, env_name: str, field: FieldInfo, shown: str | None) -> str:
    """Describe an invalid value in one line: name, value (as `shown`; None hides it), rule and default."""
    named = env_name if shown is None else f"{env_name}={shown}"
    default = "unset" if field.default is None else written(field.default)
    return f"{named}: {_rule(error, field)} (default: {default})"


def explain(error: ErrorDetails, names: Collection[str]) -> str:
    """Describe an invalid key of a nested value. `names` are the valid keys, to suggest one for a misspelt key."""
    *table, key = [shorten(part)[1:-1] for part in error["loc"] if isinstance(part, str) and part != "[key]"]
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"the names are {', '.join(sorted(names))}"
        return f"unknown name {key}{' in ' if table else ''}{'.'.join(table)}; {hint}"
    path = ".".join([*table, key])
    if error["type"] not in _MEANINGS:
        return f"{path}: {error['msg']}"
    return f"{path} {_MEANINGS[error['type']].format(**error.get('ctx', {}))}"


def shorten(value: object) -> str:
    """Return a value as one short line with control characters escaped."""
    text = value if isinstance(value, str) else str(value)
    return ascii(text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 3] + "...")


def written(value: object) -> str:
    """Return the value of a setting as written in the environment or in `.env`."""
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _rule(error: ErrorDetails, field: FieldInfo) -> str:
    context: Mapping[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "value_error":
            return str(context["error"])
        case "bool_parsing":
            return "must be true or false"
        case "literal_error":
            return f"must be one of {context['expected']}"
        case _ if field.annotation in {int, float}:
            kind = "a whole number" if field.annotation is int else "a number"
            return f"must be {kind}{_bounds(field)}"
        case _:
            return error["msg"]


def _bounds(field: FieldInfo) -> str:
    names = ("gt", "ge", "le")
    found = {name: getattr(rule, name) for rule in field.metadata for name in names if hasattr(rule, name)}
    low = f" above {found['gt']:g}" if "gt" in found else f" from {found['ge']:g}" if "ge" in found else ""
    joint = " and at most" if "gt" in found else " to"
    return f"{low}{joint} {found['le']:g}" if "le" in found else low
