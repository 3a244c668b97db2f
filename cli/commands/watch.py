"""The command `watch`: follow a request until it is done."""

from __future__ import annotations

from cli.commands.request import show
from cli.common import interruptible
from cli.options import AsJson, RequestId
from cli.screen.progress import follow
from tasks.client import Client


def watch(request_id: RequestId, as_json: AsJson = False) -> int:
    """Follow a request until it is done, and show its report.

    Shows a progress bar on a terminal, or a line every few seconds elsewhere: rate, time left, outcomes so far, and
    why it waits. Ctrl-C stops watching; the request continues.

    Examples:
      kitsweep watch $ID
      kitsweep watch $ID --json > report.json
    """
    with interruptible(f"the request continues; cancel it: kitsweep cancel {request_id}"):
        report = follow(Client(), request_id)
    return show(report, as_json=as_json)
