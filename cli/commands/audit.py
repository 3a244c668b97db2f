"""The command `audit`."""

from datetime import datetime, timedelta
from typing import Annotated

import typer

from cli.common import CommandError, interruptible
from cli.options import AsJson
from cli.screen.output import moment, number, write, write_json
from tasks.admin import Admin, Entry
from worker.text import escape
from worker.times import parse_duration


def audit(
    since: Annotated[str, typer.Option("--since", help="An age such as 7d or 12h, or an ISO date.")] = "7d",
    as_json: AsJson = False,
) -> None:
    """Show the audit trail: who requested and decided what, and the result.

    One line per entry, oldest first; with --json one JSON object per line.

    Examples:
      kitsweep audit --since 24h
      kitsweep audit --since 2026-11-01 --json > november.jsonl
    """
    start = _start(since)
    with interruptible("stopped before the end of the trail"):
        for entry in Admin().audit(start):
            if as_json:
                write_json(entry)
            else:
                write(_line(entry))


def _start(text: str) -> datetime | timedelta:
    try:
        return timedelta(seconds=parse_duration(text))
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise CommandError("--since: write an age such as 7d or 12h, or a date such as 2026-11-01") from None


def _line(entry: Entry) -> str:
    detail = ", ".join(f"{name} {value}" for name, value in sorted(entry["detail"].items()))
    parts = [moment(entry["at"]), entry["event"], entry["request"], entry["source"], f"by {entry['by'] or '-'}"]
    parts += [entry["state"], f"{number(entry['total'])} files", detail]
    return escape("  ".join(part for part in parts if part))
