"""Commands on the whole account: `stats`, `pause`, `resume`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import AsJson, CommandError, add_command, open_client
from cli.screen.output import clean, columns, counted, data, json_data, number, words
from cli.screen.wording import OUTCOMES, pause_line, plain, window_text

if TYPE_CHECKING:
    from worker.reports.stats import Stats


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (stats, pause, resume):
        add_command(app, command)


def stats(as_json: AsJson = False) -> None:
    """Show what waits, what limits it, and who works.

    Examples:
      kitsweep stats
      kitsweep stats --json | jq .pause
    """
    figures = open_client().stats()
    if as_json:
        json_data(figures)
        return
    for line in stats_lines(figures):
        data(line)


def pause(
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for whoever looks at `stats`.")] = None,
    as_json: AsJson = False,
) -> None:
    """Stop all calls to ImageKit until `resume`.

    It takes hold on all workers within a second, and outlasts restarts. Requests are accepted meanwhile.

    Examples:
      kitsweep pause --reason "wrong files in today's list?"
    """
    from worker.queue.validation import check_reason  # noqa: PLC0415

    try:
        check_reason(reason)
    except ValueError as error:
        raise CommandError(f"--reason: {error}") from None
    client = open_client()
    client.pause(reason)
    if as_json:
        json_data({"pause": client.stats()["pause"]})
    else:
        words("Paused: no worker calls ImageKit until `kitsweep resume`.")


def resume(as_json: AsJson = False) -> None:
    """Let calls go out again after `pause`.

    After an outage or a refused key, it lets workers try at once.

    Examples:
      kitsweep resume
    """
    client = open_client()
    client.resume()
    figures = client.stats()
    if as_json:
        json_data({"pause": figures["pause"]})
    elif figures["pause"]:
        words(f"Resumed, but: {pause_line(figures['pause'], figures['now'])}.")
    else:
        words("Resumed: calls go out again.")


def stats_lines(figures: Stats) -> list[str]:
    """Describe the figures on some lines."""
    limits = [f"{window_text(window)}: {number(window['calls'])} used" for window in figures["windows"]]
    done = [f"{plain(name)} {number(figures['ended'][name])}" for name in OUTCOMES if figures["ended"].get(name)]
    workers = [clean(name) for name in figures["workers"]]
    rows = [
        ("workers", f"{len(workers)} alive: {', '.join(workers)}" if workers else "none is alive"),
        ("pause", pause_line(figures["pause"], figures["now"]) if figures["pause"] else "none"),
        ("limit", "; ".join(limits) or "none known"),
        ("ended", ", ".join(done) or "nothing yet"),
    ]
    if figures["unapproved"]:
        rows.append(("approval", f"{counted(figures['unapproved'], 'request')} held for it: kitsweep cleanup held"))
    if figures["unpublished"]:
        rows.append(("unpublished", f"{counted(figures['unpublished'], 'result')}, written within seconds"))
    return [*columns(rows), "", *columns(_source_rows(figures), numbers=frozenset({1, 2, 3, 4}))]


def _source_rows(figures: Stats) -> list[list[str]]:
    names = ("waiting", "in_flight", "due_retries", "held")
    rows = [["source", "waiting", "in flight", "to be retried", "held"]]
    for source, of in figures["sources"].items():
        rows.append([clean(source), *(number(of[name]) for name in names)])  # type: ignore[literal-required]
    rows.append(["all", *(number(figures[name]) for name in names)])  # type: ignore[literal-required]
    return rows
