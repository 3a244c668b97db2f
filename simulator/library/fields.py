"""The fields of the search language and the operators of each.

Source: the vendor's list-and-search reference. `:` means “begins with” for text and “this folder or below” for `path`.
`HAS` finds whole words and ignores case; other comparisons are case-sensitive.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulator.json_value import Json
from simulator.library.records import Record, folder_path
from simulator.library.units import parse_size, parse_time

Test = Callable[[Record], bool]
Getter = Callable[[Record], Any]

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WORDS = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison of a query. `operator` is one of = : < <= > >= IN HAS EXISTS."""

    field: str
    operator: str
    negated: bool
    values: list[str]


def compare(comparison: Comparison, now_ms: int) -> Test:
    """Return the test of a comparison. Raises ValueError for an unknown field, operator or value."""
    test = _positive_test(comparison, now_ms)
    return (lambda record: not test(record)) if comparison.negated else test


def _positive_test(comparison: Comparison, now_ms: int) -> Test:
    field = comparison.field
    if field.startswith("customMetadata."):
        return _custom_test(comparison)
    if field in _TEXTS:
        return _text_test(comparison, _TEXTS[field])
    if field == "path":
        return _path_test(comparison)
    if field == "tags":
        return _tags_test(comparison)
    if field in _TIMES:
        return _ordered_test(comparison, _TIMES[field], lambda text: parse_time(text, now_ms))
    if field in _NUMBERS:
        return _ordered_test(comparison, _NUMBERS[field], parse_size if field == "size" else float)
    raise ValueError(f"unknown field {field!r}")


_TEXTS: dict[str, Getter] = {
    "id": lambda record: record.id if record.type != "folder" else None,
    "name": lambda record: record.name,
    "type": lambda record: record.type,
    "format": lambda record: record.name.rpartition(".")[2] if record.type != "folder" else None,
    "mime": lambda record: record.mime if record.type != "folder" else None,
}
_TIMES: dict[str, Getter] = {
    "createdAt": lambda record: record.created,
    "updatedAt": lambda record: record.updated,
}
_NUMBERS: dict[str, Getter] = {
    "size": lambda record: record.size if record.type != "folder" else None,
    "width": lambda record: record.width,
    "height": lambda record: record.height,
}


def _text_test(comparison: Comparison, get: Getter) -> Test:
    values = comparison.values
    match comparison.operator:
        case "=" | "IN":
            return lambda record: get(record) in values
        case ":":
            return lambda record: (get(record) or "").startswith(values[0])
        case "HAS":
            wanted = _words(values[0])
            return lambda record: wanted <= _words(get(record) or "")
        case "EXISTS":
            return lambda record: get(record) is not None
    raise _bad_operator(comparison)


def _path_test(comparison: Comparison) -> Test:
    paths = [folder_path(value) for value in comparison.values]
    match comparison.operator:
        case "=" | "IN":
            return lambda record: record.folder in paths
        case ":":
            return lambda record: record.folder.startswith(paths[0])
    raise _bad_operator(comparison)


def _tags_test(comparison: Comparison) -> Test:
    values = comparison.values
    match comparison.operator:
        case "=" | "IN":
            wanted = set(values)
            return lambda record: not wanted.isdisjoint(_tags(record))
        case ":":
            return lambda record: any(tag.startswith(values[0]) for tag in _tags(record))
        case "HAS":
            words = _words(values[0])
            return lambda record: any(words <= _words(tag) for tag in _tags(record))
        case "EXISTS":
            return lambda record: bool(_tags(record))
    raise _bad_operator(comparison)


def _ordered_test(comparison: Comparison, get: Getter, read: Callable[[str], float]) -> Test:
    if comparison.operator == "EXISTS":
        return lambda record: get(record) is not None
    if comparison.operator == "IN":
        bounds = {read(value) for value in comparison.values}
        return lambda record: get(record) in bounds
    if comparison.operator not in _ORDER:
        raise _bad_operator(comparison)
    bound, holds = read(comparison.values[0]), _ORDER[comparison.operator]
    return lambda record: isinstance(value := get(record), int | float) and holds(value, bound)


def _custom_test(comparison: Comparison) -> Test:
    name = comparison.field.partition(".")[2]

    def get(record: Record) -> Json:
        return record.extra.get("customMetadata", {}).get(name)

    if comparison.operator in {"<", "<=", ">", ">="}:
        return _ordered_test(comparison, get, float)
    return _text_test(comparison, lambda record: None if (value := get(record)) is None else _written(value))


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _tags(record: Record) -> tuple[str, ...]:
    return (record.tags or ()) + record.ai_tags


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORDS.findall(text)}


def _bad_operator(comparison: Comparison) -> ValueError:
    return ValueError(f"{comparison.field} does not have the operator {comparison.operator}")
