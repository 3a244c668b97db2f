"""The threads of a worker that send webhooks."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from tests.unit.support_queue import settings_for_tests
from tests.unit.support_webhooks import SECRET
from tests.waiting import wait_until
from worker.runtime.process import create_app
from worker.runtime.webhooks import THREADS, WebhookStep


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("kitsweep-webhooks")]


@pytest.mark.parametrize(("secret", "threads"), [("", 0), (SECRET, THREADS)], ids=["no secret", "a secret"])
def test_threads_run_only_with_a_secret(fake_redis: Redis, secret: str, threads: int) -> None:
    """An account without webhooks pays for none; a stop ends all."""
    worker: Any = SimpleNamespace(app=create_app(settings_for_tests(webhook_secret=secret), fake_redis))
    step = WebhookStep(worker)
    step.start(worker)
    assert len(running()) == threads
    step.stop(worker)
    wait_until(lambda: running() == [])
