"""The types of a rule's fields. Error messages follow the name of the key."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from worker.cleanup.rules.schedule import check_cron, find_zone
from worker.text import HIDDEN
from worker.times import parse_duration

_HIDDEN = re.compile(f"[{HIDDEN}]")
_RULE_NAME = re.compile(r"[A-Za-z0-9._-]{1,40}", re.ASCII)


def _check_line(text: str) -> str:
    if not 0 < len(text.strip()) == len(text) <= 1000 or _HIDDEN.search(text):
        raise ValueError("must be one line of 1 to 1000 characters, without spaces at its ends")
    return text


def _check_rule_name(name: str) -> str:
    if not _RULE_NAME.fullmatch(name):
        raise ValueError("is not a rule name: use 1 to 40 of A-Z a-z 0-9 . _ -")
    return name


def _check_path(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"must start with /, not {path[:60]!a}")
    return path


def _check_filled(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("must not be empty")
    return values


def _check_folder(path: str) -> str:
    if not path.startswith("/") or "//" in path or "*" in path:
        raise ValueError('must be one folder, such as "/incoming/", without wildcards')
    return path.rstrip("/") + "/"


def _check_zone(name: str) -> str:
    find_zone(name)
    return name


def check_query(query: str) -> str:
    """Refuse a query that could reach outside its parentheses: `ValueError`."""
    depth, in_text, escaped = 0, False, False
    for character in query:
        if escaped:
            escaped = False
        elif in_text:
            escaped, in_text = character == "\\", character != '"'
        elif character == '"':
            in_text = True
        else:
            depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            raise ValueError("closes a parenthesis that it did not open")
    if in_text:
        raise ValueError('has a quote " that is never closed')
    if depth:
        raise ValueError("opens a parenthesis that it does not close")
    return query


Line = Annotated[str, AfterValidator(_check_line)]
RuleName = Annotated[str, AfterValidator(_check_rule_name)]
Folder = Annotated[Line, AfterValidator(_check_folder)]
Query = Annotated[Line, AfterValidator(check_query)]
CronExpression = Annotated[Line, AfterValidator(check_cron)]
TimeZone = Annotated[Line, AfterValidator(_check_zone)]
Seconds = Annotated[int, BeforeValidator(parse_duration)]
"""Written in the file as a number with a unit, such as `30d`."""
Tags = Annotated[tuple[Line, ...], Field(strict=False), AfterValidator(_check_filled)]
Path = Annotated[Line, AfterValidator(_check_path)]
Paths = Annotated[tuple[Path, ...], Field(strict=False), AfterValidator(_check_filled)]
