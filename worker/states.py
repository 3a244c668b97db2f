"""States of requests and outcomes of items: their only definition.

::

    request:  OPEN ──seal──▶ QUEUED ──first claim──▶ PROGRESS ──last item settled──▶ SUCCESS   every file is gone
              (unsealed:                                                        ├──▶ FAILURE   some could not be deleted
               deletes nothing)                                                 └──▶ REVOKED   cancelled

    item:     waiting ──claim──▶ in flight ──settle──▶ one Outcome
                 ▲                   │
                 └── snooze/retry ───┘     waiting ──cancel──▶ cancelled

``PROGRESS`` is never stored: it is ``QUEUED`` after the first claim, or with an item ended.
The Lua scripts receive these names from here (see `worker.store.scripts`).
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """State of a request, as returned by `AsyncResult(request_id).state`."""

    OPEN = "OPEN"
    QUEUED = "QUEUED"
    PROGRESS = "PROGRESS"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    REVOKED = "REVOKED"

    @property
    def is_final(self) -> bool:
        """Whether the request has finished."""
        return self in FINAL_STATES


FINAL_STATES = frozenset({State.SUCCESS, State.FAILURE, State.REVOKED})
TAKEN = "TAKEN"
"""What enqueueing answers instead of a state if a request of another account has the request id."""


class Outcome(StrEnum):
    """How an item ended. Every file id of a finished request has exactly one."""

    DELETED = "deleted"
    NOT_FOUND = "not_found"
    PRESUMED_DELETED = "presumed_deleted"
    FAILED = "failed"
    CANCELLED = "cancelled"


class PurgeState(StrEnum):
    """State of a purge, and of a deleted file whose cached copies are to be purged."""

    READY = "ready"
    """Its call is to be made."""
    SENT = "sent"
    """The API has accepted it, and carries it out."""
    PURGED = "purged"
    FAILED = "purge_failed"
    SKIPPED = "purge_skipped"
    """The quota is used up, and the settings say not to wait for the next month."""
    REFUSED = "refused"
    """The API does not allow this wildcard; its files are purged otherwise."""


class RunStart(StrEnum):
    """The result of starting a run of a cleanup rule."""

    STARTED = "started"
    FIRST = "first"
    """Nothing: the schedule is new or was changed, and counts from now."""
    NOTHING = "nothing"
    """Nothing: not due, or started before."""
    OFF = "off"
    """Skipped: cleanup is off."""
    BUSY = "busy"
    """Skipped: another run of the rule is active."""
    UNDECIDED = "undecided"
    """Skipped: the request of an earlier run is not final."""
    MISSED = "missed"
    """Skipped: too late, and the rule does not make up for missed runs."""


class RunOutcome(StrEnum):
    """How a run of a cleanup rule ended."""

    RELEASED = "released"
    """Its request is enqueued, perhaps on hold."""
    HELD = "held"
    """Its request waits for approval, because of a guard."""
    NOTHING = "nothing"
    """No file matches the rule."""
    DRY_RUN = "dry_run"
    """The rule only counts."""
    STOPPED = "stopped"
    """Cleanup was switched off, or the request was cancelled."""
    ABANDONED = "abandoned"
    """The rule was changed, disabled or removed during the run."""
    FAILED = "failed"
    """The API refuses the search or the key, or its listing is inconsistent."""
    SKIPPED = "skipped"
    """It was due and did not start."""
    LOST = "lost"
    """Another worker has the run. Never stored."""


class Doubt(StrEnum):
    """What earlier calls with the same file id revealed, at the time of a claim."""

    NONE = "0"
    UNANSWERED = "1"
    """The answer to an earlier call was lost: the file may be gone."""
    GONE = "2"
    """The API confirmed that an earlier call deleted it."""
