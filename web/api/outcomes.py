"""The outcome of each file of a request, as NDJSON or CSV, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from web.api.callers import Owner, RequestId, visible
from web.api.streams import Accept, Format, described, form_of, streamed
from web.context import AccountContext, context_of
from worker.reports.report import FileOutcome
from worker.states import Outcome

_EXAMPLE = FileOutcome("a", Outcome.DELETED, error="", attempts=1, at="2026-11-24T12:00:00.000+00:00")
router = APIRouter(tags=["requests"])


@router.get(
    "/requests/{request_id}/outcomes",
    response_class=StreamingResponse,
    responses={200: {"description": "One line per file.", "content": described(_EXAMPLE._asdict())}},
)
async def read_outcomes(
    request: Request,
    caller: Owner,
    request_id: RequestId,
    form: Format = None,
    outcome: Annotated[list[Outcome], Query(description="Only these; repeatable.")] = [],  # noqa: B006 - FastAPI copies it
    accept: Accept = "",
) -> StreamingResponse:
    """Stream how each file of a request ended: those that have an outcome by now, any number of them."""
    context = context_of(request)
    visible(await context.run(context.client.status, request_id), request_id, caller)
    entries = context.client.outcomes(request_id, outcome or tuple(Outcome))
    return streamed_outcomes(context, entries, form_of(form, accept))


def streamed_outcomes(context: AccountContext, entries: Iterator[FileOutcome], form: str) -> StreamingResponse:
    """Return the response that streams outcomes as NDJSON or CSV."""
    return streamed(context, FileOutcome._fields, (entry._asdict() for entry in entries), form)
