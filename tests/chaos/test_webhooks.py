"""SIGKILL of workers while they send webhooks: each webhook arrives, and never twice at the same time."""

from __future__ import annotations

import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.webhooks import WebhookAdmin
from tests.chaos.processes import Proc, say, wait_until
from tests.chaos.rig import Rig
from tests.integration.support_receiver import Received, Receiver
from tests.unit.support_webhooks import SECRET

pytestmark = pytest.mark.chaos

SETTINGS: dict[str, Any] = {
    "webhook_secret": SECRET,
    "webhook_allow": '["127.0.0.0/8"]',
    "webhook_timeout_seconds": 1,
    "lease_seconds": 3,
    "rate_limits": "[]",
}
LEASE_SECONDS = 16.0
"""Of a webhook, with that timeout."""


def ask(rig: Rig, number: int, url: str) -> list[str]:
    """Enqueue so many requests of one file with a callback."""
    files = rig.sim.remaining()[:number]
    return [rig.client.enqueue([file], callback=url, request_id=f"hook-{at}") for at, file in enumerate(files)]


def states(rig: Rig) -> dict[str, str]:
    """Return how each request's webhook stands."""
    return {each["request_id"]: each["state"] for each in WebhookAdmin(rig.settings).webhooks()}


def await_delivered(rig: Rig, requests: list[str], seconds: float) -> None:
    wait_until(lambda: states(rig) == dict.fromkeys(requests, "delivered"), seconds, "all webhooks are delivered")


@pytest.mark.timeout(180)
def test_a_worker_killed_between_the_post_and_its_record_loses_nothing(tmp_path: Path) -> None:
    """Another sends the webhook again under the same id, when the lease has run out, and not before."""
    with Rig(tmp_path, files=1, **SETTINGS) as rig:
        first, second = rig.worker("first"), None
        arrived: list[float] = []

        def kill_at_the_first(_: Received) -> int:
            arrived.append(time.monotonic())
            if len(arrived) == 1:
                first.kill()
                return 0
            return 204

        with Receiver(SECRET, kill_at_the_first) as receiver:
            requests = ask(rig, 1, receiver.url)
            wait_until(lambda: len(arrived) == 1, 60, "the first POST arrives")
            second = rig.worker("second")
            await_delivered(rig, requests, 90)
            assert second.running
            assert len({each.webhook_id for each in receiver.received}) == 1
            assert len(arrived) == 2
            assert arrived[1] - arrived[0] > LEASE_SECONDS - 2


@pytest.mark.timeout(120)
def test_a_worker_that_is_stopped_waits_for_the_receiver(tmp_path: Path) -> None:
    """The webhook on its way is delivered and recorded once; a restart makes no duplicate."""
    with Rig(tmp_path, files=1, **{**SETTINGS, "webhook_timeout_seconds": 10, "stop_seconds": 10}) as rig:
        worker = rig.worker()

        def stop_and_take_time(_: Received) -> int:
            worker.signal(signal.SIGTERM)
            threading.Event().wait(2)
            return 204

        with Receiver(SECRET, stop_and_take_time) as receiver:
            requests = ask(rig, 1, receiver.url)
            wait_until(lambda: receiver.received, 60, "the POST arrives")
            worker.wait(20)
            assert states(rig) == dict.fromkeys(requests, "delivered")
            assert len(receiver.received) == 1


class Whims:
    """Answers late, and refuses some webhooks once; hands out the moments at which it is asked."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._lock = threading.Lock()
        self._seen: set[str] = set()

    def __call__(self, received: Received) -> int:
        with self._lock:
            is_new = received.webhook_id not in self._seen
            self._seen.add(received.webhook_id)
            pause, refuses = self._dice.uniform(0.02, 0.4), is_new and self._dice.random() < 0.03
        threading.Event().wait(pause)
        return 503 if refuses else 204


def kill_until_delivered(rig: Rig, dice: random.Random, workers: list[Proc], total: int, most: int) -> int:
    """Kill workers at random while webhooks are sent, and start them again; return how often."""
    for kills in range(most):
        strike_at = time.monotonic() + dice.uniform(0.5, 2.5)
        while time.monotonic() < strike_at:
            if sum(state == "delivered" for state in states(rig).values()) >= total * 0.95:
                return kills
            time.sleep(0.1)
        worker = dice.choice(workers)
        worker.kill()
        worker.start()
    return most


@pytest.mark.timeout(240)
def test_kills_while_sending_lose_no_webhook(tmp_path: Path) -> None:
    """Every request's webhook arrives with a good signature; none is on its way twice at the same time."""
    seed = random.SystemRandom().randrange(1, 10**6)
    say(f"CHAOS_SEED={seed}")
    dice = random.Random(seed)
    with Receiver(SECRET, Whims(random.Random(seed))) as receiver, Rig(tmp_path, files=250, **SETTINGS) as rig:
        workers = [rig.worker("threads"), rig.worker("prefork", "prefork", 2)]
        rig.await_workers(*workers)
        requests = ask(rig, 250, receiver.url)
        kills = kill_until_delivered(rig, dice, workers, len(requests), 8)
        await_delivered(rig, requests, 120)
        sent = [each.event["data"]["request_id"] for each in receiver.received]
        say(f"{len(requests)} webhooks, {len(sent)} POSTs, {kills} kills of workers")
        assert set(sent) == set(requests)
        assert receiver.overlapped == set()
        assert receiver.forged == 0
