"""The pipeline of one batch, top to bottom: slot → claim → call → judge → settle → publish.

A batch makes at most one call. Items that are not settled return to the queue, so no thread blocks and a crash
loses nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from worker.batch.isolation import Circumstances, needs_witness, shows_health
from worker.batch.judging import judge, judge_known
from worker.batch.turns import Turn, Turns
from worker.calls import Gate, Permit
from worker.imagekit.answers import Answer, Unanswered
from worker.limiter.slots import Call, Health
from worker.logs import log_fields
from worker.queue.claims import Claim, Item, Settlements, snooze
from worker.queue.leases import LeaseKeeper
from worker.queue.operations import Queue
from worker.states import Doubt


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


@dataclass(eq=False)
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

    def __post_init__(self) -> None:
        """Join the queue and the limiter."""
        self._turns = Turns(self.queue, self.gate.limiter)

    def run(self, goes_on: Callable[[], bool] = lambda: False) -> Ran:
        """Run one batch; then others back to back, while they are full and `goes_on` says so.

        Raises:
            redis.exceptions.RedisError: Redis is unavailable; claimed items are reclaimed when their lease expires.
        """
        turn = self._turns.begin(fewest=1)
        ran = Ran.NO_WORK if turn.permit and turn.permit.granted else Ran.NO_SLOT
        while turn.permit and turn.claim:
            ran, turn = self._run_one(turn.claim, turn.permit, goes_on)
        return ran

    def _run_one(self, claim: Claim, permit: Permit, goes_on: Callable[[], bool]) -> tuple[Ran, Turn]:
        """Run the batch of a claim, and begin the next if it was full."""
        self.claimed_at = time.monotonic()
        is_full = len(claim.items) >= self.batch_size or claim.fails > 0 or claim.suspect
        with self.leases.renewed(claim.token), log_fields(request_ids=claim.request_ids()):
            made, settlements = self._carry_out(claim, permit)
            fewest = self.batch_size if is_full and goes_on() else None
            turn = self._turns.end(claim, settlements, made, fewest)
        if turn.finished:
            self.publish(turn.finished)
            turn = self._turns.begin(fewest) if fewest else turn
        return Ran.FULL if is_full else Ran.PARTIAL, turn

    def _carry_out(self, claim: Claim, permit: Permit) -> tuple[Call | None, Settlements]:
        """Make the call of a claim; return it, unless the limiter knows of it, and how the items go on."""
        known = judge_known([item for item in claim.items if item.doubt is Doubt.GONE])
        to_send = [item for item in claim.items if item.doubt is not Doubt.GONE]
        if not to_send:
            self.gate.give_back(permit)
            return None, known
        made, settlements = self._send(claim, to_send, permit)
        return made, known + settlements

    def _send(self, claim: Claim, to_send: list[Item], permit: Permit) -> tuple[Call | None, Settlements]:
        if witness := self._witness_for(claim, to_send):
            self.gate.make(permit, lambda: self.api.delete([witness]), files=1, shows_health=True)
            return None, snooze(claim, to_send)
        file_ids = [item.file_id for item in to_send]
        answer, made = self.gate.only_make(
            permit, lambda: self.api.delete(file_ids), files=len(file_ids), shows_health=shows_health(claim)
        )
        if not isinstance(answer, Unanswered):
            return made, judge(claim, to_send, answer, Circumstances(self.max_attempts))
        circumstances = self._circumstances(claim, self.gate.record(made))
        return None, judge(claim, to_send, answer, circumstances)

    def _witness_for(self, claim: Claim, to_send: list[Item]) -> str | None:
        """Return the id of a file that is already gone, if a call with it must show first that the API is up."""
        if not needs_witness(claim, to_send) or self.gate.limiter.read_health().succeeded_within(claim.failed_ago()):
            return None
        return self.queue.any_gone_id()

    def _circumstances(self, claim: Claim, health: Health) -> Circumstances:
        """Return what a call without an answer is judged by."""
        work = self.queue.peek(1)
        return Circumstances(
            max_attempts=self.max_attempts,
            others_succeeded=health.is_healthy and health.succeeded_within(claim.failed_ago()),
            others_wait=work.claimable > 0 or work.groups > 0,
        )
