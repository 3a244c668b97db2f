"""What follows from the API's answer to a purge call. Pure functions.

::

    ready ──call──▶ sent ──asked until completed──▶ purged
      ▲              │
      └──── again ───┘  the answer was lost, or the API does not know it or does not carry it out   ──▶ purge_failed
"""

from __future__ import annotations

from typing import NamedTuple

from worker.imagekit.answers import (
    KeyRefused,
    PurgeAccepted,
    PurgeAnswer,
    PurgeStatus,
    Refused,
    Throttled,
    Unanswered,
)
from worker.states import PurgeState
from worker.times import backoff_ms

MOST_ATTEMPTS = 5
"""Calls for one purge that may have been carried out; each costs a part of the quota."""
AGAIN_MS = (5_000, 30_000, 300_000, 1_800_000)
"""How long to wait before each further call."""
FIRST_POLL_MS = 1_000
MOST_POLL_MS = 60_000
GIVE_UP_MS = 3_600_000
"""A purge that the API has not completed after this time is sent again."""
KEY_REFUSED_MS = 60_000
THROTTLED_MS = 1_000


class Taken(NamedTuple):
    """A purge that this worker has, and whose call is due."""

    purge_id: str
    token: str
    url: str
    state: PurgeState
    sent_as: str
    """The API's id of it; empty before it is sent."""
    attempts: int
    """Calls whose answer was lost, or that came to nothing."""
    polls: int
    sent_ago_ms: int
    may_call: bool
    """Whether the quota allows the call."""
    error: str


class Then(NamedTuple):
    """How a purge goes on."""

    state: PurgeState
    delay_ms: int = 0
    """Until its next call."""
    error: str = ""
    sent_as: str = ""
    attempts: int = 0
    polls: int = 0
    paid: bool = False
    """Whether the call was not carried out, so that the next one is not counted."""

    @property
    def is_end(self) -> bool:
        """Whether no call follows."""
        return self.state not in {PurgeState.READY, PurgeState.SENT}


def judge(purge: Taken, answer: PurgeAnswer) -> Then:
    """Return how a purge goes on after the answer to its call."""
    return _after_question(purge, answer) if purge.state is PurgeState.SENT else _after_call(purge, answer)


def _after_call(purge: Taken, answer: PurgeAnswer) -> Then:
    match answer:
        case PurgeAccepted(purge_id=sent_as):
            return Then(PurgeState.SENT, FIRST_POLL_MS, sent_as=sent_as, attempts=purge.attempts)
        case Refused(message=message):
            return Then(PurgeState.REFUSED if purge.url.endswith("*") else PurgeState.FAILED, error=message)
        case Unanswered(sent=True) | PurgeStatus():
            return again(purge, _obstacle(answer)[1])
        case _:
            return _not_sent(purge, *_obstacle(answer))


def _after_question(purge: Taken, answer: PurgeAnswer) -> Then:
    match answer:
        case PurgeStatus(is_completed=True):
            return Then(PurgeState.PURGED)
        case PurgeStatus() if purge.sent_ago_ms > GIVE_UP_MS:
            return again(purge, f"not completed after {GIVE_UP_MS // 60_000} minutes")
        case PurgeStatus():
            return _ask_later(purge, min(MOST_POLL_MS, FIRST_POLL_MS * 2 ** min(purge.polls + 1, 10)), "")
        case Refused(message=message):
            return again(purge, f"ImageKit does not know the purge any more: {message}")
        case _:
            return _ask_later(purge, *_obstacle(answer, backoff_ms(purge.polls + 1)))


def _obstacle(answer: PurgeAnswer, usual_ms: int = AGAIN_MS[0]) -> tuple[int, str]:
    """Return how long to wait after a call that came to nothing, and why it did."""
    match answer:
        case KeyRefused(message=message):
            return KEY_REFUSED_MS, f"ImageKit refuses the private key: {message}"
        case Throttled(meta=meta):
            return meta.reset_ms or THROTTLED_MS, "ImageKit answered 429"
        case Unanswered(reason=reason):
            return usual_ms, f"ImageKit does not answer: {reason}"
        case _:
            return usual_ms, "unexpected response"


def again(purge: Taken, why: str) -> Then:
    """Make the call again, which costs a part of the quota once more; or give up."""
    attempts = purge.attempts + 1
    if attempts >= MOST_ATTEMPTS:
        return Then(PurgeState.FAILED, error=why, attempts=attempts)
    return Then(PurgeState.READY, AGAIN_MS[attempts - 1], error=why, attempts=attempts)


def _not_sent(purge: Taken, delay_ms: int, why: str) -> Then:
    return Then(PurgeState.READY, delay_ms, error=why, attempts=purge.attempts, paid=True)


def _ask_later(purge: Taken, delay_ms: int, why: str) -> Then:
    return Then(PurgeState.SENT, delay_ms, why, purge.sent_as, purge.attempts, purge.polls + 1)
