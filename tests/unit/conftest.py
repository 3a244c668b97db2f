"""Fixtures of all unit tests."""

from collections.abc import Iterator

import pytest
from kombu.transport import memory
from redis import Redis

import tasks.client
from tasks.client import Client
from tests.unit.support_queue import queue_on, settings_for_tests
from worker.queue.operations import Queue


@pytest.fixture(autouse=True)
def _empty_broker() -> Iterator[None]:
    """Drop messages that a test leaves in the broker in memory, which all tests of a process share."""
    yield
    memory.Channel.queues.clear()


@pytest.fixture
def client(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Return a client on the test's Redis."""
    monkeypatch.setattr(tasks.client, "connect", lambda _: redis_client)
    return Client(settings_for_tests())


@pytest.fixture
def queue(redis_client: Redis) -> Queue:
    """Return the queue on the test's Redis."""
    return queue_on(redis_client)
