"""Stopping: calls in flight are finished and settled, nothing new is claimed, and it is quick."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.chaos.honesty import await_final, check_honest
from tests.chaos.processes import say, wait_until
from tests.chaos.rig import Rig

pytestmark = pytest.mark.chaos

POOLS = [("threads", 6), ("prefork", 4)]
DOCKER_SECONDS = 10.0
"""What `docker stop` waits before it kills."""


def leases(rig: Rig) -> int:
    """How many claims are held."""
    return int(rig.redis.zcard(rig.keys("leases")))


@pytest.mark.parametrize(("pool", "size"), POOLS)
def test_sigterm_finishes_calls_in_flight_and_claims_nothing_new(tmp_path: Path, pool: str, size: int) -> None:
    """Within docker's 10 s the worker is gone, every claim is settled, and what waits is untouched."""
    api = {"latency_ms": 800}
    with Rig(tmp_path, files=6000, api=api, batch_size=10) as rig:
        ids = rig.sim.remaining()
        request = rig.client.enqueue(ids)
        worker = rig.worker("w1", pool, size)
        rig.await_workers(worker)
        rig.sim.wait_for(lambda stats: stats["calls"] > 10 and stats["in_flight"] >= size - 1, timeout=30)
        worker.signal(signal.SIGTERM)
        begun = time.time()
        took = worker.wait(DOCKER_SECONDS)
        late = [call for call in rig.sim.calls() if call.at > begun + 0.3]
        report = rig.client.status(request)
        say(f"\n{pool}: stopped {took:.1f} s after SIGTERM, with calls of 0.8 s; exit status {worker.exit_status}")
        assert worker.exit_status == 0, worker.tail()
        assert late == [], "no call begins after the signal"
        assert (leases(rig), report["in_flight"]) == (0, 0)
        assert report["deleted"] == rig.sim.stats()["deleted"] == len(ids) - report["waiting"]


@pytest.mark.parametrize(("pool", "size"), POOLS)
def test_sigterm_aborts_a_hanging_call_in_time(tmp_path: Path, pool: str, size: int) -> None:
    """Within docker's 10 s the worker exits normally; the items return at once, and another worker deletes them."""
    with Rig(tmp_path, files=100, lease_seconds=60) as rig:
        ids = rig.sim.remaining()
        rig.sim.fault("hang", times=1)
        request = rig.client.enqueue(ids)
        worker = rig.worker("w1", pool, size)
        rig.await_workers(worker)
        rig.sim.wait_for(lambda stats: stats["in_flight"] > 0, timeout=60)
        worker.signal(signal.SIGTERM)
        took = worker.wait(DOCKER_SECONDS)
        say(f"\n{pool}: stopped {took:.1f} s after SIGTERM, with a call that hangs")
        assert worker.exit_status == 0, worker.tail()
        assert "aborted because the worker is stopping" in worker.text()
        assert rig.client.status(request)["waiting"] == len(ids)
        rig.worker("w2", pool, size)
        await_final(rig, [request], 50)
        check_honest(rig, {request: ids})


@pytest.mark.parametrize(("pool", "size", "second"), [("threads", 6, signal.SIGQUIT), ("prefork", 4, signal.SIGTERM)])
def test_a_second_signal_ends_a_worker_whose_call_hangs(
    tmp_path: Path, pool: str, size: int, second: signal.Signals
) -> None:
    """It ends within docker's 10 s; its claims come back by their leases, and another worker ends them truly."""
    with Rig(tmp_path, files=100, lease_seconds=2, http_timeout_seconds=20) as rig:
        ids = rig.sim.remaining()
        rig.sim.fault("hang", times=1)
        request = rig.client.enqueue(ids)
        worker = rig.worker("w1", pool, size)
        rig.sim.wait_for(lambda stats: stats["in_flight"] > 0, timeout=60)
        worker.signal(signal.SIGTERM)
        wait_until(lambda: "Warm shutdown" in worker.text(), 10, "the first signal is heard")
        worker.signal(second)
        took = worker.wait(DOCKER_SECONDS)
        say(f"\n{pool}: ended {took:.1f} s after a {second.name} that followed, with a call that hangs")
        rig.worker("w2", pool, size)
        await_final(rig, [request], 60)
        check_honest(rig, {request: ids})
