"""Reads the two calls that delete: their path, their body and their headers."""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote

from tasks.submissions import NewRequest, Submission, checked_request, is_file_id
from tasks.tokens import Scope
from web.credentials import Caller
from web.dropin import answers
from web.dropin.answers import Refusal
from web.exchange import Exchange
from worker.errors import InvalidRequest
from worker.tracing import traceparent_in

MAX_IDS = 100
DEFAULT_SOURCE = "http"
_BULK = ["v1", "files", "batch", "deletebyfileids"]


class Call(NamedTuple):
    """A call that the drop-in answers itself."""

    file_id: str | None
    """Of a single delete; None for a bulk delete."""


def call_of(method: str, raw_path: str) -> Call | None:
    """Return which deletion a request asks for; None for any other. Case and a trailing slash do not matter."""
    if method not in {"POST", "DELETE"}:
        return None
    parts = raw_path.rstrip("/").split("/")[1:]
    lower = [part.lower() for part in parts]
    if method == "POST":
        return Call(None) if lower == _BULK else None
    return Call(unquote(parts[2])) if len(parts) == 3 and lower[:2] == _BULK[:2] else None


def ids_in(body: bytes) -> list[str]:
    """Return the file ids of a bulk call, each once. Raises `Refusal` with the vendor's message."""
    try:
        content = json.loads(body or b"null")
    except (ValueError, RecursionError):
        raise Refusal(answers.NOT_JSON) from None
    ids = content.get("fileIds") if isinstance(content, dict) else None
    if ids is None:
        raise Refusal(answers.IDS_MISSING)
    if not isinstance(ids, list):
        raise Refusal(answers.IDS_NO_ARRAY)
    if not ids:
        raise Refusal(answers.IDS_EMPTY)
    if len(ids) > MAX_IDS:
        raise Refusal(answers.IDS_TOO_MANY)
    return checked_ids(ids)


def checked_ids(ids: Sequence[object]) -> list[str]:
    """Return file ids, each once. Raises `Refusal` if one cannot be an id."""
    if not all(map(is_file_id, ids)):
        raise Refusal(answers.INVALID_ID)
    return [str(file_id) for file_id in dict.fromkeys(ids)]


def submission_of(exchange: Exchange, caller: Caller, account: str | None, file_ids: list[str]) -> Submission:
    """Return the request that a call makes. Raises `Refusal`, and `InvalidRequest` for an invalid header.

    Its id comes from the credential and the set of ids, so that a repeat of the call joins it.
    """
    if Scope.DELETE not in caller.scopes:
        raise Refusal(answers.ours(403, f"The {caller.name} does not have the scope delete."))
    named = exchange.header(b"idempotency-key")
    purge = exchange.header(b"x-kitsweep-purge")
    content = content_of(caller, account, file_ids, purge)
    asked = checked_request(
        named or str(uuid.UUID(hex=content)),
        _source(exchange, caller),
        exchange.header(b"x-kitsweep-reason") or None,
        _hold_seconds(exchange.header(b"x-kitsweep-hold-seconds")),
        purge=purge or None,
    )
    return Submission(
        NewRequest(**asked, origin=caller.name, traceparent=traceparent_in(exchange.header(b"traceparent"))),
        file_ids,
        content=content if named else None,
    )


def content_of(caller: Caller, account: str | None, file_ids: list[str], purge: str = "") -> str:
    """Return 32 hex digits for a credential with an account (None: the environment's), a set of ids, and its purge."""
    who = f"{caller.name} for {account}" if account else caller.name
    asked = [who, *sorted(file_ids), *([f"purge {purge}"] if purge else [])]
    return hashlib.sha256("\n".join(asked).encode()).hexdigest()[:32]


def _source(exchange: Exchange, caller: Caller) -> str:
    wanted = exchange.header(b"x-kitsweep-source")
    if caller.source and wanted and wanted != caller.source:
        raise Refusal(answers.ours(403, f"The {caller.name} is bound to the source {caller.source}."))
    return caller.source or wanted or DEFAULT_SOURCE


def _hold_seconds(text: str) -> float:
    try:
        seconds = float(text or 0)
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        raise InvalidRequest("X-Kitsweep-Hold-Seconds", None, "must be a number of seconds")
    return seconds
