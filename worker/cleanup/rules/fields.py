"""Takes one table of the rules file apart: each key is checked, and every problem gets the number of its line."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from worker.cleanup.rules.rule import What
from worker.cleanup.rules.schedule import Cron, Every, Schedule
from worker.text import HIDDEN
from worker.times import parse_duration

_HIDDEN = re.compile(f"[{HIDDEN}]")
_WHOLE = "means the whole library; narrow it by path, older_than, tags, file_type or query"


class Problem(NamedTuple):
    """What is wrong, and in which line of the file (from 1)."""

    line: int
    text: str


class FieldReader:
    """Reads the keys of one table; problems are collected, so that one look shows them all."""

    def __init__(self, table: object, text: str, where: tuple[str, ...], problems: list[Problem] | None = None) -> None:
        self.problems: list[Problem] = [] if problems is None else problems
        self._text = text
        self._where = where
        self._known: set[str] = set()
        self._table: Mapping[str, Any] = table if isinstance(table, Mapping) else {}
        if not isinstance(table, Mapping):
            self.problem(None, f"{'.'.join(where)} must be a table, such as [{'.'.join(where)}]")

    def problem(self, key: str | None, text: str) -> None:
        """Note a problem with a key, or with the table itself."""
        self.problems.append(Problem(line_of(self._text, (*self._where, *((key,) if key else ()))), text))

    def check_names(self, place: str) -> None:
        """Note every key that nobody has asked for."""
        for key in self._table:
            if key not in self._known:
                near = difflib.get_close_matches(key, self._known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(self._known))}"
                self.problem(key, f"unknown name {key[:60]!a} in {place}; {hint}")

    def table(self, key: str) -> Mapping[str, Any]:
        """Return a table of tables."""
        found = self._get(key)
        if found is None or isinstance(found, Mapping):
            return found or {}
        self.problem(key, f"{key} must be tables, such as [{key}.old-drafts]")
        return {}

    def section(self, key: str) -> FieldReader:
        """Return a reader of a table within this one."""
        found = self._get(key)
        return FieldReader({} if found is None else found, self._text, (*self._where, key), self.problems)

    def schedule(self) -> Schedule | None:
        """Read `schedule` with `timezone`, or `every`."""
        cron, zone, every = self._get("schedule"), self._get("timezone"), self._get("every")
        if (cron is None) == (every is None):
            self.problem(None, 'needs either schedule = "0 3 * * *" with a timezone, or every = "6h"')
            return None
        try:
            if every is not None:
                if zone is not None:
                    self.problem("timezone", "timezone goes with schedule; every counts hours, whatever clocks show")
                return Every(parse_duration(every))
            return Cron(_text(cron, '"0 3 * * *"'), _text("UTC" if zone is None else zone, '"Europe/Berlin"'))
        except ValueError as error:
            key = "every" if every is not None else "timezone" if "time zone" in str(error) and zone else "schedule"
            self.problem(key, f"{key}: {error}")
            return None

    def what(self) -> What | None:
        """Read which files the rule means."""
        before = len(self.problems)
        what = What(
            query=self._query(),
            path=self._folder(),
            recursive=self.flag("recursive", default=False),
            older_than=self.duration("older_than"),
            tags=self.tags("tags"),
            file_type=self.choice("file_type", ("image", "non-image")),
        )
        if len(self.problems) > before:
            return None
        if what.recursive and what.path is None:
            self.problem("recursive", "recursive goes with path; without a path the whole library is searched anyway")
        wide = what.path is None or (what.path == "/" and what.recursive)
        if wide and not (what.older_than or what.tags or what.file_type or what.query):
            self.problem("path" if what.path else None, _WHOLE)
        return what

    def flag(self, key: str, *, default: bool) -> bool:
        """Read true or false."""
        value = self._get(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.problem(key, f"{key} must be true or false")
        return default

    def choice(self, key: str, choices: Sequence[str]) -> str | None:
        """Read one of some words; None when it is not there."""
        value = self._get(key)
        if value is None or (isinstance(value, str) and value in choices):
            return value
        self.problem(key, f"{key} must be {' or '.join(choices)}")
        return None

    def duration(self, key: str) -> int | None:
        """Read a length of time, in seconds; None when it is not there."""
        value = self._get(key)
        if value is None:
            return None
        try:
            return parse_duration(value)
        except ValueError as error:
            self.problem(key, f"{key} {error}")
            return None

    def number(self, key: str, default: float, least: float, most: float, *, whole: bool = False) -> float:
        """Read a number within bounds."""
        value = self._get(key)
        if value is None:
            return default
        kind = int if whole else int | float
        if isinstance(value, bool) or not isinstance(value, kind) or not math.isfinite(value):
            self.problem(key, f"{key} must be a {'whole ' if whole else ''}number")
        elif not least <= value <= most:
            self.problem(key, f"{key} must be from {least:g} (no bound) to {most:g}")
        else:
            return float(value)
        return default

    def tags(self, key: str) -> tuple[str, ...]:
        """Read a list of tags."""
        return self._texts(key, "tags")

    def kept_paths(self, key: str) -> tuple[str, ...]:
        """Read a list of folders and files."""
        paths = self._texts(key, "paths")
        for path in paths:
            if not path.startswith("/"):
                self.problem(key, f"a path starts with /, not {path[:60]!a}")
        return paths

    def _texts(self, key: str, kind: str) -> tuple[str, ...]:
        value = self._get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not value or not all(_is_text(each) for each in value):
            self.problem(key, f'{key} must be a list of {kind}, such as ["one", "two"]')
            return ()
        return tuple(value)

    def _query(self) -> str | None:
        value = self._get("query")
        if value is None:
            return None
        if not _is_text(value):
            self.problem("query", "query must be a text in one line, in ImageKit's search language")
            return None
        try:
            check_query(value)
        except ValueError as error:
            self.problem("query", f"query {error}")
        return str(value)

    def _folder(self) -> str | None:
        value = self._get("path")
        if value is None:
            return None
        if not _is_text(value) or not value.startswith("/") or "//" in value or "*" in value:
            self.problem("path", 'path must be one folder, such as "/incoming/"; it has no wildcards')
            return None
        return str(value).rstrip("/") + "/"

    def _get(self, key: str) -> Any:
        self._known.add(key)
        return self._table.get(key)


def _text(value: object, example: str) -> str:
    if _is_text(value):
        return str(value)
    raise ValueError(f"must be a text such as {example}")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value.strip()) == len(value) <= 1000 and not _HIDDEN.search(value)


def line_of(text: str, path: tuple[str, ...]) -> int:
    """Return the line in which a key stands, or else its table, or else 1.

    TOML's parser does not tell; so headers and keys are looked for as people write them.
    """
    best, depth = 1, 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if header := re.fullmatch(r"\[\[?([^\[\]]+)\]\]?\s*(#.*)?", stripped):
            table = _parts(header[1])
            reached = table
        elif key := re.match(r"""((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""", stripped):
            reached = (*table, *_parts(key[1]))
        else:
            continue
        shared = _shared(reached, path)
        if shared > depth:
            best, depth = number, shared
    return best


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in re.findall(r"""[^."'\s]+|"[^"]*"|'[^']*'""", dotted))


def _shared(reached: tuple[str, ...], path: tuple[str, ...]) -> int:
    short = min(len(reached), len(path))
    return short if reached[:short] == path[:short] else 0


def check_query(query: str) -> None:
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
