"""Streams of records as NDJSON or CSV, of any length in constant memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import Header, Query
from fastapi.responses import StreamingResponse

from web.context import AccountContext

LINES_AT_ONCE = 1000
NDJSON, CSV = "application/x-ndjson", "text/csv"
Format = Annotated[Literal["ndjson", "csv"] | None, Query(alias="format", description="Default: by Accept.")]
Accept = Annotated[str, Header()]


def described(example: Mapping[str, Any]) -> dict[str, Any]:
    """Return the two streams for the OpenAPI document, from an example of a record."""
    text = {"type": "string"}
    table = "".join(_csv_pieces(list(example), iter([example])))
    return {
        NDJSON: {"schema": text, "example": json.dumps(example)},
        CSV: {"schema": text, "example": table},
    }


def streamed(
    context: AccountContext, names: Sequence[str], records: Iterator[Mapping[str, Any]], form: str
) -> StreamingResponse:
    """Return a response of one line per record, as NDJSON or CSV; `names` are the columns."""
    return StreamingResponse(_on_threads(context, pieces_of(names, records, form)), media_type=form)


def pieces_of(names: Sequence[str], records: Iterator[Mapping[str, Any]], form: str) -> Iterator[str]:
    """Yield the text of records, `LINES_AT_ONCE` at a time; `names` are the columns of CSV."""
    return _csv_pieces(names, records) if form == CSV else _json_pieces(records)


def form_of(form: str | None, accept: str) -> str:
    """Return the form that a caller asks for, by parameter or header; NDJSON by default."""
    return CSV if form == "csv" or (form is None and CSV in accept) else NDJSON


async def _on_threads(context: AccountContext, pieces: Iterator[str]) -> AsyncIterator[str]:
    while piece := await context.run(next, pieces, ""):
        yield piece


def _json_pieces(records: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    while some := list(islice(records, LINES_AT_ONCE)):
        yield "".join(json.dumps(record) + "\n" for record in some)


def _csv_pieces(names: Sequence[str], records: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    yield ",".join(names) + "\r\n"
    while some := list(islice(records, LINES_AT_ONCE)):
        text = io.StringIO(newline="")
        csv.writer(text).writerows([_cell(record[name]) for name in names] for record in some)
        yield text.getvalue()


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value
