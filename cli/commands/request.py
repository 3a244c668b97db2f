"""Commands on one request: `status`, `watch`, `cancel`."""

from cli.common import DONE, INCOMPLETE, CommandError, interruptible, status_of
from cli.options import AsJson, RequestId
from cli.screen.output import counted, say, write, write_json
from cli.screen.wording import report_lines
from tasks.client import Client
from worker.errors import UnknownRequest
from worker.reports.report import Report
from worker.states import State


def status(request_id: RequestId, as_json: AsJson = False) -> int:
    """Show the state of a request.

    Exit status: 1 if files could not be deleted, if it was cancelled, or if the id is unknown or has expired.

    Examples:
      kitsweep status 0b6f1c1e-8c5f-4a0e-9d0c-0f3f6a1c2b3d
      kitsweep status $ID --json | jq .state
    """
    return _show(Client().status(request_id), as_json=as_json)


def cancel(request_id: RequestId, as_json: AsJson = False) -> int:
    """Cancel the waiting files of a request.

    Deleted files stay deleted, and calls in flight are finished. Exit status: 1 if the request was already done.

    Examples:
      kitsweep cancel $ID
      kitsweep cancel $ID --json
    """
    client = Client()
    before = client.status(request_id)
    try:
        report = client.cancel(request_id)
    except UnknownRequest:
        if before["state"] != State.OPEN:
            raise
        say("Cancelled before all of its file ids had arrived; none of its files was or will be deleted.")
        return DONE
    if as_json:
        write_json(report)
    if report["state"] in {State.SUCCESS, State.FAILURE}:
        raise CommandError(f"request {request_id} was already done: there was nothing left to cancel", INCOMPLETE)
    if not as_json:
        in_flight = report["in_flight"]
        rest = f"; {counted(in_flight, 'file id')} in a call that is being finished" if in_flight else ""
        say(f"Cancelled: {counted(report['cancelled'], 'file id')} will not be deleted{rest}.")
    return DONE


def watch(request_id: RequestId, as_json: AsJson = False) -> int:
    """Follow a request until it is done, and show its report.

    Shows a progress bar on a terminal, or a line every few seconds elsewhere: rate, time left, outcomes so far, and
    why it waits. Ctrl-C stops watching; the request continues.

    Examples:
      kitsweep watch $ID
      kitsweep watch $ID --json > report.json
    """
    from cli.screen.progress import follow  # noqa: PLC0415 - loads Rich, which only this command needs

    with interruptible(f"the request continues; cancel it: kitsweep cancel {request_id}"):
        report = follow(Client(), request_id)
    return _show(report, as_json=as_json)


def _show(report: Report, *, as_json: bool) -> int:
    if as_json:
        write_json(report)
    else:
        write(*report_lines(report))
    return status_of(report)
