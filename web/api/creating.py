"""Creates requests: from JSON, or from a stream of file ids of any length in constant memory."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from tasks.client import Accepted, Asked, Urls, checked_request, new_request_id
from tasks.tokens import Scope
from web.api.bodies import FORMS, JSON, content_type_of, file_ids_in, read_json
from web.api.shapes import NewRequest, Options
from web.context import AccountContext, context_of
from web.credentials import Caller
from web.dropin.reading import DEFAULT_SOURCE
from web.permissions import require
from web.problems import Problem
from worker.errors import InvalidRequest
from worker.reports.report import Report
from worker.tracing import traceparent_in

RETRY_AFTER = "1"
_IDS = {"schema": {"type": "string"}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": NewRequest.model_json_schema()},
            "application/x-ndjson": {**_IDS, "example": '"file-id-1"\n{"fileId": "file-id-2"}\n'},
            "text/csv": {**_IDS, "example": "fileId\nfile-id-1\nfile-id-2\n"},
            "text/plain": {**_IDS, "example": "file-id-1\nfile-id-2\n"},
        },
    }
}
Key = Annotated[
    str | None,
    Header(description="Becomes the request id. The same again with the same content changes nothing."),
]
router = APIRouter(tags=["requests"])


@router.post(
    "/requests",
    status_code=202,
    responses={200: {"description": "The request was there already.", "model": Report}},
    openapi_extra=_BODY,
)
async def create_request(
    request: Request,
    response: Response,
    caller: Annotated[Caller, Depends(require(Scope.DELETE))],
    options: Annotated[Options, Query()],
    idempotency_key: Key = None,
) -> Report:
    """Enqueue file ids for deletion, all or nothing.

    JSON says all in its body. With a stream (`application/x-ndjson`, `text/csv`, `text/plain`), the options are query
    parameters, and nothing is deleted before its last byte has come.
    """
    content_type = content_type_of(request)
    trace = traceparent_in(request.headers.get("traceparent"))
    if content_type == JSON:
        new = await read_json(request)
        if new.account is not None:
            request.state.account = caller.account_of(new.account)
        context = context_of(request)
        asked = _asked(idempotency_key, caller, new)
        accepted = await context.run(context.client.submit, asked, new.file_ids, caller.name, trace)
    else:
        context = context_of(request)
        asked = _asked(idempotency_key, caller, options)
        urls: Urls | None = {} if asked["purge"] else None
        file_ids = file_ids_in(request, FORMS[content_type], urls)
        accepted = await context.long_calls.run(
            lambda: context.client.submit(asked, file_ids, caller.name, trace, urls)
        )
    return await answer_accepted(context, response, accepted)


async def answer_accepted(context: AccountContext, response: Response, accepted: Accepted) -> Report:
    """Return the report of a request that was accepted: 202 if it is new, else 200."""
    response.headers["Location"] = context.link_to(f"/api/v1/requests/{accepted.request_id}")
    if accepted.is_new:
        response.headers["Retry-After"] = RETRY_AFTER
    response.status_code = 202 if accepted.is_new else 200
    return await context.run(context.client.status, accepted.request_id)


def _asked(key: str | None, caller: Caller, options: Options) -> Asked:
    if caller.source and options.source not in (None, caller.source):
        raise Problem(403, f"The {caller.name} is bound to the source {caller.source}.")
    request_id = new_request_id() if key is None else key.strip('"')
    source = options.source or caller.source or DEFAULT_SOURCE
    rest = options.reason, options.hold_seconds, options.result_ttl_seconds, options.callback, options.purge
    try:
        return checked_request(request_id, source, *rest)
    except InvalidRequest as error:
        if error.argument != "task id":
            raise
        raise Problem(422, f"Idempotency-Key: {error.rule}. Nothing was enqueued.") from None
