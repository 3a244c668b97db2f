"""The pipeline of one batch, top to bottom: slot → claim → call → classify → settle → publish.

A batch makes at most one call. Whatever is left of it goes back to the queue, and the next batch finds it there: so no
place in the pool is held while waiting, and a worker that dies takes nothing with it.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol, TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from worker.batch.judging import ISOLATE_AFTER, ISOLATE_ALONE_AFTER, Circumstances, judge, judge_known
from worker.imagekit.answers import Answer, KeyRefused, Listed, Missing, Refused, Throttled, Unanswered
from worker.limiter.slots import Kind, Learned, Limiter, Slot
from worker.limiter.transit import Arrivals
from worker.queue.claims import Claim, Item, Verdict
from worker.queue.leases import LeaseKeeper
from worker.queue.operations import Queue, Settled
from worker.states import Doubt

logger = logging.getLogger(__name__)

HORIZON_MS = 50
"""How long a batch may wait for its slot in its place of the pool."""
SETTLE_PATIENCE_SECONDS = 55.0
"""How long an answer is kept in hand while Redis is away; below the grace that a stop gives (60 s)."""

T = TypeVar("T")


class Api(Protocol):
    """What the pipeline needs of the ImageKit client."""

    def delete(self, file_ids: list[str]) -> Answer:
        """Make the bulk call."""
        ...


class Ran(Enum):
    """How a batch ended."""

    FULL = auto()
    """It had work for a whole call: there may be more at once."""
    PARTIAL = auto()
    """It took all there was."""
    NO_WORK = auto()
    NO_SLOT = auto()


@dataclass
class Engine:
    """The parts that a batch works with."""

    queue: Queue
    limiter: Limiter
    api: Api
    leases: LeaseKeeper
    batch_size: int
    max_attempts: int
    publish: Callable[[list[str]], None]
    """Hands finished requests to the result backend."""
    arrivals: Arrivals = field(default_factory=Arrivals)


def new_token() -> str:
    """Return a new claim token."""
    return uuid.uuid4().hex


def run_batch(engine: Engine, fewest: int = 1) -> Ran:
    """Run one batch; `fewest` ids make it worth a call.

    Raises:
        redis.exceptions.RedisError: Redis went away; what was claimed comes back by itself when its lease runs out.
    """
    token = new_token()
    slot = engine.limiter.acquire(token, HORIZON_MS)
    if not slot.granted:
        return Ran.NO_SLOT
    spend_at = time.monotonic() + slot.wait_ms / 1000
    claim = engine.queue.claim(token, fewest)
    if claim is None:
        engine.limiter.give_back(token)
        return Ran.NO_WORK
    with engine.leases.kept(token):
        settled = _carry_out(engine, claim, slot, spend_at)
    if settled.finished:
        engine.publish(settled.finished)
    return Ran.FULL if len(claim.items) >= engine.batch_size or claim.fails or claim.suspect else Ran.PARTIAL


def _carry_out(engine: Engine, claim: Claim, slot: Slot, spend_at: float) -> Settled:
    known = [item for item in claim.items if item.doubt is Doubt.GONE]
    to_send = [item for item in claim.items if item.doubt is not Doubt.GONE]
    verdict = judge_known(known)
    if not to_send:
        engine.limiter.give_back(claim.token)
    elif witness := _witness_for(engine, claim, to_send):
        _sleep_until(spend_at)
        _record(engine, claim, engine.api.delete([witness]), slot, spend_at, shows_health=True)
        verdict.park(new_token(), to_send, fails=claim.fails, suspect=claim.suspect)
    else:
        _sleep_until(spend_at)
        answer = engine.api.delete([item.file_id for item in to_send])
        # A group that has failed before says more of itself than of the API.
        is_fresh = not claim.suspect and claim.fails < ISOLATE_AFTER
        learned = _record(engine, claim, answer, slot, spend_at, shows_health=is_fresh)
        verdict.extend(_classify(engine, claim, to_send, answer, learned))
    return _while_redis_is_away(lambda: engine.queue.settle(claim.token, verdict))


def _witness_for(engine: Engine, claim: Claim, to_send: list[Item]) -> str | None:
    """Return a file id that tells an outage from an id whose every call fails, when nothing else can.

    A lone suspect, or a group that failed as often as would split it, with no success of others since, proves nothing:
    the API may be down. (Other work may wait, and yet be unable to show it: the same file ids, asked for by another
    request.) So the call is made with a file that is gone already, which deletes nothing and shows whether the API is
    up.
    """
    lonely = claim.suspect and len(to_send) == 1 and claim.fails > 0
    if not lonely and claim.fails < ISOLATE_ALONE_AFTER - 1:
        return None
    if engine.limiter.success().succeeded_within(claim.failed_ago()):
        return None
    return engine.queue.any_gone_id()


def _classify(engine: Engine, claim: Claim, sent: list[Item], answer: Answer, learned: Learned) -> Verdict:
    about = Circumstances(
        max_attempts=engine.max_attempts,
        others_succeeded=learned.is_healthy and learned.succeeded_within(claim.failed_ago()),
        others_wait=not isinstance(answer, Unanswered) or _others_wait(engine),
    )
    return judge(claim, sent, answer, about, new_token)


def _others_wait(engine: Engine) -> bool:
    work = engine.queue.peek(1)
    return work.claimable > 0 or work.groups > 0


def _record(
    engine: Engine, claim: Claim, answer: Answer, slot: Slot, spend_at: float, *, shows_health: bool
) -> Learned:
    """Tell the limiter, and so every worker, what the answer says of the API as a whole."""
    kind, reason, reset_ms = Kind.OK, "", None
    match answer:
        case Listed() | Missing() | Refused():
            pass
        case KeyRefused(message=message):
            kind, reason = Kind.KEY_REFUSED, f"ImageKit refuses the private key: {message}"
        case Throttled(meta=meta):
            kind, reason, reset_ms = Kind.THROTTLED, "ImageKit answered 429", meta.reset_ms
        case Unanswered(reason=why):
            kind, reason = Kind.TROUBLE, f"ImageKit does not answer: {why}"
    late_ms = engine.arrivals.late_ms(spend_at, answer.meta.sent_at)
    return _while_redis_is_away(
        lambda: engine.limiter.record(
            kind,
            reason=reason,
            reset_ms=reset_ms,
            probe=slot.probe,
            learned=answer.meta.limits,
            call_id=claim.token,
            late_ms=late_ms,
            shows_health=shows_health,
        )
    )


def _while_redis_is_away(act: Callable[[], T]) -> T:
    """Act, and again while Redis is away: what the API answered must not be forgotten."""
    give_up = time.monotonic() + SETTLE_PATIENCE_SECONDS
    pause = 0.1
    while True:
        try:
            return act()
        except (RedisConnectionError, RedisTimeoutError) as error:
            if time.monotonic() + pause > give_up:
                raise
            logger.warning("an answer waits for Redis: %s", error)
            time.sleep(pause)
            pause = min(2.0, pause * 2)


def _sleep_until(moment: float) -> None:
    left = moment - time.monotonic()
    if left > 0:
        time.sleep(left)
