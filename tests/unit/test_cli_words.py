"""How the command line writes numbers, times, reports and reasons for waiting."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import CLEANUP, COMMANDS, WEBHOOKS
from cli.commands.delete import seconds_in
from cli.common import CommandError
from cli.lazy import LazyCommand, help_of
from cli.records import opened
from cli.screen import output, wording
from tasks.checks import Grade, durability, eviction
from worker.reports.report import Report
from worker.reports.stats import PauseStats, PurgeStats, SourceStats, Stats, WindowStats
from worker.text import escape

NOW = "2026-11-23T12:00:00.000+00:00"


def report(**changes: Any) -> Report:
    about: dict[str, Any] = {
        "request_id": "r1",
        "source": "catalog",
        "reason": None,
        "state": "PROGRESS",
        "total": 10,
        "waiting": 10,
        "in_flight": 0,
        "deleted": 0,
        "not_found": 0,
        "presumed_deleted": 0,
        "failed": 0,
        "cancelled": 0,
        "successfully_deleted_file_ids": [],
        "missing_file_ids": [],
        "presumed_deleted_file_ids": [],
        "errors": [],
        "truncated": False,
        "enqueued_at": NOW,
        "finished_at": None,
    }
    return cast("Report", about | changes)


def stats(**changes: Any) -> Stats:
    about: dict[str, Any] = {
        "unaccepted": 0,
        "waiting": 10,
        "in_flight": 0,
        "due_retries": 0,
        "held": 0,
        "unapproved": 0,
        "unpublished": 0,
        "parked": 0,
        "webhooks_waiting": 0,
        "webhooks_failed": 0,
        "sources": {"catalog": SourceStats(waiting=10, in_flight=0, due_retries=0, held=0)},
        "ended": {},
        "windows": [],
        "margin_ms": 15.0,
        "pause": None,
        "purges": PurgeStats(month="2026-11", calls=0, quota=1000, waiting=0, open=0),
        "workers": ["w1@x"],
        "now": NOW,
    }
    return cast("Stats", about | changes)


@given(st.text())
def test_escaped_text_is_printable(text: str) -> None:
    """Escaped text is printable: no control character, no line end, nothing that reorders text."""
    assert escape(text).isprintable()


@given(st.text(st.characters(categories=["L", "N", "P"])))
def test_escaped_text_keeps_what_is_printable(text: str) -> None:
    """Letters, digits and punctuation of any script stay as they are."""
    assert escape(text) == text


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
def test_json_data_holds_no_control_character(value: dict[str, Any]) -> None:
    """JSON for programs is one line of printable ASCII, and reads back as what it was."""
    before, sys.stdout = sys.stdout, io.StringIO()
    try:
        output.write_json(value)
        text = sys.stdout.getvalue()
    finally:
        sys.stdout = before
    assert text.removesuffix("\n").isprintable()
    assert text.isascii()
    assert json.loads(text) == value


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (8, "8s"),
        (200, "3m 20s"),
        (3600, "1h"),
        (7815, "2h 10m"),
        (273_600, "3d 4h"),
        (-5, "0s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """A time is written in its two largest units."""
    assert output.duration(seconds) == text


def test_moments() -> None:
    """A moment of today has no date, one of another day has; with `now`, the distance is added."""
    now = datetime.now().astimezone().replace(hour=12, minute=0, second=0, microsecond=0)
    assert output.moment(now.isoformat()) == "12:00:00"
    assert output.moment((now - timedelta(days=40)).isoformat()).count("-") == 2
    assert output.moment((now + timedelta(minutes=15)).isoformat(), now.isoformat()) == "12:15:00, in 15m"
    assert output.moment((now - timedelta(seconds=9)).isoformat(), now.isoformat()) == "11:59:51, 9s ago"
    assert output.moment(None) == "-"


def test_columns() -> None:
    """Columns fit their content, numbers are right-aligned, and no line ends in blanks."""
    rows = [["a", "1", "x"], ["bbb", "22", ""]]
    assert output.columns(rows, numbers=frozenset({1})) == ["a     1  x", "bbb  22"]
    assert output.columns([]) == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("0.5", 0.5),
        ("15m", 900),
        ("1.5h", 5400),
        ("24h", 86_400),
        ("2d", 172_800),
        ("1w", 604_800),
    ],
)
def test_holds(text: str, seconds: float) -> None:
    """A hold is a number with a unit, or a number of seconds."""
    assert seconds_in(text, "--hold") == seconds


@pytest.mark.parametrize("text", ["", "h", "-1", ".5h", "1.h", "1h30", "inf", "nan", "1e3", "٣s", "٣"])
def test_invalid_holds(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(CommandError, match="--hold: must be a number with a unit"):
        seconds_in(text, "--hold")


def test_a_report_as_text() -> None:
    """It has all counts that are not zero, and the first errors; control characters are escaped."""
    errors = [{"file_id": f"id{number}", "error": "locked \x1b[2J[red]"} for number in range(12)]
    lines = wording.report_lines(report(reason="\x1b]0;x", deleted=2, failed=12, total=14, waiting=0, errors=errors))
    assert all(line.isprintable() for line in lines)
    assert "reason     \\x1b]0;x" in lines
    assert "  deleted  2" in lines
    assert not any("not found" in line for line in lines)
    assert "  id0: locked \\x1b[2J[red]" in lines
    assert lines[-1] == "  and 2 more: kitsweep report r1 --outcome failed"


def pause(by: str, until: str | None = "2026-11-23T12:15:00.000+00:00") -> PauseStats:
    return PauseStats(by=by, reason="because \x07", until=until, since="2026-11-23T11:00:00.000+00:00", who="ann")


@pytest.mark.parametrize(
    ("by", "told"),
    [
        ("operator", "until `kitsweep resume`"),
        ("throttled", "throttled by ImageKit until "),
        ("trouble", "ImageKit is failing since "),
        ("key_refused", "ImageKit refuses the private key since "),
    ],
)
def test_pauses(by: str, told: str) -> None:
    """Each kind of pause says who paused, until when, and why."""
    line = wording.pause_line(pause(by, None if by == "operator" else pause(by)["until"]), NOW)
    assert told in line
    assert "because \\x07" in line
    assert ("in 15m" in line) == (by != "operator")


def test_why_a_request_waits() -> None:
    """The reason to fix first is shown."""
    full = [WindowStats(limit=5, interval_ms=1000, calls=5), WindowStats(limit=100, interval_ms=900_000, calls=7)]
    held = {"catalog": SourceStats(waiting=10, in_flight=0, due_retries=0, held=10)}
    retried = {"catalog": SourceStats(waiting=10, in_flight=0, due_retries=10, held=0)}
    why = wording.why_waiting
    assert why(report(state="OPEN"), stats(workers=[])) == "its file ids are still arriving"
    assert "kitsweep resume" in why(report(), stats(pause=pause("operator", None), workers=[]))
    assert "no worker is alive" in why(report(), stats(workers=[], windows=full))
    assert why(report(), stats(windows=full)) == "limit of 5 calls in 1s"
    assert "on hold until its undo window ends; undo it with `kitsweep cancel r1`" in why(
        report(), stats(sources=held, windows=full)
    )
    assert "or it is approved" in why(report(), stats(sources=held, unapproved=1))
    assert "will be retried later" in why(report(deleted=5, total=15), stats(sources=retried))
    assert why(report(), stats()) == ""


def test_windows() -> None:
    """A window's length is in the unit that fits it."""
    assert wording.window_text(WindowStats(limit=1, interval_ms=500, calls=0)) == "1 call in 0.5s"
    assert wording.window_text(WindowStats(limit=1000, interval_ms=900_000, calls=0)) == "1,000 calls in 15m"


