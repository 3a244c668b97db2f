"""The commands `cleanup …`: rules, what they would delete, runs, and decisions on what a guard holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.cleanup_rules import check, history, list_rules, run
from cli.common import DONE, INCOMPLETE, AsJson, CommandError, RequestId, add_command, checked_id, help_of
from cli.screen.output import clean, columns, counted, data, json_data, moment, number, words

if TYPE_CHECKING:
    from worker.queue.approvals import Approvals, Held

app = typer.Typer(help="Delete by rule, on schedule, under guards.", no_args_is_help=True)


def approve(request_id: RequestId) -> int:
    """Let a request go that a guard holds.

    It is recorded who decided, and when. What is left of its undo window still runs.

    Examples:
      kitsweep cleanup held
      kitsweep cleanup approve cleanup:old-drafts:20261123T020000Z
    """
    return _decided(request_id, _approvals().approve(checked_id(request_id)), "approved")


def reject(request_id: RequestId) -> int:
    """Cancel a request that a guard holds; none of its files is deleted.

    Examples:
      kitsweep cleanup reject cleanup:old-drafts:20261123T020000Z
    """
    return _decided(request_id, _approvals().reject(checked_id(request_id)), "rejected")


def held(
    request_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Write the file ids of this one.")] = None,
    as_json: AsJson = False,
) -> int:
    """Show the requests that wait for approval, of rules and of other sources; with an ID, all its file ids.

    Examples:
      kitsweep cleanup held
      kitsweep cleanup held cleanup:old-drafts:20261123T020000Z > ids.txt
    """
    approvals = _approvals()
    waiting = approvals.waiting()
    if request_id is not None:
        if request_id not in {each.request_id for each in waiting}:
            raise CommandError(f"request {clean(request_id)} does not wait for approval", INCOMPLETE)
        for file_id in approvals.file_ids(request_id):
            data(clean(file_id))
    elif as_json:
        json_data({"held": [each._asdict() for each in waiting]})
    else:
        _show_held(waiting)
    return DONE


def off(as_json: AsJson = False) -> int:
    """Stop all rules at once: nothing starts, and what runs stops at its next page.

    What was released already goes on: `kitsweep cancel ID` stops one request, `kitsweep pause` all calls.

    Examples:
      kitsweep cleanup off
    """
    return _switched(on=False, as_json=as_json)


def on(as_json: AsJson = False) -> int:
    """Let the rules go on after `off`; what was due meanwhile is not made up for.

    Examples:
      kitsweep cleanup on
    """
    return _switched(on=True, as_json=as_json)


for _command in (check, run, history, approve, reject, held, off, on):
    add_command(app, _command)
app.command(name="list", help=help_of(list_rules))(list_rules)


def _approvals() -> Approvals:
    from config.settings import load_settings  # noqa: PLC0415

    load_settings()
    from worker import account as engine  # noqa: PLC0415
    from worker.queue.approvals import Approvals  # noqa: PLC0415

    return Approvals(engine.queue())


def _decided(request_id: str, verdict: str, wanted: str) -> int:
    if verdict == wanted:
        from worker import account as engine  # noqa: PLC0415

        engine.publisher().publish([request_id])
        words(f"Request {request_id} is {wanted}.")
        return DONE
    why = {"unknown": "is unknown or has expired", "not_held": "does not wait for approval"}
    raise CommandError(f"request {request_id} {why.get(verdict, f'was {verdict} before')}", INCOMPLETE)


def _show_held(waiting: list[Held]) -> None:
    if not waiting:
        words("Nothing waits for approval.")
    rows = [[clean(each.request_id), number(each.total), moment(each.since), clean(each.why)] for each in waiting]
    if rows:
        for line in columns([["REQUEST", "FILES", "SINCE", "WHY"], *rows], numbers=frozenset({1})):
            data(line)
        words(f"{counted(len(waiting), 'request')}. Decide with `kitsweep cleanup approve|reject REQUEST`.")


def _switched(*, on: bool, as_json: bool) -> int:
    from config.settings import load_settings  # noqa: PLC0415

    load_settings()
    from worker import account as engine  # noqa: PLC0415
    from worker.identity import whoami  # noqa: PLC0415

    engine.cleaner().runs.switch(on=on, by=whoami())
    if as_json:
        json_data({"cleanup": "on" if on else "off"})
    else:
        words("Cleanup is on." if on else "Cleanup is off: no rule runs until `kitsweep cleanup on`.")
    return DONE
