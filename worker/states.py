"""The states of a request and the outcomes of its items, written once.

::

    request:  OPEN ──seal──▶ QUEUED ──first claim──▶ PROGRESS ──last item settled──▶ SUCCESS   every file is gone
              (unsealed:                                                        ├──▶ FAILURE   some could not be deleted
               deletes nothing)                                                 └──▶ REVOKED   cancelled

    item:     waiting ──claim──▶ in flight ──settle──▶ one Outcome
                 ▲                   │
                 └── snooze/retry ───┘     waiting ──cancel──▶ cancelled

``PROGRESS`` is never stored: it is ``QUEUED`` after the first claim, or with an item ended.
The Lua operations receive these names from here (see `worker.store.scripts`), so that the two cannot drift apart.
"""

from __future__ import annotations

from enum import StrEnum


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
