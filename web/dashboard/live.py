"""Live parts of pages: server-sent events, each of which is a part of a page as HTML."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from starlette.responses import Response, StreamingResponse

from web.dashboard.rendering import HEADERS
from web.dashboard.sampler import Look
from web.dashboard.visits import COOKIE, Visit

OUTCOMES_EVERY = 5
CHECK_EVERY = 5
"""After how many events it is checked that the session goes on."""


def stream(visit: Visit, render: Callable[[Look], str], request_ids: Sequence[str] = ()) -> Response:
    """Return the response that sends a part of a page whenever it changes.

    With requests, it also sends the event `outcomes`, now and then, when more of their files have ended.
    """
    return StreamingResponse(_events(visit, render, request_ids), headers=HEADERS, media_type="text/event-stream")


async def _events(visit: Visit, render: Callable[[Look], str], request_ids: Sequence[str]) -> AsyncIterator[str]:
    before, open_before, count = "", -1, 0
    async for look in visit.sampler.looks(request_ids):
        count += 1
        if count % CHECK_EVERY == 0 and not await _goes_on(visit):
            return
        text = render(look) + visit.rendered("_side.html", look)
        # A comment shows a dead connection as well.
        yield _event(text) if text != before else ":\n\n"
        before = text
        still_open = sum(report["waiting"] + report["in_flight"] for report, _ in look.sample.requests.values())
        if request_ids and still_open != open_before and (not still_open or count % OUTCOMES_EVERY == 0):
            open_before = still_open
            yield "event: outcomes\ndata:\n\n"


async def _goes_on(visit: Visit) -> bool:
    secret = visit.request.cookies.get(COOKIE, "")
    return await visit.run(visit.server.tokens.of_session, secret) is not None


def _event(text: str) -> str:
    return "".join(f"data: {line}\n" for line in text.splitlines()) + "\n"