def test_eviction_and_durability() -> None:
    """Any policy but noeviction is a failure, an unknown one a warning; a missing append-only file is a remark."""
    policies = ["noeviction", "allkeys-lfu", "volatile-lru", "allkeys-random", None]
    assert [eviction(policy).grade for policy in policies] == [
        Grade.OK,
        Grade.FAILED,
        Grade.FAILED,
        Grade.FAILED,
        Grade.WARNING,
    ]
    found = [durability(about).grade for about in ({"aof_enabled": 1}, {"aof_enabled": 0}, {})]
    assert found == [Grade.OK, Grade.REMARK, Grade.REMARK]


def test_a_report_file_is_complete_or_absent(tmp_path: Path) -> None:
    """A failure halfway leaves an older report unchanged, and no other file."""
    path = tmp_path / "report.csv"
    path.write_text("old")
    with contextlib.suppress(KeyError), opened(path) as stream:
        stream.write("half")
        raise KeyError
    assert (path.read_text(), list(tmp_path.iterdir())) == ("old", [path])
    with opened(path) as stream:
        stream.write("new")
    assert (path.read_text(), list(tmp_path.iterdir())) == ("new", [path])


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """`--output /dev/null` must not become a file."""
    with opened(Path("/dev/null")) as stream:
        stream.write("x")
    assert not Path("/dev/null").is_file()


def test_help_keeps_the_lines_of_examples_only() -> None:
    """Paragraphs are joined; examples keep their lines."""

    def command() -> None:
        """Do something.

        Some
        prose.

        Examples:
          kitsweep one
          kitsweep two
        """

    assert help_of(command) == "Do something.\n\nSome prose.\n\n\b\nExamples:\n  kitsweep one\n  kitsweep two"


@pytest.mark.parametrize(("where", "summary"), [*COMMANDS.values(), *CLEANUP.values(), *WEBHOOKS.values()])
def test_commands_are_listed_by_the_first_line_of_their_help(where: str, summary: str) -> None:
    """The list of commands, which imports none of them, says the same as the command's own help."""
    assert LazyCommand("x", where, summary).load().help.startswith(f"{summary}\n\n")
