"""Failed files: counted by error, listed, and retried."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from tasks.failures import Failure, FailureFilter, Failures
from web.api.callers import Operator, Reader
from web.api.paging import aware, link_next, position_of
from web.api.shapes import FailureFilters, FailureGroups, FailureList, FailurePage, FailureRetry, RetriedFailures
from web.api.streams import CSV, NDJSON, Accept, described, form_of, streamed
from web.context import context_of
from web.problems import Problem

MOST_IDS = 1000
"""Ids of new requests in one answer."""
_EXAMPLE = Failure(
    file_id="a",
    error="the file is locked",
    source="shop",
    request_id="r",
    attempts=8,
    at="2026-11-24T12:00:00.000+00:00",
    retried_by=None,
)
router = APIRouter(prefix="/failures", tags=["failures"])


@router.get("")
async def count_failures(request: Request, _: Reader, filters: Annotated[FailureFilters, Query()]) -> FailureGroups:
    """Count the failed files of requests that have ended, by error and source, the largest group first.

    Files that were retried are left out, unless `retried` is true.
    """
    context = context_of(request)
    summary = await context.long_calls.run(lambda: context.failures.summary(wanted_of(filters)))
    return FailureGroups(files=summary.files, groups=summary.groups())


@router.get(
    "/files",
    response_model=FailurePage,
    responses={200: {"description": "A page, or all as a stream.", "content": described(dict(_EXAMPLE))}},
)
async def list_failures(
    request: Request, response: Response, _: Reader, asked: Annotated[FailureList, Query()], accept: Accept = ""
) -> FailurePage | Response:
    """List the failed files, those of the newest request first; as NDJSON or CSV all of them in one stream."""
    context, wanted = context_of(request), wanted_of(asked)
    if asked.format or CSV in accept or NDJSON in accept:
        return streamed(context, list(_EXAMPLE), context.failures.files(wanted), form_of(asked.format, accept))
    position = position_of(asked.after)
    page = await context.long_calls.run(lambda: context.failures.page(wanted, asked.limit, position))
    return FailurePage(failures=page.failures, next=link_next(request, response, page.after))


@router.post("/retry", status_code=202)
async def retry_failures(request: Request, caller: Operator, body: FailureRetry) -> RetriedFailures:
    """Retry failed files: one new request for each request that they failed in.

    `expected` is the number of files that the filter is meant to match; if it matches another number, the answer is
    409 and nothing is retried. Repeating the call is safe: files that were retried are not retried again.
    """
    context = context_of(request)
    wanted = wanted_of(body)
    return await context.long_calls.run(lambda: _retry(context.failures, wanted, body.expected, caller.name))


def wanted_of(filters: FailureFilters) -> FailureFilter:
    """Return the filter that a caller describes."""
    return FailureFilter(
        error=filters.error,
        source=filters.source,
        since=aware(filters.since),
        until=aware(filters.until),
        request_id=filters.request_id,
        file_ids=frozenset(filters.file_id),
        retried=filters.retried,
    )


def _retry(failures: Failures, wanted: FailureFilter, expected: int, by: str) -> RetriedFailures:
    files = failures.summary(wanted).files
    if files != expected:
        raise Problem(409, f"The filter matches {files} files, not {expected}. Nothing was retried.", files=files)
    retried = RetriedFailures(files=0, requests=0, request_ids=[])
    for each in failures.retry_matching(wanted, by):
        retried.files += each.files
        retried.requests += 1
        if len(retried.request_ids) < MOST_IDS:
            retried.request_ids.append(each.request_id)
    return retried
