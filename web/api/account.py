"""The account: figures, pause and resume, the audit trail, and what became of one file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from tasks.purges import PurgeOverview
from web.api.callers import Operator, Reader
from web.api.paging import After, Limit, aware, link_next, position_of
from web.api.shapes import AuditPage, FilePage
from web.context import context_of
from web.problems import Problem
from worker.reports.stats import Stats

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(9999, 1, 1, tzinfo=UTC)
router = APIRouter(tags=["account"])


@router.get("/stats")
async def read_stats(request: Request, _: Reader) -> Stats:
    """Read what waits, what is in flight, and what limits it."""
    context = context_of(request)
    return await context.run(context.client.stats)


@router.post("/pause")
async def pause(
    request: Request,
    caller: Operator,
    reason: Annotated[str | None, Query(max_length=500, description="Why, for others to see.")] = None,
) -> Stats:
    """Pause all calls to ImageKit, on all workers, until `resume`."""
    context = context_of(request)
    await context.run(context.admin.pause, reason, caller.name)
    return await context.run(context.client.stats)


@router.post("/resume")
async def resume(request: Request, caller: Operator) -> Stats:
    """Allow calls again; also tries at once where an outage or a refused key is waited for."""
    context = context_of(request)
    await context.run(context.admin.resume, caller.name)
    return await context.run(context.client.stats)


@router.get("/purges")
async def read_purges(request: Request, _: Reader) -> PurgeOverview:
    """Read the quota of the month, the purges under way, and the last that have ended."""
    context = context_of(request)
    return await context.run(context.purges.overview)


@router.get("/audit")
async def read_audit(
    request: Request,
    response: Response,
    _: Reader,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: Limit = 100,
    after: After = None,
) -> AuditPage:
    """Read the audit trail, oldest entry first: who asked for what, who decided, and the result."""
    context = context_of(request)
    entries = await context.run(
        context.admin.audit_page, aware(since) or _BEGINNING, aware(until) or _END, limit, position_of(after)
    )
    last = entries[-1]["id"] if len(entries) == limit else None
    return AuditPage(entries=entries, next=link_next(request, response, last))


@router.get("/files/{file_id:path}")
async def read_file(
    request: Request,
    response: Response,
    _: Reader,
    file_id: Annotated[str, Path(description="ImageKit's id of the file.")],
    after: After = None,
) -> FilePage:
    """Find in which requests a file id is or was, the newest first, and what became of it there.

    It looks through the requests that are still kept, for a fraction of a second a page: go on until `next` is null.
    """
    context = context_of(request)
    try:
        found = await context.run(context.search.file, file_id, position_of(after))
    except ValueError as error:
        raise Problem(422, f"{error}.") from None
    lately = await context.run(context.admin.gone, [file_id])
    following = link_next(request, response, found.after)
    return FilePage(file_id=file_id, deleted_lately=bool(lately), requests=found.traces, next=following)
