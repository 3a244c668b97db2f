"""Wrong use and bad input, refused before Redis is called: in these tests there is none."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest
from redis.exceptions import ReadOnlyError, ResponseError

from cli import run
from cli.common import CommandError
from cli.errors import explain
from worker.errors import QueueFull, RedisUnreachable, UnknownRequest

LONG = "x" * 257
Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Runs a command that must fail with status 2, one line and no data; returns the line."""

    def run_refused(*arguments: str, given: str | bytes = b"") -> str:
        content = given if isinstance(given, bytes) else given.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        status = run(arguments)
        out, err = capsys.readouterr()
        assert (status, out, err.count("\n")) == (2, "", 1), err
        assert err.startswith("kitsweep: ")
        assert err.strip().isprintable()
        return err.strip()

    return run_refused


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("good\nwith space\n", 2),
        ("good\n\n# note\nbell\x07\n", 4),
        (f"good\n{LONG}\n", 2),
        ("good\nzero\u200bwidth\n", 2),
        (b"good\n\xff\xfe\n", 2),
        ("fileId,name\n,x\n", 2),
        ('fileId\n"open\n', 2),
        ("name;id\na;b\n", 1),
        ('["good",\n 7]', 2),
        ('["good",\n "x"', 2),
        ('[""]', 1),
        ('{"fileId": "good"}\n{"name": "x"}\n', 2),
        ('{"fileId": "good"}\n{"type": "folder", "folderId": "x"}\n', 2),
        ('{"fileId": null}\n', 1),
    ],
)
def test_bad_input(refused: Refused, given: str | bytes, line: int) -> None:
    """The error names the line, and nothing is enqueued."""
    told = refused("delete", "-", given=given)
    assert f"standard input, line {line}: " in told
    assert told.endswith("Nothing was enqueued.")


@pytest.mark.parametrize("given", ["", "\n\n", "# nothing\n", "[]", "fileId\n"])
def test_no_ids(refused: Refused, given: str) -> None:
    """Input without ids is an error."""
    assert "standard input holds no file ids" in refused("delete", "-", given=given)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["delete", "/no/such/file"], "/no/such/file: No such file or directory"),
        (["delete", "/"], "/: Is a directory"),
        (["delete", "-", "--source", "a b"], "--source: a source is"),
        (["delete", "-", "--reason", "a\nb"], "--reason: a reason is"),
        (["delete", "-", "--hold", "-1"], "--hold: must be a number with a unit"),
        (["delete", "-", "--hold", "9999d"], "--hold: a hold is"),
        (["delete", "-", "--result-ttl", "long"], "--result-ttl: must be a number with a unit"),
        (
            ["delete", "-", "--result-ttl", "59s"],
            "--result-ttl: a result is kept for a whole number of seconds from 60",
        ),
        (["delete", "-", "--request-id", ""], "--request-id: a request id is"),
        (["delete", "-", "--form", "xml"], "'xml' is not one of 'lines', 'csv', 'json', 'jsonl'"),
        (["delete"], "Missing argument 'FILE'"),
        (["delete", "-", "--wiat"], "No such option: --wiat"),
        (["status", "a b"], "Invalid value for 'ID': a request id is"),
        (["pause", "--reason", "a\x1b[31mb"], "Invalid value for '--reason': a reason is"),
        (["report", "x", "--format", "xml"], "'xml' is not one of 'jsonl', 'csv'"),
        (["no\x1b[31msuch"], "No such command"),
    ],
)
def test_wrong_use(refused: Refused, arguments: list[str], told: str) -> None:
    """Wrong use ends with status 2 and one printable line that says what is wrong."""
    line = refused(*arguments, given="good\n")
    assert told in line


def test_expected_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Every expected error has an exit status and one printable line."""
    expected: list[tuple[Exception, int, str]] = [
        (UnknownRequest("x"), 1, "request x: unknown or expired"),
        (RedisUnreachable("host:1/0"), 2, "Redis at host:1/0 cannot be reached"),
        (QueueFull("host:1/0"), 2, "is out of memory"),
        (ReadOnlyError("You can't write against a read only replica."), 2, "refused: You can't write"),
        (ResponseError("NOPERM\x1b[2J"), 2, "refused: NOPERM\\x1b[2J"),
        (PermissionError(13, "Permission denied", "out.csv"), 2, "out.csv: Permission denied"),
        (CommandError("a [red]b", 1), 1, "kitsweep: a [red]b"),
    ]
    for error, status, told in expected:
        assert explain(error) == status
        line = capsys.readouterr().err
        assert told in line
        assert line.count("\n") == 1


def test_a_bug_is_not_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """An unexpected error is raised, with its traceback."""
    assert explain(KeyError("x")) is None
    assert capsys.readouterr().err == ""
