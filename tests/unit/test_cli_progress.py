"""Following a request: rates, plain lines now and then, and a Redis that goes away for a while."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.input import Source
from cli.screen import progress
from cli.screen.progress import Lines, Meter, View, patient
from tests.unit.test_cli_words import report
from worker.errors import RedisUnreachable
from worker.reports.report import Report


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_is_that_of_the_last_seconds() -> None:
    """What happened long ago does not count; nothing to measure by is a rate of zero."""
    meter = Meter()
    assert meter.per_second == 0
    meter.add(0, 0)
    assert meter.per_second == 0
    for second in range(1, 31):
        meter.add(second, 1000 + 50 * second)
    assert meter.per_second == 50
    assert len(meter.samples) <= 12


def test_the_rate_of_one_moment() -> None:
    """Two looks at the same moment do not divide by zero."""
    meter = Meter()
    meter.add(1, 5)
    meter.add(1, 9)
    assert meter.per_second == 0


def test_figures() -> None:
    """Figures tell how much is done, and the time that is left once there is a rate."""
    running = report(total=2000, deleted=490, failed=10, waiting=1500)
    assert View(running, 100.0, "").figures() == ["500 of 2,000", "25%", "100/s", "15s left"]
    assert View(running, 0.0, "").figures() == ["500 of 2,000", "25%"]
    assert View(report(state="OPEN", total=0, waiting=0), 0.0, "").figures() == ["0 of 0", "0%"]


def test_plain_lines_come_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """A line at the start, at each change of state or reason, and every few seconds if there is news."""
    clock = Clock()
    lines = Lines(clock)

    def shown(view: View, after: float = 0.0) -> str:
        clock.now += after
        lines.show(view)
        return capsys.readouterr().err

    assert shown(View(report(state="QUEUED"), 0.0, "")) == "0 of 10, 0%; deleted 0\n"
    assert shown(View(report(state="QUEUED"), 0.0, ""), 0.5) == ""
    assert shown(View(report(deleted=1, waiting=9), 0.0, "")) == "1 of 10, 10%; deleted 1\n"
    assert shown(View(report(deleted=2, waiting=8), 0.0, "limit of 5 calls in 1s"), 1) == ""
    assert shown(View(report(deleted=2, waiting=8), 0.0, "paused"), 1) == "2 of 10, 20%; deleted 2; paused\n"
    assert shown(View(report(deleted=2, waiting=8), 0.0, "paused"), 10) == ""
    assert (
        shown(View(report(deleted=3, waiting=7), 1.0, "paused")) == "3 of 10, 30%, 1.0/s, 7s left; deleted 3; paused\n"
    )


def failing(times: int, first: Report | None = None) -> Iterator[Iterator[Report]]:
    """Yield what each start of following yields: nothing but an error so many times, then the end."""

    def one(number: int) -> Iterator[Report]:
        if number == 0 and first:
            yield first
        if number < times:
            raise RedisUnreachable("host:1/0")
        yield report(state="SUCCESS")

    for number in range(times + 1):
        yield one(number)


def test_a_redis_that_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a request is followed, a Redis that is restarted is waited for."""
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0)
    starts = failing(3, report())
    assert [each["state"] for each in patient(lambda: next(starts), Clock())] == ["PROGRESS", "SUCCESS"]


def test_a_redis_that_was_never_there() -> None:
    """A Redis that does not answer at the start is an error at once."""
    starts = failing(1)
    with pytest.raises(RedisUnreachable):
        next(patient(lambda: next(starts), Clock()))


def test_a_redis_that_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience ends."""
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0)
    clock = Clock()
    starts = failing(9, report())
    reports = patient(lambda: next(starts), clock)
    next(reports)
    clock.now = progress.PATIENCE_SECONDS + 1
    with pytest.raises(RedisUnreachable):
        next(reports)


class Ticking(Clock):
    """A clock that goes on by a second at each look."""

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_a_long_reading_is_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A reading that takes long tells now and then how far it is; ids are counted as they are taken."""
    path = tmp_path / "ids.txt"
    path.write_text("".join(f"id{number:06}\n" for number in range(20_000)))
    with path.open("rb") as stream:
        ids = Source(stream, "ids\x1b.txt", None, Ticking())
        assert sum(1 for _ in ids) == ids.count == 20_000
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 14
    assert all(re.fullmatch(r"reading ids\\x1b\.txt: [0-9,]+ ids, [0-9]+%", line) for line in lines)


def test_a_short_reading_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A reading of less than a second says nothing; of a pipe, no share is known."""
    ids = Source(io.BytesIO(b"a\nb\n" * 1000), "standard input", None, Clock())
    assert len(list(ids)) == 2000
    assert capsys.readouterr().err == ""
