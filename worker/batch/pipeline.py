"""The pipeline of one batch, top to bottom: slot → claim → call → judge → settle → publish.

A batch makes at most one call. Items that are not settled return to the queue, so no thread blocks and a crash
loses nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from worker.batch.judging import ISOLATE_AFTER, ISOLATE_ALONE_AFTER, Circumstances, judge, judge_known
from worker.calls import Gate, Permit
from worker.imagekit.answers import Answer, Unanswered
from worker.limiter.slots import Learned
from worker.queue.claims import Claim, Item, Verdict
from worker.queue.leases import LeaseKeeper
from worker.queue.operations import Queue, Settled
from worker.states import Doubt
from worker.store.connection import outlast


class Api(Protocol):
    """What the pipeline needs of the ImageKit client."""

    def delete(self, file_ids: list[str]) -> Answer:
        """Make the bulk call."""
        ...


class Ran(Enum):
    """How a batch ended."""

    FULL = auto()
    """It filled a whole call: there may be more work."""
    PARTIAL = auto()
    """It took all there was."""
    NO_WORK = auto()
    NO_SLOT = auto()


def new_token() -> str:
    """Return a new claim token."""
    return uuid.uuid4().hex


@dataclass
class Batches:
    """Runs the batches of one account."""

    queue: Queue
    gate: Gate
    api: Api
    leases: LeaseKeeper
    batch_size: int
    max_attempts: int
    publish: Callable[[list[str]], None]
    """Hands finished requests to the result backend."""

    def run(self, fewest: int = 1) -> Ran:
        """Run one batch, if at least `fewest` ids wait.

        Raises:
            redis.exceptions.RedisError: Redis went away; claimed items come back when their lease runs out.
        """
        permit = self.gate.ask(new_token())
        if not permit.granted:
            return Ran.NO_SLOT
        claim = self.queue.claim(permit.call_id, fewest)
        if claim is None:
            self.gate.give_back(permit)
            return Ran.NO_WORK
        with self.leases.renewed(claim.token):
            settled = self._carry_out(claim, permit)
        if settled.finished:
            self.publish(settled.finished)
        is_full = len(claim.items) >= self.batch_size or claim.fails or claim.suspect
        return Ran.FULL if is_full else Ran.PARTIAL

    def _carry_out(self, claim: Claim, permit: Permit) -> Settled:
        known = [item for item in claim.items if item.doubt is Doubt.GONE]
        to_send = [item for item in claim.items if item.doubt is not Doubt.GONE]
        verdict = judge_known(known)
        if to_send:
            verdict.extend(self._send(claim, to_send, permit))
        else:
            self.gate.give_back(permit)
        return outlast(lambda: self.queue.settle(claim.token, verdict))

    def _send(self, claim: Claim, to_send: list[Item], permit: Permit) -> Verdict:
        if witness := self._witness_for(claim, to_send):
            self.gate.make(permit, lambda: self.api.delete([witness]), shows_health=True)
            verdict = Verdict()
            verdict.park(new_token(), to_send, fails=claim.fails, suspect=claim.suspect)
            return verdict
        # A group that failed before says more about itself than about the API.
        is_fresh = not claim.suspect and claim.fails < ISOLATE_AFTER
        file_ids = [item.file_id for item in to_send]
        answer, learned = self.gate.make(permit, lambda: self.api.delete(file_ids), shows_health=is_fresh)
        return judge(claim, to_send, answer, self._circumstances(claim, answer, learned), new_token)

    def _witness_for(self, claim: Claim, to_send: list[Item]) -> str | None:
        """Return the id of a file that is gone already, when a call with it must tell an outage from a bad id.

        A lone suspect, or a group about to be split, with no success of others since its failure, proves nothing: the
        API may be down. Deleting the witness changes nothing and shows whether the API is up.
        """
        lonely = claim.suspect and len(to_send) == 1 and claim.fails > 0
        if not lonely and claim.fails < ISOLATE_ALONE_AFTER - 1:
            return None
        if self.gate.limiter.success().succeeded_within(claim.failed_ago()):
            return None
        return self.queue.any_gone_id()

    def _circumstances(self, claim: Claim, answer: Answer, learned: Learned) -> Circumstances:
        return Circumstances(
            max_attempts=self.max_attempts,
            others_succeeded=learned.is_healthy and learned.succeeded_within(claim.failed_ago()),
            others_wait=not isinstance(answer, Unanswered) or self._others_wait(),
        )

    def _others_wait(self) -> bool:
        work = self.queue.peek(1)
        return work.claimable > 0 or work.groups > 0
