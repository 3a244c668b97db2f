"""Progress: rates, plain lines, and a Redis that goes away while a request is followed."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.input import InputFile
from cli.screen import progress
from cli.screen.progress import Bar, patient, show_report
from tests.unit.test_cli_words import report
from worker.errors import RedisUnreachable
from worker.reports.report import Report


class Clock:
    """A clock that advances only when it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Shows reports on one bar, each some seconds after the last, and returns what was written."""
    clock = Clock()
    bar = Bar(clock)

    def show(shown: Report, why: str = "", after: float = 0.0) -> str:
        clock.now += after
        show_report(bar, shown, why)
        return capsys.readouterr().err

    return show


def test_plain_lines(shown: Callable[..., str]) -> None:
    """A line at the start, at each change of state or reason, and every few seconds if anything changed."""
    assert shown(report(state="QUEUED")) == "0 of 10, 0%; deleted 0\n"
    assert shown(report(state="QUEUED"), after=0.5) == ""
    assert shown(report(deleted=1, waiting=9)) == "1 of 10, 10%; deleted 1\n"
    assert shown(report(deleted=2, waiting=8), "limit of 5 calls in 1s", after=1) == ""
    assert shown(report(deleted=2, waiting=8), "paused", after=1).endswith("deleted 2; paused\n")
    assert shown(report(deleted=2, waiting=8), "paused", after=9) == "2 of 10, 20%; deleted 2; paused\n"
    assert shown(report(deleted=2, waiting=8), "paused", after=9) == ""


def test_rate_and_time_left(shown: Callable[..., str]) -> None:
    """They are those of the last seconds; an OPEN request has no known total, and so no time left."""
    assert shown(report(state="OPEN", total=0, waiting=0)) == "0 of 0; deleted 0\n"
    shown(report(total=2000, deleted=1, waiting=1999))
    for done in (101, 201, 301, 401):
        shown(report(total=2000, deleted=done, waiting=2000 - done), after=1)
    line = shown(report(total=2000, deleted=590, failed=11, waiting=1399), after=2)
    assert line == "601 of 2,000, 30%, 100/s, 14s left; deleted 590, failed 11\n"


def failing(times: int, first: Report | None = None) -> Iterator[Iterator[Report]]:
    """Yield the reports of each attempt to follow: an error so many times, then the final report."""

    def one(number: int) -> Iterator[Report]:
        if number == 0 and first:
            yield first
        if number < times:
            raise RedisUnreachable("host:1/0")
        yield report(state="SUCCESS")

    for number in range(times + 1):
        yield one(number)


def test_a_redis_that_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first report, a Redis that restarts is waited for."""
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0)
    starts = failing(3, report())
    assert [each["state"] for each in patient(lambda: next(starts), Clock())] == ["PROGRESS", "SUCCESS"]


def test_a_redis_that_was_never_there() -> None:
    """A Redis that does not answer at the start is an error at once."""
    starts = failing(1)
    with pytest.raises(RedisUnreachable):
        next(patient(lambda: next(starts), Clock()))


def test_a_redis_that_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `PATIENCE_SECONDS` it is an error."""
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0)
    clock = Clock()
    starts = failing(9, report())
    reports = patient(lambda: next(starts), clock)
    next(reports)
    clock.now = progress.PATIENCE_SECONDS + 1
    with pytest.raises(RedisUnreachable):
        next(reports)


class Ticking(Clock):
    """A clock that advances a little at each look."""

    def __call__(self) -> float:
        self.now += 0.2
        return self.now


def test_long_reading_shows_progress(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Reading that takes long shows its progress now and then; ids are counted as they are taken."""
    path = tmp_path / "ids.txt"
    path.write_text("".join(f"id{number:06}\n" for number in range(20_000)))
    with path.open("rb") as stream:
        ids = InputFile(stream, "ids\x1b.txt", None, Ticking())
        assert sum(1 for _ in ids) == ids.count == 20_000
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 14
    assert all(re.fullmatch(r"reading ids\\x1b\.txt: [0-9,]+ ids, [0-9]+%", line) for line in lines)


def test_short_reading_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Reading that takes less than a second shows nothing."""
    ids = InputFile(io.BytesIO(b"a\nb\n" * 1000), "standard input", None, Clock())
    assert len(list(ids)) == 2000
    assert capsys.readouterr().err == ""
