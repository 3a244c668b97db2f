"""Kitsweep's exceptions. Each carries facts as attributes; its text says what to do.

::

    KitsweepError
    ├── InvalidRequest        the request is invalid; nothing was enqueued
    ├── UnknownRequest        no such request id, or its results have expired
    ├── RequestIdTaken        the request id belongs to a request with other content, or of another account
    ├── NotPossible           the operation is not possible in the current state
    │   └── OwnRequest            the requester may not approve a request
    ├── RequestVanished       part of a streamed request disappeared; nothing was enqueued
    ├── QueueUnavailable      Redis cannot be used
    │   ├── RedisUnreachable      Redis does not answer
    │   ├── QueueFull             Redis is out of memory
    │   └── NotDurable            the write to disk could not be confirmed
    ├── DeletionIncomplete    some files could not be deleted (state FAILURE)
    └── RequestCancelled      the request was cancelled (state REVOKED)
"""

from __future__ import annotations

from typing import Any


class KitsweepError(Exception):
    """Base class of Kitsweep's errors."""


class InvalidRequest(KitsweepError, ValueError):
    """The request is invalid; nothing was enqueued.

    The arguments are plain values, so that a result backend can store the error as JSON.
    """

    def __init__(self, argument: str, position: int | None, rule: str) -> None:
        super().__init__(argument, position, rule)
        self.argument = argument
        self.position = position
        self.rule = rule

    def __str__(self) -> str:
        where = self.argument if self.position is None else f"{self.argument}[{self.position}]"
        return f"{where}: {self.rule}. Nothing was enqueued."


class _NoRequest(KitsweepError):
    """A request does not exist."""

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id)
        self.request_id = request_id


class UnknownRequest(_NoRequest):
    """No request has this id: it never existed, or its results have expired."""

    def __str__(self) -> str:
        return f"request {self.request_id}: unknown or expired"


class RequestIdTaken(KitsweepError):
    """A request with this id was accepted before, for other content or another account. Nothing was enqueued."""

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id)
        self.request_id = request_id

    def __str__(self) -> str:
        return (
            f"request id {self.request_id} was used before, with other content or for another account; "
            "choose a new one. Nothing was enqueued."
        )


class NotPossible(KitsweepError):
    """The operation is not possible in the current state; nothing was changed."""


class OwnRequest(NotPossible):
    """The requester may not approve a request; nothing was changed."""

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id)
        self.request_id = request_id

    def __str__(self) -> str:
        return (
            f"request {self.request_id} is your own: another person has to approve it. You can cancel it. To allow it, "
            "set KITSWEEP_APPROVE_OWN=true."
        )


class RequestVanished(_NoRequest):
    """Part of a streamed request disappeared before its last chunk arrived: cancelled, expired, or lost by Redis."""

    def __str__(self) -> str:
        return (
            f"request {self.request_id}: part of it disappeared before its last chunk arrived. It was cancelled, or no "
            "chunk arrived within KITSWEEP_UNSEALED_TTL_SECONDS. Nothing was enqueued."
        )


class QueueUnavailable(KitsweepError):
    """Redis cannot serve the operation."""


class _RedisProblem(QueueUnavailable):
    """What is wrong with the Redis at `address`, which contains no password."""

    def __init__(self, address: str, why: str = "") -> None:
        super().__init__(address, why)
        self.address = address
        self.why = why


class RedisUnreachable(_RedisProblem):
    """Redis does not answer."""

    def __str__(self) -> str:
        why = f" ({self.why})" if self.why else ""
        return f"Redis at {self.address} cannot be reached{why}. Is it running, and is KITSWEEP_REDIS_URL right?"


class QueueFull(_RedisProblem):
    """Redis is out of memory; the request was not accepted."""

    def __str__(self) -> str:
        return (
            f"Redis at {self.address} is out of memory. Nothing was enqueued: "
            "raise its maxmemory, or wait until results expire (KITSWEEP_RESULT_TTL_SECONDS)."
        )


class NotDurable(_RedisProblem):
    """Redis could not confirm that a request is on disk; `accepted` says whether it was accepted anyway."""

    def __init__(self, address: str, why: str, *, accepted: bool) -> None:
        super().__init__(address, why)
        self.accepted = accepted

    def __str__(self) -> str:
        state = "The request was accepted, but is not known to be on disk" if self.accepted else "Nothing was enqueued"
        return f"Redis at {self.address} {self.why}. {state}."


class _Ended(KitsweepError):
    """A request that did not succeed; the only argument is its report."""

    def __init__(self, report: dict[str, Any]) -> None:
        super().__init__(report)
        self.report = report

    def _counts(self) -> str:
        names = ("deleted", "not_found", "presumed_deleted", "failed", "cancelled")
        return ", ".join(f"{self.report.get(name, 0)} {name}" for name in names if self.report.get(name))


class DeletionIncomplete(_Ended):
    """Some files of a request could not be deleted; the argument is the report."""

    def __str__(self) -> str:
        return f"request {self.report.get('request_id')} is incomplete: {self._counts()}"


class RequestCancelled(_Ended):
    """A request was cancelled before it finished; the argument is the report."""

    def __str__(self) -> str:
        return f"request {self.report.get('request_id')} was cancelled: {self._counts()}"
