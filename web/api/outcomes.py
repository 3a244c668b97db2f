"""The outcome of each file of a request, as NDJSON or CSV, in constant memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from web.api.callers import Owner, RequestId, visible
from web.context import AccountContext, context_of
from worker.reports.report import FileOutcome
from worker.states import Outcome

LINES_AT_ONCE = 1000
NDJSON, CSV = "application/x-ndjson", "text/csv"
_STREAMS = {
    NDJSON: {
        "schema": {"type": "string"},
        "example": '{"file_id": "a", "outcome": "deleted", "error": "", "attempts": 1, "at": "2026-11-24"}',
    },
    CSV: {
        "schema": {"type": "string"},
        "example": "file_id,outcome,error,attempts,at\r\na,deleted,,1,2026-11-24T12:00:00+00:00\r\n",
    },
}
router = APIRouter(tags=["requests"])


@router.get(
    "/requests/{request_id}/outcomes",
    response_class=StreamingResponse,
    responses={200: {"description": "One line per file.", "content": _STREAMS}},
)
async def read_outcomes(
    request: Request,
    caller: Owner,
    request_id: RequestId,
    form: Annotated[
        Literal["ndjson", "csv"] | None, Query(alias="format", description="Default: by Accept, else ndjson.")
    ] = None,
    outcome: Annotated[list[Outcome], Query(description="Only these; repeatable.")] = [],  # noqa: B006 - FastAPI copies it
    accept: Annotated[str, Header()] = "",
) -> StreamingResponse:
    """Stream how each file of a request ended: those that have an outcome by now, any number of them."""
    context = context_of(request)
    visible(await context.run(context.client.status, request_id), request_id, caller)
    entries = context.client.outcomes(request_id, outcome or tuple(Outcome))
    is_csv = form == "csv" if form else CSV in accept
    return streamed(context, entries, CSV if is_csv else NDJSON)


def streamed(context: AccountContext, entries: Iterator[FileOutcome], form: str) -> StreamingResponse:
    """Return the response that streams outcomes as NDJSON or CSV."""
    pieces = _csv_pieces(entries) if form == CSV else _json_pieces(entries)
    return StreamingResponse(_on_threads(context, pieces), media_type=form)


async def _on_threads(context: AccountContext, pieces: Iterator[str]) -> AsyncIterator[str]:
    while piece := await context.run(next, pieces, ""):
        yield piece


def _json_pieces(entries: Iterator[FileOutcome]) -> Iterator[str]:
    while some := list(islice(entries, LINES_AT_ONCE)):
        yield "".join(json.dumps(entry._asdict()) + "\n" for entry in some)


def _csv_pieces(entries: Iterator[FileOutcome]) -> Iterator[str]:
    yield ",".join(FileOutcome._fields) + "\r\n"
    while some := list(islice(entries, LINES_AT_ONCE)):
        text = io.StringIO(newline="")
        csv.writer(text).writerows(some)
        yield text.getvalue()
