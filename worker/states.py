"""The states of a request and the outcomes of its items, written once.

::

    request:  OPEN ──seal──▶ QUEUED ──first claim──▶ PROGRESS ──last item settled──▶ SUCCESS   every file is gone
              (unsealed:                                                        ├──▶ FAILURE   some could not be deleted
               deletes nothing)                                                 └──▶ REVOKED   cancelled

    item:     waiting ──claim──▶ in flight ──settle──▶ one Outcome
                 ▲                   │
                 └── snooze/retry ───┘     waiting ──cancel──▶ cancelled

``PROGRESS`` is never stored: it is ``QUEUED`` after the first claim, or with an item ended.
The Lua operations receive these names from here (see `worker.scripts`), so that the two cannot drift apart.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, TypedDict


class State(StrEnum):
    """Where a request stands, as `AsyncResult(request_id).state` shows it."""

    OPEN = "OPEN"
    QUEUED = "QUEUED"
    PROGRESS = "PROGRESS"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    REVOKED = "REVOKED"

    @property
    def is_final(self) -> bool:
        """Whether nothing of the request can change any more."""
        return self in FINAL_STATES


FINAL_STATES = frozenset({State.SUCCESS, State.FAILURE, State.REVOKED})


class Outcome(StrEnum):
    """How one item ended; exactly one of these for every file id of a request."""

    DELETED = "deleted"
    NOT_FOUND = "not_found"
    PRESUMED_DELETED = "presumed_deleted"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Doubt(StrEnum):
    """What is known, at the time of a claim, of earlier calls with the same file id."""

    NONE = "0"
    UNANSWERED = "1"
    """A call of ours had it, and its answer was lost: the file may be gone."""
    GONE = "2"
    """The API said that an earlier call of ours deleted it."""


class FileError(TypedDict):
    """Why one file id could not be deleted."""

    file_id: str
    error: str


class Report(TypedDict):
    """What became of a request; the counts always add up to `total`. Times are ISO 8601 in UTC."""

    request_id: str
    source: str
    reason: str | None
    state: str
    total: int
    waiting: int
    in_flight: int
    deleted: int
    not_found: int
    presumed_deleted: int
    failed: int
    cancelled: int
    successfully_deleted_file_ids: list[str]
    missing_file_ids: list[str]
    presumed_deleted_file_ids: list[str]
    errors: list[FileError]
    truncated: bool
    enqueued_at: str | None
    finished_at: str | None


class FileOutcome(NamedTuple):
    """How one file id of a request ended: one line of `kitsweep report`."""

    file_id: str
    outcome: Outcome
    error: str
    """The reason of a failure, or a remark; empty where there is nothing to say."""
    attempts: int
    """API calls with this id that count against its attempts, the last one included."""
    at: str
    """When it was recorded, ISO 8601 in UTC."""
