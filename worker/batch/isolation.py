"""Isolation: find the file id that makes every call fail, so that the others can be deleted. Pure functions.

A failed call alone proves nothing: the API may be down. Once other calls succeed while a group keeps failing, the group
is split in halves, each half is sent separately, and so on until the culprit is alone. An id that is alone spends an
attempt for each failure while other calls succeed, and fails when it has none left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.queue.claims import Claim, Item, Settlements, end, park
from worker.states import Doubt, Outcome
from worker.times import backoff_ms

ISOLATE_AFTER = 2
"""Failed calls of a group before it is isolated, if other calls succeeded in between."""
ISOLATE_ALONE_AFTER = 3
"""Failed calls of a group before it is isolated, if there is no other work whose calls could succeed."""


@dataclass(frozen=True)
class Circumstances:
    """What judging depends on besides the claim and the answer."""

    max_attempts: int
    others_succeeded: bool = False
    """Whether the API is healthy and a call succeeded since this group last failed."""
    others_wait: bool = True
    """Whether there is other work, whose calls would show whether the API is up."""


def shows_health(claim: Claim) -> bool:
    """Return whether the result of this claim's call counts toward the account's health, not only the group's."""
    return not claim.suspect and claim.fails < ISOLATE_AFTER


def needs_witness(claim: Claim, to_send: Sequence[Item]) -> bool:
    """Return whether one more failed call would count against these items, so that the API must be known to be up.

    True for a lone suspect that failed before, and for a group whose next failure isolates it. Unless another call has
    succeeded since, its own call would prove nothing. A call with a file that is already gone deletes nothing and shows
    whether the API is up. (Waiting work may not help: it can be the same file ids in other requests.)
    """
    lone_suspect = claim.suspect and len(to_send) == 1 and claim.fails > 0
    return lone_suspect or claim.fails >= ISOLATE_ALONE_AFTER - 1


def isolate(items: Sequence[Item], *, fails: int = 0, delay_ms: int = 0, doubt: Doubt = Doubt.NONE) -> Settlements:
    """Split items in halves, each parked as a separate suspect group."""
    middle = (len(items) + 1) // 2
    first, second = (
        park(half, delay_ms=delay_ms, fails=fails, suspect=True, doubt=doubt)
        for half in (items[:middle], items[middle:])
    )
    return first + second


def judge_unanswered(claim: Claim, sent: Sequence[Item], reason: str, about: Circumstances) -> Settlements:
    """Judge items of an unanswered call: the files may be deleted or not."""
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
    """Judge a single isolated id. A failure is an attempt if other calls succeeded; the first failure always is."""
    attempts = claim.fails + 1 if about.others_succeeded or claim.fails == 0 else claim.fails
    if about.others_succeeded and attempts >= about.max_attempts:
        error = f"every call with this id failed: {reason}"
        return end(sent, Outcome.FAILED, error, spent=attempts, doubt=Doubt.UNANSWERED)
    return park(sent, delay_ms=backoff_ms(attempts), fails=attempts, suspect=True, doubt=Doubt.UNANSWERED)
