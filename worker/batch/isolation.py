"""Isolation: find the file id that makes every call fail, and let the others go on. Pure functions.

A failed call says nothing by itself: the API may be down. A group is isolated once there is evidence that the fault is
its own: it is split in halves, each half is called by itself, and so on until the culprit is alone. An id that is alone
spends an attempt for each failure while calls of others succeed, and fails when it has none left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.queue.claims import Claim, Item, Settlements, end, park
from worker.states import Doubt, Outcome
from worker.times import backoff_ms

ISOLATE_AFTER = 2
"""Failed calls of a group before it is isolated, if calls of others succeeded in between."""
ISOLATE_ALONE_AFTER = 3
"""Failed calls of a group before it is isolated, if there is no other work whose calls could succeed."""


@dataclass(frozen=True)
class Circumstances:
    """What a judgement depends on besides the claim and the answer."""

    max_attempts: int
    others_succeeded: bool = False
    """Whether the API is healthy and a call succeeded since this group last failed."""
    others_wait: bool = True
    """Whether there is other work, whose calls would show whether the API is up."""


def shows_health(claim: Claim) -> bool:
    """Return whether the outcome of this claim's call says something of the API as a whole, not of the group only."""
    return not claim.suspect and claim.fails < ISOLATE_AFTER


def needs_witness(claim: Claim, to_send: Sequence[Item]) -> bool:
    """Return whether one more failed call would count against these items, so that the API must be known to be up.

    True for a lone suspect that failed before, and for a group whose next failure isolates it. If no call succeeded
    since, its own call would prove nothing. A call with a file that is already gone does: it deletes nothing, and
    its answer shows that the API is up. (Waiting work may be no help: it can be the same file ids in other requests.)
    """
    lone_suspect = claim.suspect and len(to_send) == 1 and claim.fails > 0
    return lone_suspect or claim.fails >= ISOLATE_ALONE_AFTER - 1


def isolate(items: Sequence[Item], *, fails: int = 0, delay_ms: int = 0, doubt: Doubt = Doubt.NONE) -> Settlements:
    """Split items in halves, each parked as a suspect group of its own."""
    middle = (len(items) + 1) // 2
    first, second = (
        park(half, delay_ms=delay_ms, fails=fails, suspect=True, doubt=doubt)
        for half in (items[:middle], items[middle:])
    )
    return first + second


def judge_unanswered(claim: Claim, sent: Sequence[Item], reason: str, about: Circumstances) -> Settlements:
    """Judge items whose call got no answer: the files may be deleted or not."""
    if claim.suspect and len(sent) == 1:
        return _judge_lone_suspect(claim, sent, reason, about)
    fails = claim.fails + 1
    # In an outage the whole account backs off. Longer delays of single groups would outlast it.
    delay_ms = backoff_ms(fails if about.others_succeeded else 1)
    if _fault_is_its_own(fails, about):
        return isolate(sent, delay_ms=delay_ms, doubt=Doubt.UNANSWERED)
    return park(sent, delay_ms=delay_ms, fails=fails, suspect=claim.suspect, doubt=Doubt.UNANSWERED)


def _fault_is_its_own(fails: int, about: Circumstances) -> bool:
    if about.others_succeeded:
        return fails >= ISOLATE_AFTER
    return not about.others_wait and fails >= ISOLATE_ALONE_AFTER


def _judge_lone_suspect(claim: Claim, sent: Sequence[Item], reason: str, about: Circumstances) -> Settlements:
    """Judge a single isolated id; a failure is an attempt if calls of others succeeded, and so is the first one."""
    attempts = claim.fails + 1 if about.others_succeeded or claim.fails == 0 else claim.fails
    if about.others_succeeded and attempts >= about.max_attempts:
        error = f"every call with this id failed: {reason}"
        return end(sent, Outcome.FAILED, error, spent=attempts, doubt=Doubt.UNANSWERED)
    return park(sent, delay_ms=backoff_ms(attempts), fails=attempts, suspect=True, doubt=Doubt.UNANSWERED)
