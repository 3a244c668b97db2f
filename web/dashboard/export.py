"""Lists as files: CSV or NDJSON, streamed in constant memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from starlette.responses import Response, StreamingResponse

from web.api.streams import CSV, NDJSON
from web.dashboard.rendering import HEADERS
from web.dashboard.visits import Visit
from web.problems import Problem

LINES_AT_ONCE = 1000
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
    pieces = visit.context.long_calls.each(_csv(rows, columns) if form == "csv" else _ndjson(rows))
    return StreamingResponse(pieces, headers=as_file(f"{name}.{form}"), media_type=FORMS[form])


def _ndjson(rows: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    while some := list(islice(rows, LINES_AT_ONCE)):
        yield "".join(json.dumps(row) + "\n" for row in some)


def _csv(rows: Iterator[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    yield ",".join(columns) + "\r\n"
    while some := list(islice(rows, LINES_AT_ONCE)):
        text = io.StringIO(newline="")
        csv.writer(text).writerows([_cell(row[column]) for column in columns] for row in some)
        yield text.getvalue()


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value
