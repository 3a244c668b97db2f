"""The fields of the search language: what each compares, and with which operators.

Source: the vendor's list-and-search reference. `:` is “begins with” for text and “this folder or below” for
`path`; `HAS` finds whole words without regard to case; names compare with regard to case.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulator.library.moments import parse_moment, parse_size
from simulator.library.records import Record, folder_path
from simulator.plain import Json

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
    """One comparison as it was written: `operator` is one of = : < <= > >= IN HAS EXISTS."""

    field: str
    operator: str
    negated: bool
    values: list[str]


def compare(comparison: Comparison, now_ms: int) -> Test:
    """Make the test that a comparison stands for.

    Raises ValueError for an unknown field, operator or value.
    """
    test = _plain_test(comparison, now_ms)
    return (lambda record: not test(record)) if comparison.negated else test


def _plain_test(comparison: Comparison, now_ms: int) -> Test:
    field = comparison.field
    if field.startswith("customMetadata."):
        return _custom_test(comparison)
    if field in _TEXTS:
        return _text_test(comparison, _TEXTS[field])
    if field == "path":
        return _path_test(comparison)
    if field == "tags":
        return _tags_test(comparison)
    if field in _MOMENTS:
        return _ordered_test(comparison, _MOMENTS[field], lambda text: parse_moment(text, now_ms))
    if field in _NUMBERS:
        return _ordered_test(comparison, _NUMBERS[field], parse_size if field == "size" else float)
    raise ValueError(f"unknown field {field!r}")


_TEXTS: dict[str, Getter] = {
    "name": lambda record: record.name,
    "type": lambda record: record.type,
    "format": lambda record: record.name.rpartition(".")[2] if record.type != "folder" else None,
    "mime": lambda record: record.mime if record.type != "folder" else None,
}
_MOMENTS: dict[str, Getter] = {
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
    raise _unfit(comparison)


def _path_test(comparison: Comparison) -> Test:
    paths = [folder_path(value) for value in comparison.values]
    match comparison.operator:
        case "=" | "IN":
            return lambda record: record.folder in paths
        case ":":
            return lambda record: record.folder.startswith(paths[0])
    raise _unfit(comparison)


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
    raise _unfit(comparison)


def _ordered_test(comparison: Comparison, get: Getter, read: Callable[[str], float]) -> Test:
    if comparison.operator == "EXISTS":
        return lambda record: get(record) is not None
    if comparison.operator == "IN":
        bounds = {read(value) for value in comparison.values}
        return lambda record: get(record) in bounds
    if comparison.operator not in _ORDER:
        raise _unfit(comparison)
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


def _unfit(comparison: Comparison) -> ValueError:
    return ValueError(f"{comparison.field} has no operator {comparison.operator}")
