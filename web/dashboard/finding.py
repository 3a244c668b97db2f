"""Finds a request by its id, or what became of one file."""

from __future__ import annotations

from starlette.responses import Response

from tasks.client import check_request_id
from tasks.search import Found
from web.api.paging import cursor_of, position_of
from web.dashboard.visits import Visit, back_to, route
from worker.errors import UnknownRequest


async def find(visit: Visit) -> Response:
    """Show the form, the request with the id, or the requests with the file id."""
    wanted, after = (visit.request.query_params.get(name, "").strip() for name in ("q", "after"))
    if not wanted:
        return await _page(visit, wanted)
    if not after and await _is_request(visit, wanted):
        return back_to(visit.request, f"/requests/{wanted}")
    try:
        found = await visit.run(visit.search.file, wanted, position_of(after or None))
    except ValueError as error:
        return await _page(visit, wanted, problem=f"{error}.")
    is_gone = bool(await visit.run(visit.admin.gone, [wanted]))
    return await _page(visit, wanted, found=found, is_gone=is_gone)


async def _page(
    visit: Visit,
    wanted: str,
    found: Found | None = None,
    problem: str = "",
    *,
    is_gone: bool = False,
) -> Response:
    following = cursor_of(found.after) if found and found.after else None
    values = {"wanted": wanted, "found": found, "problem": problem, "is_gone": is_gone, "next": following}
    return await visit.page("find.html", 422 if problem else 200, **values)


async def _is_request(visit: Visit, wanted: str) -> bool:
    try:
        check_request_id(wanted)
        await visit.run(visit.client.status, wanted)
    except (UnknownRequest, ValueError):
        return False
    return True


ROUTES = [route("/find", find)]
