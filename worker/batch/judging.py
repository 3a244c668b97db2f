"""From an answer of the API to what becomes of each item: one branch for each ending of a call. Pure functions.

deleted              the API said so
not_found            the API said it does not exist, and no earlier call of ours can have removed it
presumed_deleted     the API said it does not exist, after a call of ours whose answer was lost
failed               refused for a reason of its own, or out of attempts
back to waiting      *retry*: it failed by itself, an attempt is spent; *park*: nothing is its fault, none is
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker.imagekit.answers import Answer, KeyRefused, Listed, Missing, Refused, Throttled, Unanswered
from worker.queue.claims import Claim, Item, Verdict
from worker.states import Doubt, Outcome
from worker.times import backoff_ms

ISOLATE_AFTER = 2
"""Failed calls of one group, with successes of others between them, after which it is split."""
ISOLATE_ALONE_AFTER = 3
"""The same where there are no others whose calls could succeed."""


@dataclass(frozen=True)
class Circumstances:
    """What else the judgement of a failed call depends on."""

    max_attempts: int
    others_succeeded: bool = False
    """Whether a call has succeeded since this group failed before, as most do."""
    others_wait: bool = True
    """Whether there is other work that would show whether the API is up."""


NewToken = Callable[[], str]


def judge(claim: Claim, sent: Sequence[Item], answer: Answer, about: Circumstances, new_token: NewToken) -> Verdict:
    """Return what becomes of the items of `claim` that were sent, given the answer."""
    verdict = Verdict()
    match answer:
        case Listed():
            _judge_listed(verdict, sent, answer, about.max_attempts)
        case Missing():
            _judge_missing(verdict, claim, sent, answer, new_token)
        case Refused() if len(sent) == 1:
            verdict.end(sent, Outcome.FAILED, answer.message)
        case Refused():
            _split(verdict, sent, fails=claim.fails, delay_ms=0, doubt=Doubt.NONE, new_token=new_token)
        case KeyRefused() | Throttled():
            verdict.park(new_token(), sent, fails=claim.fails, suspect=claim.suspect)
        case Unanswered():
            _judge_unanswered(verdict, claim, sent, answer, about, new_token)
    return verdict


def judge_known(items: Sequence[Item]) -> Verdict:
    """Return the verdict over items whose file an earlier call of ours deleted: no call is needed to know."""
    verdict = Verdict()
    verdict.end(items, Outcome.DELETED, spent=0)
    return verdict


def _judge_listed(verdict: Verdict, sent: Sequence[Item], answer: Listed, max_attempts: int) -> None:
    verdict.end((item for item in sent if item.file_id in answer.deleted), Outcome.DELETED)
    for item in sent:
        if item.file_id in answer.deleted:
            continue
        error = answer.errors.get(item.file_id, "the API did not say what became of it")
        if item.attempts + 1 >= max_attempts:
            verdict.end([item], Outcome.FAILED, error, doubt=Doubt.UNANSWERED)
        else:
            # Carried out, but not said to be deleted: should it be missing next time, then perhaps through this call.
            verdict.retry([item], backoff_ms(item.attempts + 1), Doubt.UNANSWERED)


def _judge_missing(verdict: Verdict, claim: Claim, sent: Sequence[Item], answer: Missing, new_token: NewToken) -> None:
    missing = [item for item in sent if item.file_id in answer.file_ids]
    verdict.end((item for item in missing if item.doubt is Doubt.NONE), Outcome.NOT_FOUND)
    verdict.end((item for item in missing if item.doubt is not Doubt.NONE), Outcome.PRESUMED_DELETED)
    rest = (item for item in sent if item.file_id not in answer.file_ids)
    verdict.park(new_token(), rest, fails=claim.fails, suspect=claim.suspect)


def _judge_unanswered(
    verdict: Verdict,
    claim: Claim,
    sent: Sequence[Item],
    answer: Unanswered,
    about: Circumstances,
    new_token: NewToken,
) -> None:
    if not answer.sent:
        verdict.park(new_token(), sent, fails=claim.fails, suspect=claim.suspect)
        return
    fails = claim.fails + 1
    # In an outage the account waits as a whole; if each group did so by itself, the last would come long after the end.
    delay_ms = backoff_ms(fails if about.others_succeeded else 1)
    if claim.suspect and len(sent) == 1:
        _judge_lone_suspect(verdict, claim, sent, answer, about, new_token)
    elif (about.others_succeeded and fails >= ISOLATE_AFTER) or (
        not about.others_wait and fails >= ISOLATE_ALONE_AFTER
    ):
        _split(verdict, sent, fails=0, delay_ms=delay_ms, doubt=Doubt.UNANSWERED, new_token=new_token)
    else:
        verdict.park(new_token(), sent, delay_ms=delay_ms, fails=fails, suspect=claim.suspect, doubt=Doubt.UNANSWERED)


def _judge_lone_suspect(
    verdict: Verdict,
    claim: Claim,
    sent: Sequence[Item],
    answer: Unanswered,
    about: Circumstances,
    new_token: NewToken,
) -> None:
    """Judge an id that fails by itself: each failure while others succeed is an attempt of its own."""
    attempts = claim.fails + 1 if about.others_succeeded or claim.fails == 0 else claim.fails
    if attempts >= about.max_attempts and about.others_succeeded:
        error = f"every call with this id failed: {answer.reason}"
        verdict.end(sent, Outcome.FAILED, error, spent=attempts, doubt=Doubt.UNANSWERED)
    else:
        verdict.park(
            new_token(),
            sent,
            delay_ms=backoff_ms(attempts),
            fails=attempts,
            suspect=True,
            doubt=Doubt.UNANSWERED,
        )


def _split(
    verdict: Verdict, sent: Sequence[Item], *, fails: int, delay_ms: int, doubt: Doubt, new_token: NewToken
) -> None:
    """Park both halves by themselves, so that the culprit stands alone in the end and its companions go free."""
    middle = (len(sent) + 1) // 2
    for half in (sent[:middle], sent[middle:]):
        if half:
            verdict.park(new_token(), half, delay_ms=delay_ms, fails=fails, suspect=True, doubt=doubt)
