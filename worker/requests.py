"""Checks what producers ask for, before anything is sent: one place for all doors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypedDict, TypeVar

from worker.errors import InvalidRequest
from worker.rules import check_file_id, check_hold_seconds, check_reason, check_request_id, check_source, is_file_id

T = TypeVar("T")

CLEANUP = "cleanup:"
"""Start of the sources and request ids of cleanup rules; nobody else may use it."""


class Asked(TypedDict):
    """The checked parts of a request, apart from its file ids."""

    request_id: str
    source: str
    reason: str | None
    hold_seconds: float


def checked_request(request_id: object, source: object, reason: object, hold_seconds: object) -> Asked:
    """Return the parts, or raise `InvalidRequest` that names the one that breaks its rule."""
    if isinstance(request_id, str) and request_id.startswith(CLEANUP):
        raise InvalidRequest("task id", None, f"ids that begin with {CLEANUP} are those of cleanup rules")
    return Asked(
        request_id=_checked("task id", check_request_id, request_id),
        source=_checked("source", check_source, source),
        reason=_checked("reason", check_reason, reason),
        hold_seconds=_checked("hold_seconds", check_hold_seconds, hold_seconds),
    )


def checked_file_ids(file_ids: object, most: int) -> list[str]:
    """Return a message's file ids; they are 1 to `most`. Raises `InvalidRequest`."""
    if not isinstance(file_ids, list | tuple):
        raise InvalidRequest("file_ids", None, f"must be a list of file ids, not {type(file_ids).__name__}")
    if not file_ids:
        raise InvalidRequest("file_ids", None, "must name at least one file")
    if len(file_ids) > most:
        rule = (
            f"must be at most {most} ids in one message (KITSWEEP_MAX_REQUEST_IDS), not {len(file_ids)}; send several"
        )
        raise InvalidRequest("file_ids", None, rule)
    return list(checked_stream(file_ids))


def checked_stream(file_ids: Iterable[object]) -> Iterator[str]:
    """Yield the file ids, and raise `InvalidRequest` with the position of the first that breaks the rule."""
    for position, value in enumerate(file_ids):
        if is_file_id(value):
            yield value
            continue
        try:
            yield check_file_id(value)
        except ValueError as error:
            raise InvalidRequest("file_ids", position, str(error)) from None


def _checked(argument: str, check: Callable[[object], T], value: object) -> T:
    try:
        return check(value)
    except ValueError as error:
        raise InvalidRequest(argument, None, str(error)) from None
