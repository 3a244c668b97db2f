"""Shows progress on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from cli.screen.output import duration, is_terminal, number, say
from cli.screen.wording import ended, outcomes, why_waiting
from worker.errors import RedisUnreachable
from worker.states import State

if TYPE_CHECKING:
    from tasks.client import Client
    from worker.reports.report import Report

RATE_SECONDS = 10.0
"""Period over which the rate is measured."""
LOOK_SECONDS = 1.0
"""How often to look up why a request waits."""
LINE_SECONDS = 3.0
"""Shortest time between two plain lines, unless the state changes."""
PATIENCE_SECONDS = 60.0
"""How long to wait for Redis while it is unavailable."""


class Bar(Progress):
    """One bar with figures, and lines of text beneath it; it vanishes at the end. Use it in a `with` block.

    Where a bar cannot be drawn, it writes a plain line every few seconds instead, or when `news` changes.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, shows_rate: bool = True) -> None:
        self._beneath: list[str] = []
        console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._is_drawn = is_terminal(sys.stderr) and not console.is_dumb_terminal
        super().__init__(
            BarColumn(bar_width=None),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
            refresh_per_second=8,
            speed_estimate_period=RATE_SECONDS,
            get_time=clock,
            disable=not self._is_drawn,
            expand=True,
        )
        self._clock = clock
        self._shows_rate = shows_rate
        self._id = self.add_task("", total=None)
        self._next_line = clock() + LINE_SECONDS
        self._news: object = None
        self._last_line = ""

    def show(self, text: str, done: int, total: int, beneath: Iterable[str] = (), news: object = None) -> None:
        """Show `done` of `total` (0: unknown), with `text` and figures beside the bar and the lines beneath it."""
        self._beneath = list(beneath)
        self.update(self._id, completed=done, total=total or None)
        figures = ", ".join([text, *self._figures()])
        self.update(self._id, description=figures)
        if not self._is_drawn:
            self._write_line("; ".join([figures, *self._beneath]), news)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the bar and the lines beneath it."""
        yield self.make_tasks_table(self.tasks)
        for line in self._beneath:
            yield Text(line, no_wrap=True, overflow="ellipsis")

    def _figures(self) -> Iterator[str]:
        """Yield the share that is done, and once they are known the speed and the time left."""
        task = self.tasks[0]
        if task.total:
            yield f"{int(task.percentage)}%"
        if self._shows_rate and task.total and task.speed and task.time_remaining is not None:
            yield f"{task.speed:,.{0 if task.speed >= 10 else 1}f}/s"
            yield f"{duration(task.time_remaining)} left"

    def _write_line(self, line: str, news: object) -> None:
        if line != self._last_line and (self._clock() >= self._next_line or news != self._news):
            say(line)
            self._next_line, self._news, self._last_line = self._clock() + LINE_SECONDS, news, line


def follow(client: Client, request_id: str) -> Report:
    """Show a request until it is final, and return its report. Raises what `Client.follow` raises."""
    reports = patient(lambda: client.follow(request_id))
    report = next(reports)
    if State(report["state"]).is_final:
        return report
    why, look_at = "", time.monotonic() + LOOK_SECONDS / 2
    with Bar() as bar:
        show_report(bar, report, why)
        for report in reports:
            if State(report["state"]).is_final:
                break
            if time.monotonic() >= look_at:
                why, look_at = _why(client, report), time.monotonic() + LOOK_SECONDS
            show_report(bar, report, why)
    return report


def show_report(bar: Bar, report: Report, why: str) -> None:
    """Show the progress of a request, its outcomes so far, and why it waits."""
    done, total = ended(report), report["total"]
    # Whether the limit is reached changes with each look, so it is not news.
    news = (report["state"], "" if why.startswith("limit") else why)
    bar.show(f"{number(done)} of {number(total)}", done, total, filter(None, [outcomes(report), why]), news)


def patient(start: Callable[[], Iterator[Report]], clock: Callable[[], float] = time.monotonic) -> Iterator[Report]:
    """Yield reports; if Redis becomes unavailable after the first one, wait for it up to `PATIENCE_SECONDS`."""
    seen_at: float | None = None
    while True:
        try:
            for report in start():
                seen_at = clock()
                yield report
        except RedisUnreachable:
            if seen_at is None or clock() - seen_at > PATIENCE_SECONDS:
                raise
            time.sleep(LOOK_SECONDS)
        else:
            return


def _why(client: Client, report: Report) -> str:
    try:
        return why_waiting(report, client.stats())
    except RedisUnreachable as error:
        return str(error)
