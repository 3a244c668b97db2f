"""Says in one sentence why a request waits, and for how long still."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo

from tasks.search import History
from web.dashboard.diagnosis import full_windows, window_text
from web.dashboard.sampler import Look
from web.dashboard.words import clock, counted, duration, number, seconds_between
from worker.reports.report import Report
from worker.reports.stats import Stats
from worker.states import State


def why_waiting(report: Report, history: History, look: Look, zone: tzinfo) -> str:
    """Return why files of the request wait; empty if none does."""
    stats = look.sample.stats
    if stats is None:
        return f"{look.sample.error}."
    if State(report["state"]).is_final or not report["waiting"]:
        return ""
    return next(_reasons(report, history, stats, look, zone))


def _reasons(report: Report, history: History, stats: Stats, look: Look, zone: tzinfo) -> Iterator[str]:
    """Yield the reasons, the strongest first."""
    if report["state"] == State.OPEN:
        yield "Its file ids are still arriving; nothing is deleted before the last one is there."
    if history.guard and not history.decided_by:
        yield f"It waits for approval: {history.guard}."
    if (left := hold_seconds(history, stats["now"])) > 0:
        yield f"It is inside its undo window, and starts at {clock(history.hold_until, zone)}, in {duration(left)}."
    if pause := stats["pause"]:
        yield _paused(pause["by"], pause["who"], pause["until"], stats["now"], zone)
    if not stats["workers"]:
        yield "No worker is running. Start one: celery -A worker.app worker"
    if history.retrying and history.retrying >= report["waiting"]:
        due = duration(seconds_between(stats["now"], history.next_retry_at or stats["now"]))
        yield f"{counted(history.retrying, 'file')} failed and will be tried again, the next in {due}."
    yield _its_turn(report, stats, look)


def _paused(by: str, who: str | None, until: str | None, now: str, zone: tzinfo) -> str:
    when = f"{clock(until, zone)}, in {duration(seconds_between(now, until))}" if until else ""
    match by:
        case "operator":
            return f"All calls are paused{f' by {who}' if who else ''}; it goes on when an operator resumes."
        case "throttled":
            return f"ImageKit throttles us until {when}."
        case "key_refused":
            return f"ImageKit refuses the private key. Next try: {when}."
        case _:
            return f"ImageKit is failing. Next try: {when}."


def _its_turn(report: Report, stats: Stats, look: Look) -> str:
    """Say how much is to be deleted until the request is done, at the latest, and how long that takes."""
    ready = {name: max(0, of["waiting"] - of["held"]) + of["in_flight"] for name, of in stats["sources"].items()}
    own, active = ready.get(report["source"], 0), sum(1 for count in ready.values() if count)
    ahead = max(0, own - report["waiting"] - report["in_flight"])
    limit = "; the limit is reached: " + ", ".join(map(window_text, full_windows(stats))) if full_windows(stats) else ""
    before = f" behind up to {counted(ahead, 'file')} of its source" if ahead else ""
    shared = f", which takes turns with {counted(active - 1, 'other source')}" if active > 1 else ""
    eta = ""
    if look.rate and active:
        eta = f" Done in about {duration(own * active / look.rate)} at {number(look.rate)} files a second."
    return f"It takes its turn{before}{shared}{limit}.{eta}"


def hold_seconds(history: History, now: str) -> float:
    """Return for how long the request can still be undone; 0 or less if it cannot."""
    return seconds_between(now, history.hold_until) if history.hold_until else 0.0
