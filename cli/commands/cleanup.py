"""The commands `cleanup held`, `approve`, `reject`, `off` and `on`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import AsJson, RequestId
from cli.screen.output import answer, counted, moment, number, say, write, write_json, write_table
from tasks.admin import Admin
from worker.text import escape


def held(
    request_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Show the file ids of this request.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the requests that wait for approval, or the file ids of one.

    They come from cleanup rules and from other sources with guards.

    Examples:
      kitsweep cleanup held
      kitsweep cleanup held cleanup:old-drafts:20261123T020000Z > ids.txt
    """
    admin = Admin()
    if request_id is not None:
        for file_id in admin.held_file_ids(request_id):
            write(escape(file_id))
        return
    waiting = admin.held()
    if as_json:
        write_json({"held": [each._asdict() for each in waiting]})
        return
    if not waiting:
        say("No request waits for approval.")
        return
    rows = [[escape(each.request_id), number(each.total), moment(each.since), escape(each.why)] for each in waiting]
    write_table([["REQUEST", "FILES", "SINCE", "WHY"], *rows], numbers={1})
    say(f"{counted(len(waiting), 'request')}. Decide with `kitsweep cleanup approve|reject REQUEST`.")


def approve(request_id: RequestId) -> None:
    """Approve a request that waits for approval.

    The audit trail records who approved it, and when. The rest of its undo window still applies.

    Examples:
      kitsweep cleanup held
      kitsweep cleanup approve cleanup:old-drafts:20261123T020000Z
    """
    Admin().approve(request_id)
    say(f"Request {request_id} is approved.")


def reject(request_id: RequestId) -> None:
    """Reject a request that waits for approval; none of its files is deleted.

    Examples:
      kitsweep cleanup reject cleanup:old-drafts:20261123T020000Z
    """
    Admin().reject(request_id)
    say(f"Request {request_id} is rejected.")


def off(as_json: AsJson = False) -> None:
    """Switch all rules off: none starts, and active runs stop at their next page.

    Requests that were enqueued continue: `kitsweep cancel ID` cancels one of them, `kitsweep pause` pauses all calls.

    Examples:
      kitsweep cleanup off
    """
    Admin().switch_cleanup(on=False)
    answer({"cleanup": "off"}, "Cleanup is off: no rule runs until `kitsweep cleanup on`.", as_json=as_json)


def on(as_json: AsJson = False) -> None:
    """Switch the rules on again; runs missed meanwhile are skipped.

    Examples:
      kitsweep cleanup on
    """
    Admin().switch_cleanup(on=True)
    answer({"cleanup": "on"}, "Cleanup is on.", as_json=as_json)
