"""The command `delete`: hand over file ids."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import DONE, INCOMPLETE, AsJson, CommandError, add_command, interruptible, open_client, status_of
from cli.input import Source, opened
from cli.screen.output import clean, counted, data, duration, is_terminal, json_data, number, words
from cli.screen.wording import error_lines, outcomes
from tasks.id_files import Form
from worker.text import quote

if TYPE_CHECKING:
    from config.settings import Settings
    from tasks.client import Client
    from worker.queue.validation import Asked
    from worker.reports.report import Report

ASK_ABOVE = 1000
"""File ids above which a person at a terminal is asked."""
_HOLD = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", re.ASCII)
_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_OPTIONS = {"task id": "--request-id", "source": "--source", "reason": "--reason", "hold_seconds": "--hold"}
_NOTHING = "Nothing was enqueued."


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    add_command(app, delete)


def hold_seconds(text: str) -> float:
    """Read a time such as 24h, 90s, 2d, or a number of seconds. Raises `CommandError`."""
    found = _HOLD.fullmatch(text.strip())
    if not found:
        rule = "write a time such as 90s, 15m, 24h or 2d, or a number of seconds"
        raise CommandError(f"--hold: {rule}, not {quote(text)}")
    return float(found[1]) * _UNIT_SECONDS[found[2]]


def delete(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file of file ids; - is standard input.")],
    *,
    source: Annotated[
        str, typer.Option("--source", "-s", help="Service that asks; sources share the calls fairly.")
    ] = "default",
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for the record.")] = None,
    hold: Annotated[
        str, typer.Option("--hold", metavar="TIME", help="Wait before anything is deleted: 90s, 24h, 2d.")
    ] = "0s",
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Follow the request until it is done.")] = False,
    as_json: AsJson = False,
    form: Annotated[Form | None, typer.Option("--form", help="Form of the input; default: recognised.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before more than 1000 files.")] = False,
    request_id: Annotated[
        str | None,
        typer.Option("--request-id", metavar="ID", help="Choose the id; the same one twice changes nothing."),
    ] = None,
    durable: Annotated[
        bool, typer.Option("--durable", help="Return only once Redis has the request on its disk.")
    ] = False,
) -> int:
    """Delete files: hand over their ids, and print the request id.

    Reads one id a line, CSV with a column fileId, or JSON or JSONL of ids or of the list API's objects, as a stream
    of any length. Blank lines and # comments are skipped; an id given twice counts once. It is all or nothing: on
    bad input nothing is enqueued. At a terminal it asks before more than 1000 files; in a pipe it never asks.

    Examples:
      kitsweep delete ids.txt
      kitsweep delete old.csv --source catalog --reason "season 2024" --wait
      kitsweep delete ids.txt --hold 24h            time to think again: kitsweep cancel ID
      ID=$(some-query | kitsweep delete -) && kitsweep watch $ID
    """
    from config.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    asked = _asked(request_id, source, reason, hold_seconds(hold))
    client = open_client(settings)
    with interruptible(lambda: _standing(client, asked["request_id"])), opened(file, form) as ids:
        first, following = _begun(ids)
        # Asked of Redis before the person is: without an answer there is no use in a question.
        known = _is_known(client, asked["request_id"])
        first += _agreed(first, following, ids, settings, asked) if _must_ask(first, yes=yes) else []
        report = _accepted(client, chain(first, following), asked, durable=durable)
    _announce(report, ids.count, asked, known=known, as_json=as_json, wait=wait)
    return _followed(client, report, as_json=as_json) if wait else DONE


def _asked(request_id: str | None, source: str, reason: str | None, hold: float) -> Asked:
    """Check everything but the file ids, before the first of them is read. Raises `CommandError`."""
    from tasks.client import new_request_id  # noqa: PLC0415
    from worker.errors import InvalidRequest  # noqa: PLC0415
    from worker.queue.validation import checked_request  # noqa: PLC0415

    try:
        return checked_request(new_request_id() if request_id is None else request_id, source, reason, hold)
    except InvalidRequest as error:
        raise CommandError(f"{_OPTIONS[error.argument]}: {error.rule}. {_NOTHING}") from None


def _is_known(client: Client, request_id: str) -> bool:
    from worker.errors import UnknownRequest  # noqa: PLC0415

    try:
        return client.status(request_id)["state"] != "OPEN"
    except UnknownRequest:
        return False


def _begun(ids: Source) -> tuple[list[str], Iterator[str]]:
    """Read as many ids as decide whether to ask; return them, and those that follow."""
    stream = iter(ids)
    first = list(islice(stream, ASK_ABOVE + 1))
    if not first:
        raise CommandError(f"{ids.name} holds no file ids. {_NOTHING}")
    return first, stream


def _must_ask(first: list[str], *, yes: bool) -> bool:
    return len(first) > ASK_ABOVE and not yes and is_terminal(sys.stdin) and is_terminal(sys.stdout)


def _agreed(first: list[str], following: Iterator[str], ids: Source, settings: Settings, asked: Asked) -> list[str]:
    """Let a person agree, and return further ids that had to be read for that. Raises `CommandError`."""
    # Ids that are still to be typed would answer the question.
    typed = list(following) if ids.is_typed else []
    _ask([*first, *typed], settings, asked, is_all=ids.is_typed)
    return typed


def _ask(first: list[str], settings: Settings, asked: Asked, *, is_all: bool) -> None:
    count = counted(len(first), "file") if is_all else f"More than {number(ASK_ABOVE)} files"
    words(f"{count} are to be deleted, for good:")
    words(f"  {clean(first[0])}, {clean(first[1])}, …")
    words(f"  at {settings.base_url}, account {settings.account}")
    if asked["hold_seconds"]:
        words(f"  held for {duration(asked['hold_seconds'])}, in which the request can be cancelled")
    sys.stderr.write("Delete them? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CommandError(_NOTHING, INCOMPLETE)


def _accepted(client: Client, file_ids: Iterator[str], asked: Asked, *, durable: bool) -> Report:
    """Enqueue, and return the first report. Raises `CommandError` with the request id where there may be one."""
    from worker.errors import NotDurable, RedisUnreachable  # noqa: PLC0415

    request_id = asked["request_id"]
    try:
        client.enqueue(file_ids, **asked, durable=durable)
        return client.status(request_id)
    except RedisUnreachable as error:
        raise CommandError(f"{error} {_unsure(request_id)}") from None
    except NotDurable as error:
        raise CommandError(f"{error} Its id is {request_id}." if error.accepted else str(error)) from None


def _standing(client: Client, request_id: str) -> str:
    """Tell what an interruption has left."""
    from worker.errors import RedisUnreachable  # noqa: PLC0415

    try:
        known = _is_known(client, request_id)
    except RedisUnreachable:
        return _unsure(request_id)
    return _goes_on(request_id) if known else _NOTHING


def _unsure(request_id: str) -> str:
    return (
        f"The request may be there all the same: `kitsweep status {request_id}` tells, and `--request-id {request_id}` "
        "sends it again safely."
    )


def _goes_on(request_id: str) -> str:
    return f"the request goes on: kitsweep watch {request_id}, or kitsweep cancel {request_id} to cancel what waits"


def _announce(report: Report, read: int, asked: Asked, *, known: bool, as_json: bool, wait: bool) -> None:
    """Print the request id alone on standard output, and tell a person what to do with it."""
    request_id = report["request_id"]
    if known:
        words(f"Request {request_id} was accepted before; nothing was changed.")
    else:
        twice = f" ({number(read - report['total'])} given twice)" if read > report["total"] else ""
        words(f"Accepted {counted(report['total'], 'file id')}{twice} as request")
    if as_json and wait:
        return
    if as_json:
        json_data(report)
        return
    data(request_id)
    if asked["hold_seconds"] and not known:
        words(f"Held for {duration(asked['hold_seconds'])}; until then `kitsweep cancel {request_id}` takes it back.")
    elif not wait and is_terminal(sys.stderr):
        words(f"Follow it: kitsweep watch {request_id}")


def _followed(client: Client, report: Report, *, as_json: bool) -> int:
    from cli.screen.progress import follow  # noqa: PLC0415

    request_id = report["request_id"]
    with interruptible(_goes_on(request_id)):
        report = follow(client, request_id)
    if as_json:
        json_data(report)
    words(f"{report['state']}: {counted(report['total'], 'file')}: {outcomes(report)}.")
    for line in error_lines(report):
        words(line)
    return status_of(report)
