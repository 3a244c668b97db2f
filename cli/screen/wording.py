"""Describes requests and pauses: counts, errors, and why a request waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.screen.output import columns, counted, moment, number
from worker.states import Outcome, State
from worker.text import escape

if TYPE_CHECKING:
    from worker.reports.report import Report
    from worker.reports.stats import PauseStats, Stats, WindowStats

OUTCOMES = tuple(outcome.value for outcome in Outcome)
PURGES = ("purged", "purge_pending", "purge_failed", "purge_skipped")
SHOWN_ERRORS = 10
_NEARLY = 0.8
"""Use of a window from which its limit counts as the reason for waiting. A window is seldom seen full."""
_STATES = {
    State.OPEN: "OPEN, its file ids are still arriving",
    State.SUCCESS: "SUCCESS, all files are gone",
    State.FAILURE: "FAILURE, some files could not be deleted",
    State.REVOKED: "REVOKED, it was cancelled",
}


def plain(outcome: str) -> str:
    """Return an outcome's name for people."""
    return outcome.replace("_", " ")


def ended(report: Report) -> int:
    """Return how many files have their outcome."""
    return sum(_counts(report).values())


def outcomes(report: Report) -> str:
    """Return the counts by outcome: deleted 12, failed 1."""
    counts = {name: count for name, count in _counts(report).items() if count or name == "deleted"}
    return ", ".join(f"{plain(name)} {number(count)}" for name, count in counts.items())


def _counts(report: Report) -> dict[str, int]:
    return {name: report[name] for name in OUTCOMES}  # type: ignore[literal-required]


def report_lines(report: Report) -> list[str]:
    """Return the lines that describe a request, with its first errors."""
    counts = {"waiting": report["waiting"], "in_flight": report["in_flight"], **_counts(report)}
    rows = [
        ("request", escape(report["request_id"])),
        ("state", _STATES.get(State(report["state"]), report["state"])),
        ("source", escape(report["source"])),
        *([("reason", escape(report["reason"]))] if report["reason"] else []),
        ("enqueued", moment(report["enqueued_at"])),
        *([("finished", moment(report["finished_at"]))] if report["finished_at"] else []),
        ("files", number(report["total"])),
    ]
    rows += [(f"  {plain(name)}", number(count)) for name, count in counts.items() if count]
    rows += [(f"  {plain(name)}", number(int(str(count)))) for name in PURGES if (count := report.get(name))]
    return columns(rows) + error_lines(report)


def error_lines(report: Report) -> list[str]:
    """Return a request's first errors, and how to get the others."""
    shown = report["errors"][:SHOWN_ERRORS]
    lines = [f"  {escape(entry['file_id'])}: {escape(entry['error'])}" for entry in shown]
    more = report["failed"] - len(shown)
    if lines:
        lines.insert(0, "errors")
    if more > 0:
        lines.append(f"  and {number(more)} more: kitsweep report {report['request_id']} --outcome failed")
    return lines


def pause_line(pause: PauseStats, now: str) -> str:
    """Return why no calls are made, since when, and until when."""
    reason = f": {escape(pause['reason'])}" if pause["reason"] else ""
    since = f" since {moment(pause['since'])}" if pause["since"] else ""
    until = moment(pause["until"], now)
    match pause["by"]:
        case "operator":
            by = f" by {escape(pause['who'])}" if pause["who"] else ""
            return f"paused{by}{since} until `kitsweep resume`{reason}"
        case "throttled":
            return f"throttled by ImageKit until {until}{reason}"
        case "key_refused":
            return f"ImageKit refuses the private key{since}; next try {until}{reason}"
        case _:
            return f"ImageKit is failing{since}; next try {until}{reason}"


def window_text(window: WindowStats) -> str:
    """Return one window of the limit: 5 calls in 1s."""
    interval = window["interval_ms"] / 1000
    length = f"{interval:g}s" if interval < 60 or interval % 60 else f"{interval / 60:g}m"
    return f"{counted(window['limit'], 'call')} in {length}"


def why_waiting(report: Report, stats: Stats) -> str:
    """Return why a request waits; empty if it only waits for its turn."""
    if report["state"] == "OPEN":
        return "its file ids are still arriving"
    if stats["pause"]:
        return pause_line(stats["pause"], stats["now"])
    if not stats["workers"]:
        return "no worker is alive; start one: celery -A worker.app worker"
    return _own_wait(report, stats) or _limit(stats)


def _own_wait(report: Report, stats: Stats) -> str:
    source = stats["sources"].get(report["source"])
    waiting = report["waiting"]
    if source is None or waiting == 0:
        return ""
    if waiting == report["total"] and source["held"] >= waiting:
        until = "until its undo window ends or it is approved" if stats["unapproved"] else "until its undo window ends"
        return f"on hold {until}; undo it with `kitsweep cancel {report['request_id']}`"
    if source["due_retries"] >= waiting:
        return f"{counted(waiting, 'file id')} will be retried later"
    return ""


def _limit(stats: Stats) -> str:
    full = [window for window in stats["windows"] if window["calls"] >= max(1, _NEARLY * window["limit"])]
    return "limit of " + ", ".join(window_text(window) for window in full) if full else ""
