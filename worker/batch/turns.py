"""The step between two batches, one round trip to Redis: record the call, settle the claim, take a slot, claim anew."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import NamedTuple

from worker.calls import HORIZON_MS, Permit, permit_of
from worker.limiter.slots import Call, Limiter
from worker.queue.claims import Claim, Settlements
from worker.queue.operations import Queue
from worker.store.connection import outlast


class Turn(NamedTuple):
    """What the step between two batches brings."""

    finished: list[str]
    """Requests that are final now; until they are published, no batch begins."""
    permit: Permit | None
    """None if no batch was to begin."""
    claim: Claim | None


@dataclass(frozen=True)
class Turns:
    """Ends and begins batches."""

    queue: Queue
    limiter: Limiter

    def begin(self, fewest: int) -> Turn:
        """Take a slot, and claim a group or at least `fewest` ids; the slot is given back if there are none."""
        return self._take("", "", uuid.uuid4().hex, fewest)

    def end(self, claim: Claim, settlements: Settlements, made: Call | None, fewest: int | None) -> Turn:
        """Record the call, if one is given, and settle the claim; then `begin`, unless `fewest` is None."""
        settling, call_id = self.queue.settling(claim.token, settlements).packed(), uuid.uuid4().hex
        recording = self.limiter.recording(made).packed() if made else ""
        return outlast(lambda: self._take(recording, settling, call_id, fewest))

    def _take(self, recording: str, settling: str, call_id: str, fewest: int | None) -> Turn:
        slots, claims = self.limiter.acquiring(call_id, HORIZON_MS), self.queue.claiming(call_id, fewest or 0)
        finished, slot, claimed = self.queue.scripts.run(
            "batch/turn", {"begin": fewest is not None}, recording, settling, slots.packed(), claims.packed()
        )
        return Turn(finished, permit_of(call_id, slots.read(slot)) if slot else None, claims.read(claimed))
