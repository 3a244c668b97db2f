"""Cleanup rules: what they are, what each would delete, and the switch that stops them all."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import StreamingResponse

from tasks.admin import Admin, Match, Summary
from tasks.tokens import Scope
from web.api.callers import Operator, Reader
from web.api.shapes import CleanupRules, CleanupSwitch
from web.api.streams import NDJSON
from web.context import context_of
from web.credentials import Caller
from web.permissions import require
from worker.errors import KitsweepError
from worker.times import iso

FILES_AT_ONCE = 100
_EXAMPLE = """\
{"file_id": "a", "path": "/old/a.jpg", "size": 1000, "created_at": "2026-01-01T00:00:00.000+00:00"}
{"files": 1, "bytes": 1000, "excluded": {}}
"""
_STREAM = {NDJSON: {"schema": {"type": "string"}, "example": _EXAMPLE}}
router = APIRouter(prefix="/cleanup", tags=["cleanup"])


@router.get("/rules")
async def list_rules(request: Request, _: Reader) -> CleanupRules:
    """List the cleanup rules, with their next and their last run."""
    context = context_of(request)
    rules = await context.run(context.admin.rules)
    return CleanupRules(off_by=await context.run(context.admin.off_by), rules=rules)


@router.post(
    "/rules/{name}/dry-run",
    response_class=StreamingResponse,
    responses={200: {"description": "One line per file, and a last one with the sums.", "content": _STREAM}},
)
async def dry_run(
    request: Request,
    name: Annotated[str, Path(description="The name of the rule.")],
    _: Annotated[Caller, Depends(require(Scope.READ, Scope.OPERATE))],
) -> StreamingResponse:
    """List the files that a rule would delete now. Deletes nothing; lists within the rate limit.

    The last line has the sums, or `error` if ImageKit refused meanwhile; an answer without one was cut off.
    """
    context = context_of(request)
    pieces = context.long_calls.each(_pieces(context.admin, name))
    return StreamingResponse(_resumed(await anext(pieces), pieces), media_type=NDJSON)


@router.post("/on")
async def switch_on(request: Request, caller: Operator) -> CleanupSwitch:
    """Let the cleanup rules run again."""
    return await _switch(request, caller, on=True)


@router.post("/off")
async def switch_off(request: Request, caller: Operator) -> CleanupSwitch:
    """Stop all cleanup rules, and their runs at the next page. What is enqueued already is not cancelled."""
    return await _switch(request, caller, on=False)


async def _switch(request: Request, caller: Caller, *, on: bool) -> CleanupSwitch:
    context = context_of(request)
    await context.run(context.admin.switch_cleanup, on=on, by=caller.name)
    return CleanupSwitch(on=on)


async def _resumed(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    """Yield the first piece, which was waited for so that an error before it has a status of its own, and the rest."""
    yield first
    async for piece in rest:
        yield piece


def _pieces(admin: Admin, name: str) -> Iterator[str]:
    summary = Summary()
    matches = admin.dry_run(name, summary)
    first = _lines(matches)
    try:
        yield first
        while piece := first and _lines(matches):
            yield piece
        last: dict[str, Any] = {"files": summary.files, "bytes": summary.bytes, "excluded": dict(summary.excluded)}
    except KitsweepError as error:
        last = {"error": str(error)}
    yield json.dumps(last) + "\n"


def _lines(matches: Iterator[Match]) -> str:
    return "".join(json.dumps(_described(match)) + "\n" for match in islice(matches, FILES_AT_ONCE))


def _described(match: Match) -> dict[str, Any]:
    created_at = iso(match.created_ms or None)
    return {"file_id": match.file_id, "path": match.path, "size": match.size, "created_at": created_at}
