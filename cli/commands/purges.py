"""The command `purges`: the quota, and what became of purges."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import AsJson
from cli.screen.output import counted, moment, number, say, write, write_json
from tasks.purges import PurgeAdmin, PurgeEntry, PurgeOverview
from worker.text import escape


def purges(
    failed: Annotated[bool, typer.Option("--failed", help="Only purges that failed or were skipped.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show purges of cached copies, and the quota of the month.

    One line for each purge: those under way, then those that have ended, the newest first, up to 1000 of each. Purges
    that have ended are kept as long as results.

    Examples:
      kitsweep purges
      kitsweep purges --failed
      kitsweep purges --json | jq '.quota - .used'
    """
    found = PurgeAdmin().overview()
    if failed:
        found["purges"] = [each for each in found["purges"] if each["state"] in {"purge_failed", "purge_skipped"}]
    if as_json:
        write_json(found)
        return
    say(*summary(found))
    for entry in found["purges"]:
        write(_line(entry))


def summary(found: PurgeOverview) -> list[str]:
    """Return the lines about quota and waiting files."""
    lines = [f"{number(found['used'])} of {number(found['quota'])} purge calls of {found['month']} are used."]
    if found["waiting"]:
        beyond = "wait for the next month" if found["used"] >= found["quota"] else "wait to be planned"
        lines.append(f"{counted(found['waiting'], 'file')} {beyond}.")
    if found["lookups"]:
        lines.append(f"{counted(found['lookups'], 'request')} waiting until the URLs of the files are looked up.")
    return lines


def _line(entry: PurgeEntry) -> str:
    due = f"next {moment(entry['next_at'])}" if entry["next_at"] else ""
    ended = f"ended {moment(entry['ended_at'])}" if entry["ended_at"] else ""
    parts = [entry["state"], entry["url"], counted(entry["files"], "file"), due, ended, entry["error"]]
    return escape("  ".join(part for part in parts if part))
