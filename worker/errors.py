"""Every exception of our own; each carries facts, and its text says what to do.

::

    KitsweepError
    ├── InvalidRequest        what was asked breaks a rule; nothing was enqueued
    ├── UnknownRequest        no such request id, or its results have expired
    ├── NotPossible           what an operator asked for cannot be done in the present state
    ├── RequestVanished       what was sent of a request was gone before all of it was; nothing was enqueued
    ├── QueueUnavailable      Redis cannot be used
    │   ├── RedisUnreachable      no answer from its address
    │   ├── QueueFull             out of memory: it takes no new ids
    │   └── NotDurable            what was asked to be on disk is not known to be
    ├── DeletionIncomplete    how a request ends of which some files could not be deleted (state FAILURE)
    └── RequestCancelled      how a cancelled request ends (state REVOKED)
"""

from __future__ import annotations

from typing import Any


class KitsweepError(Exception):
    """Base of all errors that Kitsweep raises on purpose."""


class InvalidRequest(KitsweepError, ValueError):
    """What was asked breaks a rule; nothing of it was enqueued.

    The arguments are plain values, so that the error survives the way through a result backend as JSON.
    """

    def __init__(self, argument: str, position: int | None, rule: str) -> None:
        super().__init__(argument, position, rule)
        self.argument = argument
        self.position = position
        self.rule = rule

    def __str__(self) -> str:
        place = self.argument if self.position is None else f"{self.argument}[{self.position}]"
        return f"{place}: {self.rule}. Nothing was enqueued."


class UnknownRequest(KitsweepError):
    """No request has this id: it never had one, or its results have expired."""

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id)
        self.request_id = request_id

    def __str__(self) -> str:
        return f"request {self.request_id}: unknown or expired"


class NotPossible(KitsweepError):
    """What an operator asked for cannot be done in the present state; nothing was changed."""


class RequestVanished(KitsweepError):
    """What had been sent of a request was gone before all of it was: cancelled, expired, or lost by Redis."""

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id)
        self.request_id = request_id

    def __str__(self) -> str:
        return (
            f"request {self.request_id} vanished before all of it was sent: it was cancelled, or waited longer than "
            "KITSWEEP_UNSEALED_TTL_SECONDS for its next ids. Nothing was enqueued."
        )


class QueueUnavailable(KitsweepError):
    """Redis cannot take or give what was asked of it."""


class RedisUnreachable(QueueUnavailable):
    """Redis does not answer; `address` carries no password."""

    def __init__(self, address: str, cause: str = "") -> None:
        super().__init__(address, cause)
        self.address = address
        self.cause = cause

    def __str__(self) -> str:
        why = f" ({self.cause})" if self.cause else ""
        return f"Redis at {self.address} cannot be reached{why}. Is it running, and is KITSWEEP_REDIS_URL right?"


class QueueFull(QueueUnavailable):
    """Redis is out of memory; the request was not accepted."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.address = address

    def __str__(self) -> str:
        return (
            f"Redis at {self.address} is out of memory and takes no new ids. Nothing was enqueued: "
            "raise its maxmemory, or wait until results expire (KITSWEEP_RESULT_TTL_SECONDS)."
        )


class NotDurable(QueueUnavailable):
    """Redis cannot say that a request is on its disk; `accepted` tells whether it was accepted all the same."""

    def __init__(self, address: str, why: str, *, accepted: bool) -> None:
        super().__init__(address, why, accepted)
        self.address = address
        self.why = why
        self.accepted = accepted

    def __str__(self) -> str:
        state = "The request was accepted, but is not known to be on disk" if self.accepted else "Nothing was enqueued"
        return f"Redis at {self.address} {self.why}. {state}."


class _Ended(KitsweepError):
    """How a request ended, with its report as the only argument."""

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
    """A request was cancelled before all of it was done; the argument is the report."""

    def __str__(self) -> str:
        return f"request {self.report.get('request_id')} was cancelled: {self._counts()}"
