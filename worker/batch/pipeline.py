"""The pipeline of one batch, top to bottom: slot → claim → call → judge → settle → publish.

A batch makes at most one call. Items that are not settled return to the queue, so no thread blocks and a crash
loses nothing.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from worker.batch.isolation import Circumstances, needs_witness, shows_health
from worker.batch.judging import judge, judge_known
from worker.calls import Gate, Permit
from worker.imagekit.answers import Answer, Unanswered
from worker.limiter.slots import Health
from worker.logs import log_fields
from worker.queue.claims import Claim, Item, Settlements, snooze
from worker.queue.leases import LeaseKeeper
from worker.queue.operations import Queue
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
    claimed_at: float = -math.inf
    """When this process last claimed a batch, in monotonic seconds."""

    def run(self, fewest: int = 1) -> Ran:
        """Run one batch, if at least `fewest` ids wait.

        Raises:
            redis.exceptions.RedisError: Redis is unavailable; claimed items are reclaimed when their lease expires.
        """
        permit = self.gate.ask(uuid.uuid4().hex)
        if not permit.granted:
            return Ran.NO_SLOT
        claim = self.queue.claim(permit.call_id, fewest)
        if claim is None:
            self.gate.give_back(permit)
            return Ran.NO_WORK
        self.claimed_at = time.monotonic()
        with self.leases.renewed(claim.token), log_fields(request_ids=claim.request_ids()):
            finished = self._carry_out(claim, permit)
        if finished:
            self.publish(finished)
        is_full = len(claim.items) >= self.batch_size or claim.fails or claim.suspect
        return Ran.FULL if is_full else Ran.PARTIAL

    def _carry_out(self, claim: Claim, permit: Permit) -> list[str]:
        known = [item for item in claim.items if item.doubt is Doubt.GONE]
        to_send = [item for item in claim.items if item.doubt is not Doubt.GONE]
        settlements = judge_known(known)
        if to_send:
            settlements += self._send(claim, to_send, permit)
        else:
            self.gate.give_back(permit)
        return outlast(lambda: self.queue.settle(claim.token, settlements))

    def _send(self, claim: Claim, to_send: list[Item], permit: Permit) -> Settlements:
        if witness := self._witness_for(claim, to_send):
            self.gate.make(permit, lambda: self.api.delete([witness]), shows_health=True)
            return snooze(claim, to_send)
        file_ids = [item.file_id for item in to_send]
        answer, health = self.gate.make(permit, lambda: self.api.delete(file_ids), shows_health=shows_health(claim))
        return judge(claim, to_send, answer, self._circumstances(claim, answer, health))

    def _witness_for(self, claim: Claim, to_send: list[Item]) -> str | None:
        """Return the id of a file that is already gone, if a call with it must show first that the API is up."""
        if not needs_witness(claim, to_send) or self.gate.limiter.read_health().succeeded_within(claim.failed_ago()):
            return None
        return self.queue.any_gone_id()

    def _circumstances(self, claim: Claim, answer: Answer, health: Health) -> Circumstances:
        return Circumstances(
            max_attempts=self.max_attempts,
            others_succeeded=health.is_healthy and health.succeeded_within(claim.failed_ago()),
            others_wait=not isinstance(answer, Unanswered) or self._others_wait(),
        )

    def _others_wait(self) -> bool:
        work = self.queue.peek(1)
        return work.claimable > 0 or work.groups > 0
