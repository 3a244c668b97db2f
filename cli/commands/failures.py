"""The commands `failures` and `retry`: files that could not be deleted."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import DONE, INCOMPLETE, CommandError, interruptible
from cli.options import AsJson, checked
from cli.screen.output import columns, counted, is_terminal, moment, number, say, write, write_json
from cli.screen.progress import Bar
from tasks.client import check_request_id
from tasks.failures import Failure, FailureFilter, FailureGroup, Failures, Summary
from worker.text import escape
from worker.times import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterable

SHOWN_GROUPS = 10
"""Groups shown before the question of `retry`."""
Error = Annotated[str | None, typer.Option("--error", help="Only with this text in their error; case does not matter.")]
Source = Annotated[str | None, typer.Option("--source", "-s", help="Only of requests of this source.")]
Since = Annotated[
    str | None, typer.Option("--since", help="Only failed since then: an age such as 7d or 12h, or an ISO date.")
]
Until = Annotated[str | None, typer.Option("--until", help="Only failed before then: an age, or an ISO date.")]
_NOTHING = "Nothing was retried."


def failures(
    error: Error = None,
    source: Source = None,
    since: Since = None,
    until: Until = None,
    files: Annotated[bool, typer.Option("--files", help="Show each file instead of counts.")] = False,
    retried: Annotated[bool, typer.Option("--retried", help="Include files that were retried already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write each file as one JSON object, for programs.")] = False,
) -> None:
    """Show the files that could not be deleted, counted by error and source.

    They are those of requests that have ended. Files that were retried are left out.

    Examples:
      kitsweep failures
      kitsweep failures --error timeout --since 24h --files
      kitsweep failures --json | jq -r .file_id
    """
    wanted = _wanted(error, source, since, until, retried=retried)
    with interruptible("stopped before the end of the list"):
        if not files and not as_json:
            _show(_summary(Failures(), wanted))
            return
        for failure in Failures().files(wanted):
            if as_json:
                write_json(failure)
            else:
                write(_line(failure))


def retry(
    request_id: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="Only of this request.", callback=checked(check_request_id)),
    ] = None,
    *,
    file: Annotated[list[str] | None, typer.Option("--file", help="Only this file id; repeatable.")] = None,
    error: Error = None,
    source: Source = None,
    since: Since = None,
    until: Until = None,
    everything: Annotated[bool, typer.Option("--all", help="Retry all failed files.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> int:
    """Retry files that could not be deleted, after showing how many they are.

    Makes a new request for each request that they failed in, with its source and reason, and prints its id. A file is
    retried once: the same command again makes nothing new. Exit status: 1 if there is nothing to retry.

    Examples:
      kitsweep retry 0b6f1c1e-8c5f-4a0e-9d0c-0f3f6a1c2b3d
      kitsweep retry --error timeout --since 24h
      kitsweep retry --file 5f3c0e8a2b4d6e7f8a9b0c1d --yes
      kitsweep retry --all --source catalog --yes
    """
    selected = [request_id, file, error, source, since, until]
    if not any(selected) and not everything:
        raise CommandError("name a request, or files by --file, --error, --source, --since or --until; or give --all")
    wanted = _wanted(error, source, since, until, request_id=request_id, file_ids=file or ())
    failed = Failures()
    if request_id:
        failed.require_failed(request_id)
    summary = _summary(failed, wanted)
    if not summary.files:
        raise CommandError(f"no failed file matches that was not retried before. {_NOTHING}", INCOMPLETE)
    if not yes:
        _ask(summary)
    _retry(failed, wanted, summary.files, as_json=as_json)
    return DONE


def _wanted(
    error: str | None,
    source: str | None,
    since: str | None,
    until: str | None,
    *,
    request_id: str | None = None,
    file_ids: Iterable[str] = (),
    retried: bool = False,
) -> FailureFilter:
    times = _time(since, "--since"), _time(until, "--until")
    return FailureFilter(error, source, *times, request_id, frozenset(file_ids), retried)


def _time(text: str | None, option: str) -> datetime | None:
    """Return a time given as an age or a date. Raises `CommandError`."""
    if text is None:
        return None
    try:
        return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise CommandError(f"{option}: write an age such as 7d or 12h, or a date such as 2026-11-01") from None


def _summary(failed: Failures, wanted: FailureFilter) -> Summary:
    with Bar(shows_rate=False) as bar:
        return failed.summary(wanted, lambda so_far: bar.show(f"{counted(so_far.files, 'failed file')} so far", 0, 0))


def _show(summary: Summary) -> None:
    groups = summary.groups()
    if groups:
        heads = [("files", "source", "first", "last", "error")]
        write(*columns([*heads, *map(_row, groups)], numbers={0}))
    say(f"{counted(summary.files, 'failed file')} in all. Show each with --files; retry them with `kitsweep retry`.")


def _row(group: FailureGroup) -> tuple[str, ...]:
    first, last = moment(group["first_at"]), moment(group["last_at"])
    return number(group["files"]), escape(group["source"]), first, last, escape(group["error"])


def _ask(summary: Summary) -> None:
    """Show what would be retried, and ask. Raises `CommandError` unless the answer is yes."""
    groups = summary.groups()
    say(f"{counted(summary.files, 'file')} will be deleted, for good, if ImageKit does not refuse again:")
    say(*columns([_row(group) for group in groups[:SHOWN_GROUPS]], numbers={0}))
    if len(groups) > SHOWN_GROUPS:
        say(f"and {counted(len(groups) - SHOWN_GROUPS, 'more error')}")
    if not is_terminal(sys.stdin):
        raise CommandError(f"no terminal to confirm at; to retry them without confirmation, add --yes. {_NOTHING}")
    sys.stderr.write("Retry them? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CommandError(_NOTHING, INCOMPLETE)


def _retry(failed: Failures, wanted: FailureFilter, total: int, *, as_json: bool) -> None:
    files = requests = 0
    hint = "stopped; the requests printed so far continue, and the same command retries the rest"
    with interruptible(hint), Bar() as bar:
        for each in failed.retry_matching(wanted):
            files, requests = files + each.files, requests + 1
            if as_json:
                write_json(each._asdict())
            else:
                write(each.request_id)
            bar.show(f"{number(files)} of {number(total)}", files, total)
    say(f"Accepted {counted(files, 'file')} as {counted(requests, 'request')}.")


def _line(failure: Failure) -> str:
    again = f"retried by {failure['retried_by']}" if failure["retried_by"] else ""
    parts = [
        moment(failure["at"]),
        failure["file_id"],
        failure["source"],
        failure["request_id"],
        failure["error"],
        again,
    ]
    return escape("  ".join(part for part in parts if part))
