"""What a killed worker held, and what it had not published, is found by others, soon and truly."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.honesty import await_final, check_honest
from tests.chaos.processes import say, wait_until
from tests.chaos.rig import Rig
from worker.states import State

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]


def test_a_killed_workers_items_are_claimed_again_within_15_seconds(tmp_path: Path) -> None:
    """At the default lease settings: from the SIGKILL in a call to the next call with the same ids."""
    with Rig(tmp_path, files=100) as rig:
        ids = rig.sim.remaining()
        rig.sim.fault("hang", times=1, effect=False)
        request = rig.client.enqueue(ids)
        victim = rig.worker("victim")
        rig.sim.wait_for(lambda stats: stats["in_flight"] == 1, timeout=60)
        rig.await_workers(rig.worker("heir"))
        # The worst moment is just after a renewal of the lease: wait for one.
        lease = rig.redis.zrange(rig.keys("leases"), 0, 0, withscores=True)
        wait_until(lambda: rig.redis.zrange(rig.keys("leases"), 0, 0, withscores=True) != lease, 20, "a renewal")
        victim.kill()
        killed = time.time()
        rig.sim.wait_for(lambda stats: stats["calls"] == 2, timeout=30)
        took = rig.sim.calls("bulk_delete")[-1].at - killed
        say(f"\nfrom SIGKILL in a call to the next call with its ids: {took:.1f} s")
        await_final(rig, [request], 30)
        assert check_honest(rig, {request: ids})["deleted"] == 100
        assert took <= 15


def test_what_a_killed_worker_settled_but_did_not_publish_is_published(tmp_path: Path) -> None:
    """A request that is final only in the queue is published by another worker, which also runs its callbacks."""
    with Rig(tmp_path, files=40) as rig:
        ids = rig.sim.remaining()
        rig.await_workers(rig.worker())
        after = rig.celery.signature("kitsweep.delete_files", [["followed"]], task_id="follower", immutable=True)
        sent = rig.celery.send_task("kitsweep.delete_files", [ids], task_id="first", link=after)
        await_final(rig, ["first", "follower"], 60)
        # As if the worker had died between the last settlement and the publication: the result is not written yet,
        # the request is in the outbox, and its callbacks are not dispatched.
        rig.redis.delete(f"celery-task-meta-{sent.id}", "celery-task-meta-follower")
        for key in rig.redis.scan_iter(rig.keys.request("follower", "*")):
            rig.redis.delete(key)
        rig.redis.zadd(rig.keys("outbox"), {"first": 1})
        await_final(rig, ["first", "follower"], 60)
        result: Any = rig.celery.AsyncResult("first").result
        assert result["deleted"] == 40
        assert rig.redis.zcard(rig.keys("outbox")) == 0


def test_the_same_task_id_may_be_sent_at_any_time(tmp_path: Path) -> None:
    """While it waits, while it flies, when it is over, and after its worker was killed: nothing is done twice."""
    with Rig(tmp_path, files=60, api={"latency_ms": 400}, batch_size=20, lease_seconds=2) as rig:
        ids = rig.sim.remaining()

        def send() -> None:
            rig.celery.send_task("kitsweep.delete_files", [ids], task_id="same")

        send()
        send()
        worker = rig.worker()
        rig.sim.wait_for(lambda stats: stats["in_flight"] > 0, timeout=60)
        send()
        worker.kill()
        send()
        worker.start()
        await_final(rig, ["same"], 60)
        before = rig.sim.stats()["calls"]
        send()
        wait_until(lambda: rig.redis.llen("celery") == 0, 30, "it is taken")
        wait_until(lambda: rig.client.stats()["in_flight"] == 0, 30, "nothing is under way")
        check_honest(rig, {"same": ids})
        assert rig.celery.AsyncResult("same").state == State.SUCCESS
        assert rig.sim.stats()["calls"] == before
