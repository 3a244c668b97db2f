"""Requests: list, read, wait, cancel, retry, approve and reject."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from tasks.submissions import RequestName
from tasks.tokens import Scope
from web.api.callers import Operator, Owner, Reader, RequestId, is_own, visible
from web.api.creating import answer_accepted
from web.api.paging import aware, link_next, position_of
from web.api.shapes import HeldRequest, HeldRequests, RequestFilters, RequestPage
from web.context import context_of
from web.credentials import Caller
from web.dropin.watching import Watcher
from web.permissions import require
from web.problems import Problem
from worker.errors import NotPossible
from worker.reports.report import Report
from worker.states import State

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,9})")
Prefer = Annotated[str | None, Header(description="`wait=20`: answer once the request is final, or after 20 s.")]
Approver = Annotated[Caller, Depends(require(Scope.APPROVE))]
CancelCaller = Annotated[Caller, Depends(require(Scope.DELETE, Scope.OPERATE))]
router = APIRouter(tags=["requests"])


@router.get("/requests")
async def list_requests(
    request: Request, response: Response, _: Reader, filters: Annotated[RequestFilters, Query()]
) -> RequestPage:
    """List requests, the newest first; with the states FAILURE and REVOKED alone, by when they ended.

    A page may be short, or empty, and yet not be the last: go on until `next` is null.
    """
    context = context_of(request)
    page = await context.run(
        context.search.requests,
        [State(each) for each in filters.state],
        source=filters.source,
        text=filters.q,
        since=aware(filters.since),
        until=aware(filters.until),
        most=filters.limit,
        after=position_of(filters.after),
    )
    return RequestPage(requests=page.reports, next=link_next(request, response, page.after))


@router.get("/requests/{request_id}")
async def read_request(
    request: Request, response: Response, caller: Owner, request_id: RequestId, prefer: Prefer = None
) -> Report:
    """Read a request, or wait until it is final: `Prefer: wait=20`, at most KITSWEEP_WEB_WAIT_SECONDS."""
    context = context_of(request)
    watcher: Watcher = request.app.state.watcher
    name = RequestName(context.settings.account, request_id)
    report = visible(await watcher.report(name), request_id, caller)
    wanted = _WAIT.search(prefer or "")
    if wanted is None:
        return report
    seconds = min(int(wanted[1]), int(context.settings.web_wait_seconds))
    response.headers["Preference-Applied"] = f"wait={seconds}"
    if State(report["state"]).is_final:
        return report
    return visible(await watcher.wait(name, seconds), request_id, caller)


@router.post("/requests/{request_id}/cancel")
async def cancel_request(request: Request, request_id: RequestId, caller: CancelCaller) -> Report:
    """Cancel the files of a request that still wait. Calls in flight are finished; deleted files stay deleted."""
    context = context_of(request)
    report = await context.run(context.client.status, request_id)
    if Scope.OPERATE not in caller.scopes and not is_own(report, caller):
        raise Problem(403, f"The {caller.name} may cancel requests of the source {caller.source} only.")
    if report["state"] in (State.SUCCESS, State.FAILURE):
        raise NotPossible(f"request {request_id} was already done: there is nothing left to cancel")
    return await context.run(context.client.cancel, request_id, caller.name)


@router.post(
    "/requests/{request_id}/retry",
    status_code=202,
    responses={200: {"description": "It was retried before; the same new request.", "model": Report}},
)
async def retry_request(request: Request, response: Response, request_id: RequestId, caller: Operator) -> Report:
    """Enqueue the failed files of a final request as a new one, whose `retry_of` names this one."""
    context = context_of(request)
    accepted = await context.run(context.failures.retry, request_id, caller.name)
    return await answer_accepted(context, response, accepted)


@router.post("/requests/{request_id}/approve")
async def approve_request(request: Request, request_id: RequestId, caller: Approver) -> Report:
    """Let a request go that a guard holds. Its requester may not, unless KITSWEEP_APPROVE_OWN is set."""
    context = context_of(request)
    await context.run(context.admin.approve, request_id, caller.name)
    return await context.run(context.client.status, request_id)


@router.post("/requests/{request_id}/reject")
async def reject_request(request: Request, request_id: RequestId, caller: Approver) -> Report:
    """Cancel a request that a guard holds."""
    context = context_of(request)
    await context.run(context.admin.reject, request_id, caller.name)
    return await context.run(context.client.status, request_id)


@router.get("/approvals")
async def list_approvals(
    request: Request, _: Annotated[Caller, Depends(require(Scope.READ, Scope.APPROVE))]
) -> HeldRequests:
    """List the requests that wait for approval, the oldest first."""
    context = context_of(request)
    held = await context.run(context.admin.held)
    return HeldRequests(requests=[HeldRequest(**each._asdict()) for each in held])
