"""Callers that delete file after file: once all of them wait, their batch goes."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from redis import Redis

from tests.unit.support_queue import queue_on, raw
from tests.unit.support_web import StandInWorker, context_on, with_app
from web.dropin.returning import Returning
from worker.store.keys import ALL_WAIT

A, B, C = (("127.0.0.1", port) for port in (1, 2, 3))


def test_the_last_caller_to_return_is_noticed() -> None:
    """A caller that was not answered lately is no reason to start: others may be about to call for the first time."""
    callers = Returning(0.2, lambda: 100.0)
    assert not callers.is_last(A)
    callers.answered(A)
    callers.answered(B)
    assert not callers.is_last(B)
    assert not callers.is_last(C)
    assert callers.is_last(A)
    assert not callers.is_last(A)


def test_a_caller_that_stays_away_is_not_waited_for() -> None:
    """A connection may be closed, or idle."""
    now = 100.0
    callers = Returning(0.2, lambda: now)
    callers.answered(A)
    now += 0.15
    callers.answered(B)
    assert not callers.is_last(C)
    now += 0.1
    assert callers.is_last(B)


def test_the_drop_in_tells_workers_that_all_callers_wait(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the second call of a connection, not with its first."""
    queue = queue_on(redis_client)
    context = context_on(redis_client, monkeypatch, batch_window_seconds=20)
    channel: Any = raw(queue).pubsub(ignore_subscribe_messages=True)
    channel.subscribe(queue.keys("enqueued"))

    async def delete_two(client: httpx2.AsyncClient) -> list[int]:
        return [(await client.delete(f"/v1/files/{name}")).status_code for name in ("a", "b")]

    with StandInWorker(queue):
        assert with_app(context, delete_two) == [204, 204]
    messages = [message["data"] for _ in range(10) if (message := channel.get_message(timeout=0.1))]
    assert messages == ["", ALL_WAIT]
    context.close()
