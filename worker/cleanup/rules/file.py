"""Reads the rules file: TOML in, checked rules out, or every problem with its line and a hint."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from worker.cleanup.rules.fields import FieldReader, Problem
from worker.cleanup.rules.rule import Bounds, Keep, Rule
from worker.errors import KitsweepError

MAX_BYTES = 1_000_000
_NAME = re.compile(r"[A-Za-z0-9._-]{1,40}", re.ASCII)


class RulesError(KitsweepError, ValueError):
    """A rules file cannot be used: one line for each problem, with the file's name and the line number."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        super().__init__(file, problems)
        self.file = file
        self.problems = sorted(problems)

    def __str__(self) -> str:
        return "\n".join(f"{self.file}:{problem.line}: {problem.text}" for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules of a file, by name."""

    by_name: Mapping[str, Rule]


NO_RULES = Rules({})


class RulesFile:
    """One rules file, read again when it has changed."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._read: tuple[bytes | None, Rules | RulesError] | None = None

    def rules(self) -> Rules:
        """Return the rules as the file says now; none when there is no file. Raises `RulesError`.

        A file that cannot be used gives no rules at all, not even its sound ones or those of before: the part that is
        wrong may be what keeps files.
        """
        content = self._content()
        if self._read is None or self._read[0] != content:
            self._read = content, _parsed(content, str(self.path))
        found = self._read[1]
        if isinstance(found, RulesError):
            raise found
        return found

    def _content(self) -> bytes | None:
        try:
            with self.path.open("rb") as stream:
                return stream.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RulesError(str(self.path), [Problem(1, f"cannot be read: {error.strerror}")]) from None


def _parsed(content: bytes | None, name: str) -> Rules | RulesError:
    if content is None:
        return NO_RULES
    try:
        return parse_rules(content, name)
    except RulesError as error:
        return error


def parse_rules(content: bytes, name: str = "cleanup.toml") -> Rules:
    """Read and check a whole file. Raises `RulesError` with every problem."""
    if len(content) > MAX_BYTES:
        raise RulesError(name, [Problem(1, f"is longer than {MAX_BYTES} bytes")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RulesError(name, [Problem(line, "must be text in UTF-8")]) from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RulesError(name, [_toml_problem(error, text)]) from None
    except RecursionError:
        raise RulesError(name, [Problem(1, "is nested too deeply")]) from None
    top = FieldReader(data, text, ())
    common = top.section("keep")
    kept = _keep(common)
    tables = top.table("rules")
    rules = {rule_name: _rule(rule_name, tables, text, top, kept) for rule_name in tables}
    top.check_names("the top of the file")
    if top.problems:
        raise RulesError(name, top.problems)
    return Rules({rule_name: rule for rule_name, rule in rules.items() if rule})


def _toml_problem(error: tomllib.TOMLDecodeError, text: str) -> Problem:
    message = str(error)
    place = re.search(r"\(at line (\d+), column (\d+)\)", message)
    line = int(place[1]) if place else text.count("\n") + 1
    return Problem(line, f"this is not TOML: {message.split(' (at ', maxsplit=1)[0]}")


def _rule(name: str, tables: Mapping[str, Any], text: str, top: FieldReader, common: Keep) -> Rule | None:
    reader = FieldReader(tables[name], text, ("rules", name), top.problems)
    if not _NAME.fullmatch(name):
        reader.problem(None, f"a rule's name is 1 to 40 of A-Z a-z 0-9 . _ -, not {name[:60]!a}")
    before = len(top.problems)
    schedule, what = reader.schedule(), reader.what()
    keep, guards = _keep(reader.section("keep")), _bounds(reader.section("guards"))
    first, missed = reader.choice("first_run", ("hold", "release")), reader.choice("missed", ("once", "skip"))
    hold = reader.duration("hold")
    enabled, dry_run = reader.flag("enabled", default=True), reader.flag("dry_run", default=False)
    reader.check_names(f"rule {name}")
    if schedule is None or what is None or len(top.problems) > before:
        return None
    rule = Rule(
        name=name,
        schedule=schedule,
        what=what,
        keep=Keep(common.tags + keep.tags, common.paths + keep.paths),
        guards=guards,
        hold_seconds=hold or 0,
        enabled=enabled,
        dry_run=dry_run,
    )
    return replace(rule, hold_first=first != "release", catch_up=missed != "skip")


def _keep(reader: FieldReader) -> Keep:
    keep = Keep(reader.tags("tags"), reader.kept_paths("paths"))
    reader.check_names("keep")
    return keep


def _bounds(reader: FieldReader) -> Bounds:
    usual = Bounds()
    bounds = Bounds(
        max_files=int(reader.number("max_files", usual.max_files, 0, 1_000_000_000, whole=True)),
        max_share=float(reader.number("max_share", usual.max_share, 0, 1)),
        usual_factor=float(reader.number("usual_factor", usual.usual_factor, 0, 1_000_000)),
    )
    reader.check_names("guards")
    return bounds
