"""The command `delete`: enqueue file ids."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import chain, islice
from typing import Annotated

import typer

from cli.common import DONE, INCOMPLETE, CommandError, interruptible, status_of
from cli.input import InputFile, opened
from cli.options import AsJson
from cli.screen.output import counted, duration, is_terminal, number, say, write, write_json
from cli.screen.wording import error_lines, outcomes
from config.settings import Settings
from tasks.accounts import settings_of
from tasks.client import Asked, Client, Urls, checked_request, new_request_id
from tasks.id_files import Form
from worker.errors import InvalidRequest, NotDurable, RedisUnreachable, UnknownRequest
from worker.reports.report import Report
from worker.states import State
from worker.text import escape, quote
from worker.times import parse_duration

ASK_ABOVE = 1000
"""Above this number of file ids, a user at a terminal is asked."""
_OPTIONS = {"task id": "--request-id", "hold_seconds": "--hold", "result_ttl_seconds": "--result-ttl"}
"""Options that do not have the name of their argument."""
_NOTHING = "Nothing was enqueued."


def delete(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file of file ids; - is standard input.")],
    *,
    source: Annotated[
        str, typer.Option("--source", "-s", help="Service that requests it; sources get equal shares of the calls.")
    ] = "default",
    reason: Annotated[
        str | None, typer.Option("--reason", help="Reason, shown in reports and in the audit trail.")
    ] = None,
    hold: Annotated[
        str, typer.Option("--hold", metavar="TIME", help="Undo window before anything is deleted: 90s, 1.5h, 2d.")
    ] = "0s",
    result_ttl: Annotated[
        str | None,
        typer.Option("--result-ttl", metavar="TIME", help="How long the result is kept: 12h, 30d; default: settings."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Follow the request until it is done.")] = False,
    as_json: AsJson = False,
    form: Annotated[Form | None, typer.Option("--form", help="Format of the input; default: detected.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before more than 1000 files.")] = False,
    request_id: Annotated[
        str | None,
        typer.Option("--request-id", metavar="ID", help="Choose the id; sending the same id again changes nothing."),
    ] = None,
    callback: Annotated[
        str | None, typer.Option("--callback", metavar="URL", help="Where to send a webhook when the request is final.")
    ] = None,
    purge: Annotated[
        str | None,
        typer.Option(
            "--purge", metavar="[=folder|wait]", help="Purge cached copies: of the files, =folder of whole folders."
        ),
    ] = None,
    durable: Annotated[
        bool, typer.Option("--durable", help="Return only once Redis has written the request to disk.")
    ] = False,
) -> int:
    """Enqueue file ids for deletion, and print the request id.

    Reads one id per line, CSV with a column fileId, or JSON or JSONL of ids or of the list API's objects, as a stream
    of any length. Skips blank lines and # comments, and counts duplicates once. All or nothing: a mistake in the
    input enqueues nothing. Asks before more than 1000 files at a terminal, and never in a pipe.

    With --purge, cached copies of the deleted files are purged from the CDN, by the URLs in the input (a field or
    column `url`) or as ImageKit lists them. =folder allows one purge for a folder, which covers files that stay; =wait
    ends the request with its last purge.

    Examples:
      kitsweep delete ids.txt
      kitsweep delete old.csv --source catalog --reason "season 2024" --wait
      kitsweep delete files.json --purge            then: kitsweep purges
      kitsweep delete ids.txt --hold 24h            time to change your mind: kitsweep cancel ID
      ID=$(some-query | kitsweep delete -) && kitsweep watch $ID
    """
    settings = settings_of()
    ttl = None if result_ttl is None else int(seconds_in(result_ttl, "--result-ttl"))
    asked = _asked(request_id, source, reason, seconds_in(hold, "--hold"), ttl, callback, purge)
    client = Client(settings)
    with interruptible(lambda: _state_after_interrupt(client, asked["request_id"])), opened(file, form) as ids:
        ids.urls = {} if asked["purge"] else None
        first, following = _begin(ids)
        # Fail before asking the user if Redis does not answer.
        known = _is_known(client, asked["request_id"])
        if len(first) > ASK_ABOVE and not yes and is_terminal(sys.stdin) and is_terminal(sys.stdout):
            # Ids typed on standard input would be taken for the answer.
            first += following if ids.is_typed else []
            _ask(first, settings, asked, is_all=ids.is_typed)
        report = _enqueue(client, chain(first, following), asked, ids.urls, durable=durable)
    _announce(report, ids.count, asked, known=known, as_json=as_json, wait=wait)
    return _follow(client, report, as_json=as_json) if wait else DONE


def seconds_in(text: str, option: str) -> float:
    """Return the seconds in a time such as 24h, 1.5h, 2d, or a number of seconds. Raises `CommandError`."""
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*([smhdw]?)", text.strip())
    if match is None:
        raise CommandError(f'{option}: must be a number with a unit s, m, h, d or w, such as "1.5h", not {quote(text)}')
    return float(match[1]) * parse_duration(f"1{match[2] or 's'}")


def _asked(
    request_id: str | None,
    source: str,
    reason: str | None,
    hold: float,
    result_ttl: int | None,
    callback: str | None,
    purge: str | None,
) -> Asked:
    """Check everything but the file ids, before the first of them is read. Raises `CommandError`."""
    try:
        new_id = new_request_id() if request_id is None else request_id
        return checked_request(new_id, source, reason, hold, result_ttl, callback, purge)
    except InvalidRequest as error:
        raise CommandError(f"{_OPTIONS.get(error.argument, f'--{error.argument}')}: {error.rule}. {_NOTHING}") from None


def _is_known(client: Client, request_id: str) -> bool:
    try:
        return client.status(request_id)["state"] != State.OPEN
    except UnknownRequest:
        return False


def _begin(ids: InputFile) -> tuple[list[str], Iterator[str]]:
    """Read enough ids to decide whether to ask; return them, and an iterator over the rest."""
    stream = iter(ids)
    first = list(islice(stream, ASK_ABOVE + 1))
    if not first:
        raise CommandError(f"{ids.name} holds no file ids. {_NOTHING}")
    return first, stream


def _ask(first: list[str], settings: Settings, asked: Asked, *, is_all: bool) -> None:
    """Ask whether to delete the files. Raises `CommandError` unless the answer is yes."""
    count = counted(len(first), "file") if is_all else f"More than {number(ASK_ABOVE)} files"
    say(f"{count} will be deleted, for good:")
    say(f"  {escape(first[0])}, {escape(first[1])}, …")
    say(f"  at {settings.base_url}, account {settings.account}")
    if asked["hold_seconds"]:
        say(f"  after an undo window of {duration(asked['hold_seconds'])}, in which you can cancel the request")
    sys.stderr.write("Delete them? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CommandError(_NOTHING, INCOMPLETE)


def _enqueue(client: Client, file_ids: Iterator[str], asked: Asked, urls: Urls | None, *, durable: bool) -> Report:
    """Enqueue, and return the first report. A `CommandError` names the request id if the request may exist."""
    request_id = asked["request_id"]
    try:
        client.enqueue(file_ids, **asked, durable=durable, urls=urls)
        return client.status(request_id)
    except RedisUnreachable as error:
        raise CommandError(f"{error} {_unsure(request_id)}") from None
    except NotDurable as error:
        raise CommandError(f"{error} Its id is {request_id}." if error.accepted else str(error)) from None


def _state_after_interrupt(client: Client, request_id: str) -> str:
    try:
        known = _is_known(client, request_id)
    except RedisUnreachable:
        return _unsure(request_id)
    return _continues(request_id) if known else _NOTHING


def _unsure(request_id: str) -> str:
    return (
        f"The request may have been accepted: check with `kitsweep status {request_id}`; with `--request-id "
        f"{request_id}` it is safe to send it again."
    )


def _continues(request_id: str) -> str:
    return f"the request continues; follow it: kitsweep watch {request_id}; cancel it: kitsweep cancel {request_id}"


def _announce(report: Report, read: int, asked: Asked, *, known: bool, as_json: bool, wait: bool) -> None:
    """Write only the request id to standard output, and explain it on standard error."""
    request_id = report["request_id"]
    if known:
        say(f"Request {request_id} was accepted before; nothing was changed.")
    else:
        twice = f" ({number(read - report['total'])} given twice)" if read > report["total"] else ""
        say(f"Accepted {counted(report['total'], 'file id')}{twice} as request")
    if as_json:
        if not wait:
            write_json(report)
        return
    write(request_id)
    if asked["hold_seconds"] and not known:
        say(f"On hold for {duration(asked['hold_seconds'])}; until then you can undo it: kitsweep cancel {request_id}")
    elif not wait and is_terminal(sys.stderr):
        say(f"Follow it: kitsweep watch {request_id}")


def _follow(client: Client, report: Report, *, as_json: bool) -> int:
    from cli.screen.progress import follow  # noqa: PLC0415 - loads Rich, which only --wait needs

    with interruptible(_continues(report["request_id"])):
        report = follow(client, report["request_id"])
    if as_json:
        write_json(report)
    say(f"{report['state']}: {counted(report['total'], 'file')}: {outcomes(report)}.")
    say(*error_lines(report))
    return status_of(report)
