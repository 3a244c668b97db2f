"""Lists as files: CSV or NDJSON, streamed in constant memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from starlette.responses import Response, StreamingResponse

from web.api.streams import CSV, NDJSON, pieces_of
from web.dashboard.rendering import HEADERS
from web.dashboard.visits import Visit
from web.problems import Problem

FORMS = {"csv": CSV, "ndjson": NDJSON}


def form_of(visit: Visit) -> str:
    """Return the form that the URL asks for, csv or ndjson. Raises `Problem`."""
    form = visit.request.query_params.get("format", "csv")
    if form not in FORMS:
        raise Problem(422, "The format is csv or ndjson.")
    return form


def as_file(name: str) -> dict[str, str]:
    """Return the headers with which a browser stores a response."""
    return {**HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}


def exported(visit: Visit, name: str, rows: Iterator[Mapping[str, Any]], columns: Sequence[str]) -> Response:
    """Return the response that sends all rows in the form that the URL asks for. Raises `Problem`."""
    form = form_of(visit)
    pieces = visit.context.long_calls.each(pieces_of(columns, rows, FORMS[form]))
    return StreamingResponse(pieces, headers=as_file(f"{name}.{form}"), media_type=FORMS[form])
