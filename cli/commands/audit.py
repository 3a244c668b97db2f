"""The command `audit`: who asked for which deletion, what was decided, and what came of it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import DONE, AsJson, CommandError, add_command, interruptible
from cli.screen.output import clean, data, json_data, moment, number

if TYPE_CHECKING:
    from worker.reports.audit import Entry


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    add_command(app, audit)


def audit(
    since: Annotated[str, typer.Option("--since", help="An age such as 7d or 12h, or an ISO date.")] = "7d",
    as_json: AsJson = False,
) -> int:
    """Show the audit trail, one line an entry, oldest first; with --json one JSON object a line.

    Examples:
      kitsweep audit --since 24h
      kitsweep audit --since 2026-11-01 --json > november.jsonl
    """
    from config.settings import load_settings  # noqa: PLC0415

    load_settings()
    from worker import account as engine  # noqa: PLC0415

    start = _since_ms(since, engine.queue().now_ms())
    with interruptible("the rest of the trail was not shown"):
        for entry in engine.audit().entries(start):
            if as_json:
                json_data(entry)
            else:
                data(_line(entry))
    return DONE


def _since_ms(text: str, now_ms: int) -> int:
    from worker.times import parse_duration  # noqa: PLC0415

    try:
        return now_ms - parse_duration(text) * 1000
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text)
        return int(when.astimezone().timestamp() * 1000)
    except (ValueError, OverflowError):
        raise CommandError("--since: write an age such as 7d or 12h, or a date such as 2026-11-01") from None


def _line(entry: Entry) -> str:
    detail = ", ".join(f"{name} {value}" for name, value in sorted(entry["detail"].items()))
    parts = [moment(entry["at"]), entry["event"], entry["request"], entry["source"], f"by {entry['by'] or '-'}"]
    parts += [entry["state"], f"{number(entry['total'])} files", detail]
    return clean("  ".join(part for part in parts if part))
