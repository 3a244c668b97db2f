"""Says in one sentence whether the account is well, and if not, why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, tzinfo
from enum import StrEnum
from itertools import chain

from tasks.figures import Memory
from web.dashboard.sampler import Look
from web.dashboard.words import clock, counted, duration, number, seconds_between
from worker.reports.stats import PauseStats, Stats, WindowStats

NEARLY = 0.8
"""Use of a window from which its limit counts as reached. A window is seldom seen full."""
NEARLY_FULL = 0.9
STILL_SECONDS = 20.0
"""For how long no file may end before that is worth a warning."""


class Level(StrEnum):
    """How urgent it is."""

    GOOD = "good"
    IDLE = "idle"
    WAIT = "wait"
    """It waits for something that passes, or for a decision."""
    BAD = "bad"
    """It does not work until an operator acts."""

    @property
    def word(self) -> str:
        """Return it as one or two words, for the side of every page."""
        return {"good": "Working", "idle": "Idle", "wait": "Waiting", "bad": "Needs attention"}[self]


@dataclass(frozen=True)
class Diagnosis:
    """The sentence, and what to know beside it."""

    level: Level
    sentence: str
    more: str = ""
    """What it means, or what to do."""


def diagnose(look: Look, zone: tzinfo = UTC) -> Diagnosis:
    """Return what matters most."""
    stats = look.sample.stats
    if stats is None:
        since = f" for {duration(look.error_seconds)}" if look.error_seconds >= 1 else ""
        return Diagnosis(Level.BAD, f"Redis has not answered{since}.", f"{look.sample.error}. Nothing is lost.")
    return next(chain(_stopped(look, stats, zone), _working(look, stats)))


def _stopped(look: Look, stats: Stats, zone: tzinfo) -> Iterator[Diagnosis]:
    """Yield what keeps files from being deleted at all."""
    open_ids = _ready(stats) + stats["in_flight"]
    if stats["pause"] and stats["pause"]["by"] == "operator":
        yield _paused(stats["pause"], stats, zone)
    if not stats["workers"]:
        waits = f", and {counted(stats['waiting'], 'file')} wait" if stats["waiting"] else ""
        yield Diagnosis(Level.BAD, f"No worker is running{waits}.", "Start one: celery -A worker.app worker")
    if stats["pause"]:
        yield _by_the_api(stats["pause"], stats, zone)
    if (full := _full(look.sample.memory)) >= NEARLY_FULL:
        told = f"Redis is {full:.0%} full: soon it refuses new requests."
        yield Diagnosis(
            Level.BAD, told, "What is accepted is still deleted. Give it more memory, or keep results shorter."
        )
    if look.still_seconds >= STILL_SECONDS and open_ids and stats["due_retries"] < open_ids:
        told = f"{counted(open_ids, 'file')} wait, but none has been deleted for {duration(look.still_seconds)}."
        yield Diagnosis(Level.WAIT, told, "Workers are alive and nothing is paused. Look at their logs.")


def _working(look: Look, stats: Stats) -> Iterator[Diagnosis]:
    """Yield what goes on when nothing is wrong."""
    ready = _ready(stats)
    if ready + stats["in_flight"]:
        yield _deleting(look, stats)
    if stats["unapproved"]:
        told = f"{_of_requests(stats['unapproved'])} for approval; nothing else waits."
        yield Diagnosis(Level.WAIT, told, "A guard stopped them; nothing of them is deleted before that.")
    if stats["held"]:
        told = f"Idle: all {counted(stats['held'], 'waiting file')} are inside their undo window."
        yield Diagnosis(Level.IDLE, told)
    if stats["unaccepted"]:
        yield Diagnosis(Level.GOOD, f"{counted(stats['unaccepted'], 'message')} are being accepted.")
    yield Diagnosis(Level.IDLE, "All is well: nothing waits.", "New requests start at once.")


def _full(memory: Memory | None) -> float:
    return memory.used / memory.most if memory and memory.most else 0.0


def _ready(stats: Stats) -> int:
    return stats["waiting"] - stats["held"]


def _of_requests(count: int) -> str:
    return f"{counted(count, 'request')} {'waits' if count == 1 else 'wait'}"


def _deleting(look: Look, stats: Stats) -> Diagnosis:
    speed = f"Deleting {number(look.rate)} files a second" if look.rate else "Deleting files"
    if stats["due_retries"] and stats["due_retries"] >= _ready(stats) + stats["in_flight"]:
        waiting = counted(stats["due_retries"], "file")
        return Diagnosis(Level.WAIT, f"{waiting} failed and will be retried by themselves.", "Nothing else waits.")
    if full := full_windows(stats):
        limit = ", ".join(map(window_text, full))
        return Diagnosis(Level.GOOD, f"{speed}, as fast as the limit allows.", f"The limit is {limit}.")
    return Diagnosis(Level.GOOD, f"{speed}. No limit is reached.")


def _paused(pause: PauseStats, stats: Stats, zone: tzinfo) -> Diagnosis:
    by = f" by {pause['who']}" if pause["who"] else ""
    since = f" since {_since(pause, stats, zone)}" if pause["since"] else ""
    reason = f": “{pause['reason']}”" if pause["reason"] != "paused by an operator" else ""
    waits = f"{counted(stats['waiting'], 'file')} wait. " if stats["waiting"] else ""
    return Diagnosis(Level.BAD, f"Paused{by}{since}{reason}.", f"{waits}Requests are still accepted.")


def _by_the_api(pause: PauseStats, stats: Stats, zone: tzinfo) -> Diagnosis:
    until = f"{clock(pause['until'], zone)}, in {_left(pause, stats)}" if pause["until"] else "unknown"
    why = f"{pause['reason']}. " if pause["reason"] else ""
    since = f" since {_since(pause, stats, zone)}" if pause["since"] else ""
    kinds: dict[str, Callable[[], Diagnosis]] = {
        "throttled": lambda: Diagnosis(Level.WAIT, f"ImageKit throttles us until {until}.", f"{why}It ends by itself."),
        "key_refused": lambda: Diagnosis(
            Level.BAD,
            f"ImageKit refuses the private key{since}.",
            f"{why}No file fails because of it. Next try: {until}. Set a valid IMAGEKIT_PRIVATE_KEY.",
        ),
    }
    outage = Diagnosis(
        Level.BAD, f"ImageKit is failing{since}.", f"{why}No file fails because of it. Next try: {until}."
    )
    return kinds.get(pause["by"], lambda: outage)()


def _since(pause: PauseStats, stats: Stats, zone: tzinfo) -> str:
    ago = seconds_between(pause["since"] or stats["now"], stats["now"])
    return f"{clock(pause['since'], zone)} ({duration(ago)})"


def _left(pause: PauseStats, stats: Stats) -> str:
    return duration(seconds_between(stats["now"], pause["until"] or stats["now"]))


def windows_of(stats: Stats) -> list[WindowStats]:
    """Return the windows of the limit, each once: one that is set may be announced as well."""
    return list({(window["limit"], window["interval_ms"]): window for window in stats["windows"]}.values())


def full_windows(stats: Stats) -> list[WindowStats]:
    """Return the windows of the limit that are full, or nearly so."""
    return [window for window in windows_of(stats) if window["calls"] >= max(1, NEARLY * window["limit"])]


def window_text(window: WindowStats) -> str:
    """Return one window of the limit: 5 calls in 1 s."""
    return f"{counted(window['limit'], 'call')} in {duration(window['interval_ms'] / 1000)}"
