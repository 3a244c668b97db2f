"""The gate for all calls to ImageKit: take a slot, make the call, tell the limiter what the response said."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from worker.imagekit.answers import Answer, KeyRefused, ListAnswer, PurgeAnswer, Throttled, Unanswered
from worker.limiter.slots import Call, Endpoint, Health, Kind, Limiter, Slot
from worker.store.connection import outlast

HORIZON_MS = 50
"""Longest time a thread waits for its reserved slot."""

A = TypeVar("A", bound=Answer | ListAnswer | PurgeAnswer)


class Permit(NamedTuple):
    """A slot with the local time at which to use it, or how long to wait before asking again."""

    call_id: str
    granted: bool
    wait_ms: int
    """Granted: until the slot. Refused: until it is worth asking again."""
    slot_at: float
    """When to make the call, monotonic seconds."""
    probe: bool
    """Whether the call tests an API that has been failing."""


def permit_of(call_id: str, slot: Slot) -> Permit:
    """Return a slot that was just granted or refused, with the local time at which to use it."""
    return Permit(call_id, slot.granted, slot.wait_ms, time.monotonic() + slot.wait_ms / 1000, slot.is_probe)


class Gate:
    """Calls to one endpoint of one account, under its limit."""

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter

    def ask(self, call_id: str) -> Permit:
        """Request a slot at most `HORIZON_MS` ahead. Never sleeps."""
        return permit_of(call_id, self.limiter.acquire(call_id, HORIZON_MS))

    def wait(self, patience_ms: float, sleep: Callable[[float], None] = time.sleep) -> Permit:
        """Wait until a slot is granted. Returns a refused permit once the next wait would exceed `patience_ms`."""
        while True:
            permit = self.ask(uuid.uuid4().hex)
            if permit.granted or permit.wait_ms > patience_ms:
                return permit
            sleep(min(permit.wait_ms, 1000) / 1000)

    def give_back(self, permit: Permit) -> None:
        """Return the slot of a call that is not made."""
        self.limiter.give_back(permit.call_id)

    def make(
        self, permit: Permit, call: Callable[[], A], *, files: int = 0, shows_health: bool = False
    ) -> tuple[A, Health]:
        """Make the call at its slot, and tell the limiter what the response says about the API.

        `files`: the number of file ids in a bulk call. `shows_health`: the call is as likely to succeed as any other,
        so its result counts toward the account's health.
        """
        answer, made = self.only_make(permit, call, files=files, shows_health=shows_health)
        return answer, self.record(made)

    def record(self, made: Call) -> Health:
        """Tell the limiter what a response says about the API."""
        return outlast(lambda: self.limiter.record(made))

    def only_make(
        self, permit: Permit, call: Callable[[], A], *, files: int = 0, shows_health: bool = False
    ) -> tuple[A, Call]:
        """Make the call at its slot; the caller must let the limiter record it."""
        time.sleep(max(0.0, permit.slot_at - time.monotonic()))
        answer = call()
        kind, reason, reset_ms = self._news(answer)
        made = Call(
            kind,
            reason,
            reset_ms,
            is_probe=permit.probe,
            windows=answer.meta.limits,
            call_id=permit.call_id,
            late_ms=_late_ms(permit, answer.meta.sent_at),
            shows_health=shows_health,
            status=answer.meta.status,
            elapsed_ms=answer.meta.elapsed_ms,
            files=files,
        )
        return answer, made

    def _news(self, answer: Answer | ListAnswer | PurgeAnswer) -> tuple[Kind, str, int | None]:
        match answer:
            case Throttled(meta=meta):
                return Kind.THROTTLED, "ImageKit answered 429", meta.reset_ms
            # A key may be allowed to delete and not to list: only deletions decide whether the account pauses.
            case KeyRefused(message=message) if self.limiter.endpoint is Endpoint.DELETE:
                return Kind.KEY_REFUSED, f"ImageKit refuses the private key: {message}", None
            case Unanswered(reason=why) if self.limiter.endpoint is Endpoint.DELETE:
                return Kind.TROUBLE, f"ImageKit does not answer: {why}", None
            case _:
                return Kind.OK, "", None


def _late_ms(permit: Permit, sent_at: float | None) -> int:
    """Return by how much a call whose response just came was sent later than its slot.

    `sent_at`: monotonic seconds; None if it was not sent whole, and may have reached the API at any time until now.
    """
    sent = time.monotonic() if sent_at is None else sent_at
    return max(0, round((sent - permit.slot_at) * 1000))
