"""The gate: when a call counts towards the limit."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis import Redis

from tests.unit.support_limiter import KEYS, limiter_on
from worker.calls import Gate, Permit
from worker.imagekit.answers import Meta, PerFile


def counted_at(client: Any, permit: Permit) -> float:
    """Return the time from which the limiter counts a call, ms since 1970."""
    return float(client.zscore(KEYS.calls("delete"), permit.call_id))


@pytest.mark.parametrize("response_seconds", [0.0, 0.03])
def test_a_call_counts_from_when_it_was_sent(redis_client: Redis, response_seconds: float) -> None:
    """A call sent 400 ms after its slot counts 400 ms later; how long the response takes makes no difference."""
    gate = Gate(limiter_on(redis_client, (5, 10_000)))
    permit = gate.ask("one")
    slot_ms = counted_at(redis_client, permit)

    def call() -> PerFile:
        time.sleep(response_seconds)
        return PerFile(frozenset(), {}, meta=Meta(sent_at=permit.slot_at + 0.4))

    gate.make(permit, call)
    assert counted_at(redis_client, permit) == slot_ms + 400


def test_a_call_that_was_not_sent_completely_counts_from_its_end(redis_client: Redis) -> None:
    """It may have reached the API at any moment until then."""
    gate = Gate(limiter_on(redis_client, (5, 10_000)))
    permit = gate.ask("one")
    slot_ms = counted_at(redis_client, permit)

    def call() -> PerFile:
        time.sleep(0.03)
        return PerFile(frozenset(), {}, meta=Meta(sent_at=None))

    gate.make(permit, call)
    assert counted_at(redis_client, permit) >= slot_ms + 30
