"""Pages: how many, from where on, and the link to the next one (RFC 8288). A cursor says nothing to its caller."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query, Request, Response

from web.context import context_of
from worker.errors import InvalidRequest

Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
After = Annotated[str | None, Query(max_length=200, description="Cursor: `next` of the page before.")]


def position_of(after: str | None) -> str | None:
    """Return what a cursor stands for. Raises `InvalidRequest`."""
    if after is None:
        return None
    try:
        return urlsafe_b64decode(after + "=" * (-len(after) % 4)).decode()
    except (binascii.Error, ValueError):
        raise InvalidRequest("after", None, "is not the cursor of a page; start without it") from None


def cursor_of(position: str) -> str:
    """Return the cursor that stands for a position."""
    return urlsafe_b64encode(position.encode()).decode().rstrip("=")


def link_next(request: Request, response: Response, after: str | None) -> str | None:
    """Return the cursor of the next page, and add the link to it to the response; None after the last page."""
    if after is None:
        return None
    cursor = cursor_of(after)
    url = request.url.include_query_params(after=cursor)
    response.headers["Link"] = f'<{context_of(request).link_to(f"{url.path}?{url.query}")}>; rel="next"'
    return cursor


def aware(moment: datetime | None) -> datetime | None:
    """Return a time with its zone; one without is UTC."""
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
