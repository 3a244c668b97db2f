"""Commands on one request: `status`, `watch`, `cancel`."""

from __future__ import annotations

import typer

from cli.common import (
    DONE,
    INCOMPLETE,
    AsJson,
    CommandError,
    RequestId,
    add_command,
    checked_id,
    interruptible,
    open_client,
    status_of,
)
from cli.screen.output import counted, data, json_data, words
from cli.screen.wording import report_lines
from worker.reports.report import Report


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (status, watch, cancel):
        add_command(app, command)


def status(request_id: RequestId, as_json: AsJson = False) -> int:
    """Show how a request stands.

    Exit status: 1 if files could not be deleted, if it was cancelled, or if the id is unknown or expired.

    Examples:
      kitsweep status 0b6f1c1e-8c5f-4a0e-9d0c-0f3f6a1c2b3d
      kitsweep status $ID --json | jq .state
    """
    report = open_client().status(checked_id(request_id))
    return _show(report, as_json=as_json)


def watch(request_id: RequestId, as_json: AsJson = False) -> int:
    """Follow a request until it is done, and show its report.

    Shows a progress bar on a terminal and a line now and then in a pipe: rate, time left, outcomes so far, and
    why it waits. Ctrl-C ends the watching and not the request.

    Examples:
      kitsweep watch $ID
      kitsweep watch $ID --json > report.json
    """
    from cli.screen.progress import follow  # noqa: PLC0415

    checked_id(request_id)
    with interruptible(f"the request goes on; `kitsweep cancel {request_id}` cancels what still waits"):
        report = follow(open_client(), request_id)
    return _show(report, as_json=as_json)


def cancel(request_id: RequestId, as_json: AsJson = False) -> int:
    """Cancel what still waits of a request.

    Files that are gone stay gone, and what is in a call at this moment runs to its end. Exit status: 1 if the
    request was done already.

    Examples:
      kitsweep cancel $ID
      kitsweep cancel $ID --json
    """
    from worker.errors import UnknownRequest  # noqa: PLC0415

    client = open_client()
    before = client.status(checked_id(request_id))
    try:
        report = client.cancel(request_id)
    except UnknownRequest:
        if before["state"] != "OPEN":
            raise
        words("Cancelled before all of its file ids were in; nothing of it was or will be deleted.")
        return DONE
    if report["state"] in {"SUCCESS", "FAILURE"}:
        if as_json:
            json_data(report)
        raise CommandError(f"request {request_id} was done already: nothing was left to cancel", INCOMPLETE)
    if as_json:
        json_data(report)
    else:
        in_flight = report["in_flight"]
        flying = f"; {counted(in_flight, 'file id')} in a call run to their end" if in_flight else ""
        words(f"Cancelled: {counted(report['cancelled'], 'file id')} will not be deleted{flying}.")
    return DONE


def _show(report: Report, *, as_json: bool) -> int:
    """Write a report, and return the exit status that it means."""
    if as_json:
        json_data(report)
    else:
        for line in report_lines(report):
            data(line)
    return status_of(report)
