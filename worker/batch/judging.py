"""Judging: from the API's answer to a settlement of each item that was sent. Pure functions.

deleted              the API listed the file as deleted
not_found            the API does not know the file, and no earlier call of ours can have deleted it
presumed_deleted     the API does not know the file, and an earlier call of ours got no answer
failed               the API refused this file, or it is out of attempts
retried              this item failed; an attempt is spent
parked               the call failed, not the item; no attempt is spent
"""

from __future__ import annotations

from collections.abc import Sequence

from worker.batch.isolation import Circumstances, isolate, judge_unanswered
from worker.imagekit.answers import Answer, KeyRefused, Missing, PerFile, Refused, Throttled, Unanswered
from worker.queue.claims import Claim, Item, Settlements, end, retry, snooze
from worker.states import Doubt, Outcome
from worker.times import backoff_ms


def judge(claim: Claim, sent: Sequence[Item], answer: Answer, about: Circumstances) -> Settlements:
    """Return the settlement of each item of `claim` that was sent, given the answer."""
    match answer:
        case PerFile():
            return _judge_per_file(sent, answer, about.max_attempts)
        case Missing():
            return _judge_missing(claim, sent, answer)
        case Refused() if len(sent) == 1:
            return end(sent, Outcome.FAILED, answer.message)
        case Refused():
            return isolate(sent, fails=claim.fails)
        case Unanswered(sent=True):
            return judge_unanswered(claim, sent, answer.reason, about)
        case KeyRefused() | Throttled() | Unanswered():
            return snooze(claim, sent)


def judge_known(items: Sequence[Item]) -> Settlements:
    """End items whose file an earlier call deleted; they need no call."""
    return end(items, Outcome.DELETED, spent=0)


def _judge_per_file(sent: Sequence[Item], answer: PerFile, max_attempts: int) -> Settlements:
    deleted = end((item for item in sent if item.file_id in answer.deleted), Outcome.DELETED)
    others = (item for item in sent if item.file_id not in answer.deleted)
    return sum((_judge_not_deleted(item, answer, max_attempts) for item in others), deleted)


def _judge_not_deleted(item: Item, answer: PerFile, max_attempts: int) -> Settlements:
    """Retry or fail an item of a call that was carried out; that call may also be why a later one answers 404."""
    if item.attempts + 1 < max_attempts:
        return retry([item], backoff_ms(item.attempts + 1), Doubt.UNANSWERED)
    error = answer.errors.get(item.file_id, "the API did not report its outcome")
    return end([item], Outcome.FAILED, error, doubt=Doubt.UNANSWERED)


def _judge_missing(claim: Claim, sent: Sequence[Item], answer: Missing) -> Settlements:
    missing = [item for item in sent if item.file_id in answer.file_ids]
    return (
        end((item for item in missing if item.doubt is Doubt.NONE), Outcome.NOT_FOUND)
        + end((item for item in missing if item.doubt is not Doubt.NONE), Outcome.PRESUMED_DELETED)
        + snooze(claim, (item for item in sent if item.file_id not in answer.file_ids))
    )
