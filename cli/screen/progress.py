"""Follows a request on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from cli.screen import wording as describing
from cli.screen.output import duration, is_terminal, number, rate, words
from worker.errors import RedisUnreachable
from worker.states import State

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tasks.client import Client
    from worker.reports.report import Report

RATE_SECONDS = 10.0
"""Over how long the rate is measured."""
LOOK_SECONDS = 1.0
"""How often it is looked up why a request waits."""
LINE_SECONDS = 3.0
"""How often a plain line is written, at most."""
PATIENCE_SECONDS = 60.0
"""For how long a Redis that went away while a request was followed is waited for."""


@dataclass
class Meter:
    """How fast a count grows: over the last `RATE_SECONDS`, by samples of (seconds, count)."""

    samples: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, now: float, count: int) -> None:
        """Note the count at a moment."""
        self.samples.append((now, count))
        while len(self.samples) > 2 and self.samples[1][0] <= now - RATE_SECONDS:
            self.samples.popleft()

    @property
    def per_second(self) -> float:
        """The rate; 0 as long as there is nothing to measure it by."""
        if len(self.samples) < 2:
            return 0.0
        (start, first), (end, last) = self.samples[0], self.samples[-1]
        return (last - first) / (end - start) if end > start else 0.0


class View(NamedTuple):
    """What is shown of a request at one moment."""

    report: Report
    per_second: float
    why: str
    """Why it waits; empty when there is nothing to say."""

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1."""
        return describing.ended(self.report) / self.report["total"] if self.report["total"] else 0.0

    def figures(self) -> list[str]:
        """Write how far it is, at which rate, and how much time is left."""
        done, total = describing.ended(self.report), self.report["total"]
        shown = [f"{number(done)} of {number(total)}", f"{int(self.share * 100)}%"]
        if self.per_second > 0:
            shown.append(rate(self.per_second))
            shown.append(f"{duration((total - done) / self.per_second)} left")
        return shown


class Screen(Protocol):
    """Where views are shown."""

    def show(self, view: View) -> None:
        """Show a view in the place of the last one."""

    def close(self) -> None:
        """End the showing."""


class Lines:
    """One plain line every few seconds, and whenever the state or the reason for waiting changes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = clock() + LINE_SECONDS
        self._last: tuple[str, str] | None = None
        self._text = ""

    def show(self, view: View) -> None:
        """Write a line if it is time for one."""
        # What the limit says comes and goes with each look; it is no news.
        about = (view.report["state"], "" if view.why.startswith("limit") else view.why)
        now = self._clock()
        text = f"{', '.join(view.figures())}; {describing.outcomes(view.report)}"
        text += f"; {view.why}" if view.why else ""
        if text != self._text and (now >= self._next or about != self._last):
            words(text)
            self._next, self._last, self._text = now + LINE_SECONDS, about, text

    def close(self) -> None:
        """Do nothing: lines stay."""


class Bar:
    """A bar with figures, and beneath it the outcomes so far and why it waits; it vanishes at the end."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415
        from rich.live import Live  # noqa: PLC0415

        console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._live = Live(console=console, transient=True, refresh_per_second=8)
        self._live.start()

    def show(self, view: View) -> None:
        """Draw a view."""
        self._live.update(_drawn(view))

    def close(self) -> None:
        """Remove the bar."""
        self._live.stop()


def _drawn(view: View) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    line = Table.grid(padding=(0, 2), expand=True)
    figures = view.figures()
    line.add_column(ratio=1)
    for _ in figures:
        line.add_column(no_wrap=True, justify="right")
    bar = ProgressBar(total=max(1, view.report["total"]), completed=describing.ended(view.report))
    line.add_row(bar, *(Text(text) for text in figures))
    under = Text(describing.outcomes(view.report), no_wrap=True, overflow="ellipsis")
    lines: list[RenderableType] = [line, under]
    if view.why:
        lines.append(Text(view.why, style="yellow"))
    return Group(*lines)


def screen() -> Screen:
    """Return a bar for a terminal that can draw one, and plain lines for anything else."""
    if not is_terminal(sys.stderr):
        return Lines()
    from rich.console import Console  # noqa: PLC0415

    return Lines() if Console(stderr=True).is_dumb_terminal else Bar()


def follow(client: Client, request_id: str) -> Report:
    """Show a request until it is final, and return its report. Raises what `Client.follow` raises."""
    reports = patient(lambda: client.follow(request_id))
    report = next(reports)
    if State(report["state"]).is_final:
        return report
    shown = screen()
    try:
        for view in _views(client, report, reports):
            report = view.report
            if not State(report["state"]).is_final:
                shown.show(view)
    finally:
        shown.close()
    return report


def patient(start: Callable[[], Iterator[Report]], clock: Callable[[], float] = time.monotonic) -> Iterator[Report]:
    """Yield reports; when Redis goes away after the first one, wait for it up to `PATIENCE_SECONDS`."""
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


def _views(client: Client, first: Report, reports: Iterator[Report]) -> Iterator[View]:
    meter, why, look_at = Meter(), "", time.monotonic() + LOOK_SECONDS / 2
    meter.add(time.monotonic(), describing.ended(first))
    yield View(first, 0.0, why)
    for report in reports:
        now = time.monotonic()
        meter.add(now, describing.ended(report))
        if now >= look_at:
            why, look_at = _why(client, report), now + LOOK_SECONDS
        yield View(report, meter.per_second, why)


def _why(client: Client, report: Report) -> str:
    try:
        return describing.why_waiting(report, client.stats())
    except RedisUnreachable as error:
        return str(error)
