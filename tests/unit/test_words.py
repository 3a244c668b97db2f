"""What people read: plain English, one word for one thing, and log lines with fields."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("config", "worker", "tasks", "cli", "local", "web")
TEXTS = [
    *(path for folder in CODE for kind in ("*.py", "*.lua") for path in sorted((ROOT / folder).rglob(kind))),
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", ".env.example", "cleanup.example.toml")),
]
ODD = re.compile(
    r"\b(somebody|anybody|whoever|whatever becomes|in the air|tells? of|heard of|stumbles?|for company|went well"
    r"|in its own words|by turns|a word of|looked? after|runs? out of patience"
    r"|engine|verdict|is away|put aside|handed on|gets? hold of|for ever|what hangs|goes off"
    r"|(?<!['\"])places?(?!['\"]))\b",
    re.IGNORECASE,
)
NAMES_AN_ID = re.compile(r"\b(request|run|claim|token|source|rule|worker|file)s? %|%d")
FIELD_ROW = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_odd_words(path: Path) -> None:
    """The glossary has the right word: worker, producer or operator for `somebody`, in flight for `in the air`."""
    lines = enumerate(path.read_text("utf-8").splitlines(), 1)
    assert [f"{number}: {line.strip()}" for number, line in lines if ODD.search(line)] == []


@pytest.mark.parametrize("path", [path for path in TEXTS if path.suffix == ".md"], ids=lambda path: path.name)
def test_documents_name_files_that_exist(path: Path) -> None:
    """A newcomer finds every file and folder that a document names in this repository."""
    named = re.findall(rf"`((?:{'|'.join(CODE)}|tests|docs|simulator)/[\w./-]*)`", path.read_text("utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    """Yield every call of a logger in production code, with its file and line."""
    for path in TEXTS:
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in LOG_METHODS
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id == "logger"
                ):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_log_lines_have_fields() -> None:
    """A log line whose message names an id or a count also has it as a field (`extra`)."""
    calls = list(log_calls())
    assert len(calls) > 15
    missing = [
        where
        for where, call in calls
        if NAMES_AN_ID.search(" ".join(texts_in(call))) and not any(keyword.arg == "extra" for keyword in call.keywords)
    ]
    assert missing == []


def texts_in(call: ast.Call) -> list[str]:
    """Return the literal texts among the arguments of a call."""
    return [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]


def test_log_fields_follow_the_schema() -> None:
    """Each field of a log line is in the table of docs/logs.md."""
    table = FIELD_ROW.findall((ROOT / "docs" / "logs.md").read_text("utf-8"))
    always = {"at", "level", "logger", "message", "traceback"}
    assert {*always, *log_fields_in_code()} - {*table} == set()


def log_fields_in_code() -> set[str]:
    """Return the names of all fields: keys of `extra` and of `fields`, and keywords of the functions that add some."""
    found: set[str] = set()
    for path in TEXTS:
        if path.suffix != ".py" or "logger = logging.getLogger" not in path.read_text("utf-8"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.keyword(arg="extra", value=ast.Dict() as fields):
                    found |= keys_of(fields)
                case ast.Assign(targets=[ast.Name(id="fields")], value=ast.Dict() as fields):
                    found |= keys_of(fields)
                case ast.Call(func=ast.Name(id="log_fields" | "add_log_fields" | "_log"), keywords=keywords):
                    found |= {keyword.arg for keyword in keywords if keyword.arg}
                case ast.keyword(arg="extra", value=value):
                    assert isinstance(value, ast.Name), f"{path}: name the fields in a dictionary"
                    assert value.id == "fields", f"{path}: call it `fields`"
    return found


def keys_of(fields: ast.Dict) -> set[str]:
    return {key.value for key in fields.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
