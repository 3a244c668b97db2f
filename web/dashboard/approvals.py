"""Requests that a guard stopped: what it measured, a sample, and the decision."""

from __future__ import annotations

from starlette.responses import PlainTextResponse, Response

from tasks.admin import Held
from tasks.tokens import Scope
from web.dashboard.export import as_file
from web.dashboard.visits import Visit, back_to, route
from web.dashboard.words import number
from worker.errors import NotPossible

SAMPLE = 30
_IGNORED = str.maketrans("", "", " ,.'_\N{NO-BREAK SPACE}")


async def listed(visit: Visit) -> Response:
    """List what waits, the oldest first."""
    return await visit.page("approvals.html", held=await visit.run(visit.admin.held))


async def shown(visit: Visit) -> Response:
    """Show one request, and ask for the decision."""
    return await _shown(visit, await _held(visit))


async def files(visit: Visit) -> Response:
    """Send all its file ids, one a line."""
    held = await _held(visit)
    ids = await visit.run(visit.admin.held_file_ids, held.request_id)
    return PlainTextResponse("\n".join(ids) + "\n", headers=as_file(f"{held.request_id}.txt"))


async def approve(visit: Visit) -> Response:
    """Approve, if its number of files was typed."""
    held = await _held(visit)
    if visit.form.get("number", "").translate(_IGNORED) != str(held.total):
        return await _shown(visit, held, f"Type the number of files, {number(held.total)}, to approve.", 422)
    await visit.run(visit.admin.approve, held.request_id, visit.by, visit.reason())
    return back_to(visit.request, f"/requests/{held.request_id}", "approved")


async def reject(visit: Visit) -> Response:
    """Reject, which cancels the request."""
    request_id = visit.request.path_params["request_id"]
    await visit.run(visit.admin.reject, request_id, visit.by, visit.reason())
    return back_to(visit.request, f"/requests/{request_id}", "rejected")


async def _held(visit: Visit) -> Held:
    request_id = visit.request.path_params["request_id"]
    for held in await visit.run(visit.admin.held):
        if held.request_id == request_id:
            return held
    raise NotPossible(f"request {request_id} does not wait for approval")


async def _shown(visit: Visit, held: Held, problem: str = "", status: int = 200) -> Response:
    report = await visit.run(visit.client.status, held.request_id)
    history = await visit.run(visit.search.history, report)
    is_own = history.by == visit.by and not visit.context.settings.approve_own
    return await visit.page(
        "approval.html",
        status,
        held=held,
        history=history,
        is_own=is_own,
        problem=problem,
        sample=await visit.run(visit.admin.held_file_ids, held.request_id, SAMPLE),
        paths=await visit.run(_paths, visit, held),
    )


def _paths(visit: Visit, held: Held) -> list[str]:
    """Return the first paths, which are known of requests of cleanup rules."""
    kind, _, rule = held.source.partition(":")
    runs = visit.admin.history(rule) if kind == "cleanup" and rule else []
    return next((run["first_paths"] for run in runs if run["request"] == held.request_id), [])


ROUTES = [
    route("/approvals", listed),
    route("/approvals/{request_id}", shown),
    route("/approvals/{request_id}/files", files),
    route("/approvals/{request_id}/approve", approve, Scope.APPROVE, methods=("POST",)),
    route("/approvals/{request_id}/reject", reject, Scope.APPROVE, methods=("POST",)),
]
