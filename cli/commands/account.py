"""Commands on the whole account: `stats`, `pause`, `resume`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import AsJson, checked
from cli.screen.output import answer, counted, number, write, write_json, write_table
from cli.screen.wording import OUTCOMES, pause_line, plain, window_text
from tasks.admin import Admin
from tasks.client import Client, check_reason
from worker.text import escape

if TYPE_CHECKING:
    from worker.reports.stats import Stats


def stats(as_json: AsJson = False) -> None:
    """Show what waits, what limits it, and which workers are alive.

    Examples:
      kitsweep stats
      kitsweep stats --json | jq .pause
    """
    figures = Client().stats()
    if as_json:
        write_json(figures)
        return
    write_table(_figures(figures))
    write("")
    write_table(_source_rows(figures), numbers={1, 2, 3, 4})


def pause(
    reason: Annotated[
        str | None, typer.Option("--reason", help="Why; `stats` shows it.", callback=checked(check_reason))
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Pause all calls to ImageKit until `resume`.

    Takes effect on all workers within a second, and survives restarts. Requests are still accepted.

    Examples:
      kitsweep pause --reason "wrong files in today's list?"
    """
    Admin().pause(reason)
    told = "Paused: no worker calls ImageKit until `kitsweep resume`."
    answer({"pause": Client().stats()["pause"]}, told, as_json=as_json)


def resume(as_json: AsJson = False) -> None:
    """Resume calls to ImageKit after `pause`.

    During an outage or with a refused key, workers send the next probe at once.

    Examples:
      kitsweep resume
    """
    Admin().resume()
    figures = Client().stats()
    told = "Resumed: workers call ImageKit again."
    if figures["pause"]:
        told = f"Resumed, but: {pause_line(figures['pause'], figures['now'])}."
    answer({"pause": figures["pause"]}, told, as_json=as_json)


def _figures(figures: Stats) -> list[tuple[str, str]]:
    limits = [f"{window_text(window)}: {number(window['calls'])} used" for window in figures["windows"]]
    done = [f"{plain(name)} {number(figures['ended'][name])}" for name in OUTCOMES if figures["ended"].get(name)]
    workers = [escape(name) for name in figures["workers"]]
    rows = [
        ("workers", f"{len(workers)} alive: {', '.join(workers)}" if workers else "none is alive"),
        ("pause", pause_line(figures["pause"], figures["now"]) if figures["pause"] else "none"),
        ("limit", "; ".join(limits) or "none known"),
        ("ended", ", ".join(done) or "nothing yet"),
    ]
    if figures["unaccepted"]:
        rows.append(("unaccepted", f"{counted(figures['unaccepted'], 'message')} sent by task name"))
    if figures["unapproved"]:
        rows.append(("approval", f"{counted(figures['unapproved'], 'request')} waiting for it: kitsweep cleanup held"))
    if figures["unpublished"]:
        rows.append(("unpublished", f"{counted(figures['unpublished'], 'result')}, written within seconds"))
    if figures["webhooks_waiting"] or figures["webhooks_failed"]:
        told = f"{number(figures['webhooks_waiting'])} waiting, {number(figures['webhooks_failed'])} failed"
        rows.append(("webhooks", f"{told}: kitsweep webhooks list"))
    purges = figures["purges"]
    if purges["calls"] or purges["waiting"]:
        told = f"{number(purges['calls'])} of {number(purges['quota'])} calls this month"
        rows.append(("purges", f"{told}, {counted(purges['waiting'], 'file')} waiting: kitsweep purges"))
    return rows


def _source_rows(figures: Stats) -> list[list[str]]:
    names = ("waiting", "in_flight", "due_retries", "held")
    rows = [["source", "waiting", "in flight", "to be retried", "on hold"]]
    for source, of in figures["sources"].items():
        rows.append([escape(source), *(number(of[name]) for name in names)])  # type: ignore[literal-required]
    rows.append(["all", *(number(figures[name]) for name in names)])  # type: ignore[literal-required]
    return rows
