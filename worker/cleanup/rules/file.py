"""Reads the rules file. Reports every problem with its line and a hint."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from config.guards import Guard
from config.problems import explain
from config.toml_lines import line_of, syntax_problem
from worker.cleanup.rules.fields import RuleName
from worker.cleanup.rules.rule import Keep, Rule, RuleTable, Table
from worker.errors import KitsweepError

MAX_BYTES = 1_000_000


class Problem(NamedTuple):
    """What is wrong, and its line in the file (from 1)."""

    line: int
    text: str


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


class _FileTable(Table):
    """The top of the file."""

    keep: Keep = Keep()
    rules: dict[RuleName, RuleTable] = Field(default_factory=dict)


class RulesFile:
    """One rules file, read again when it has changed."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def rules(self) -> Rules:
        """Return the current rules of the file; none if there is no file. Raises `RulesError`.

        A file with any problem has no rules: the invalid line may be the one that keeps files.
        """
        try:
            with self.path.open("rb") as stream:
                content = stream.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return Rules({})
        except OSError as error:
            raise RulesError(str(self.path), [Problem(1, f"cannot be read: {error.strerror}")]) from None
        if len(content) > MAX_BYTES:
            raise RulesError(str(self.path), [Problem(1, f"is longer than {MAX_BYTES} bytes")])
        return parse_rules(content, str(self.path))


@lru_cache(maxsize=8)
def parse_rules(content: bytes, name: str = "cleanup.toml") -> Rules:
    """Read and check a whole file. Raises `RulesError` with every problem; `name` is the file's name in it."""
    text = ""
    try:
        text = content.decode("utf-8-sig")
        file = _FileTable.model_validate(tomllib.loads(text))
    except ValidationError as error:
        problems = [_problem(detail, text) for detail in error.errors()]
    except tomllib.TOMLDecodeError as error:
        problems = [Problem(*syntax_problem(error, text))]
    except UnicodeDecodeError as error:
        problems = [Problem(content.count(b"\n", 0, error.start) + 1, "must be text in UTF-8")]
    except RecursionError:
        problems = [Problem(1, "is nested too deeply")]
    else:
        return Rules({each: _named(each, table, file.keep) for each, table in file.rules.items()})
    raise RulesError(name, problems)


def _named(name: str, table: RuleTable, keep: Keep) -> Rule:
    return Rule.model_construct(**{**dict(table), "name": name, "keep": keep | table.keep})


def _problem(error: ErrorDetails, text: str) -> Problem:
    path = tuple(str(part) for part in error["loc"])
    return Problem(line_of(text, path), explain(error, _names(path)))


def _names(path: tuple[str, ...]) -> list[str]:
    """Return the names that are valid at this key."""
    match path:
        case ("keep", _) | ("rules", _, "keep", _):
            table: type[BaseModel] = Keep
        case ("rules", _, "guards", _):
            table = Guard
        case ("rules", _, _):
            table = RuleTable
        case _:
            table = _FileTable
    return [str(field.validation_alias or name) for name, field in table.model_fields.items()]
