"""The command `find`: every request that a file id is or was in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from cli.common import DONE, INCOMPLETE, CommandError, interruptible
from cli.options import AsJson
from cli.screen.output import moment, say, write, write_json
from tasks.search import Search, Trace
from worker.text import escape


def find(
    file_ids: Annotated[list[str], typer.Argument(metavar="FILE_ID…", help="ImageKit's ids of the files.")],
    as_json: AsJson = False,
) -> int:
    """Find the requests that a file id is or was in, and what became of it there.

    Searches the requests that are still kept, the newest first; with --json one JSON object per request. Exit status: 1
    if a file id is in none of them.

    Examples:
      kitsweep find 5f3c0e8a2b4d6e7f8a9b0c1d
      kitsweep find $A $B --json | jq -r .request_id
    """
    search, missing = Search(), False
    with interruptible("stopped before the end of the search"):
        for file_id in file_ids:
            found = False
            for trace in _traces(search, file_id):
                found = True
                if as_json:
                    write_json({"file_id": file_id, **asdict(trace)})
                else:
                    write(_line(file_id, trace))
            if not found:
                missing = True
                say(f"{escape(file_id)}: in no request that is still kept")
    return INCOMPLETE if missing else DONE


def _traces(search: Search, file_id: str) -> Iterator[Trace]:
    after = None
    while True:
        try:
            found = search.file(file_id, after)
        except ValueError as error:
            raise CommandError(f"{error}") from None
        yield from found.traces
        if (after := found.after) is None:
            return


def _line(file_id: str, trace: Trace) -> str:
    parts = [file_id, trace.state, moment(trace.at or trace.enqueued_at), trace.request_id, trace.source]
    return escape("  ".join(part for part in [*parts, trace.purge or "", trace.error] if part))
