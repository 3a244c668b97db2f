"""A replica is promoted by sentinels while work is under way: workers and client follow the new master."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis
from redis.exceptions import RedisError

from tasks.embedded import find_server
from tasks.ports import free_port
from tests.chaos.honesty import await_final, check_honest
from tests.chaos.processes import Proc, wait_until
from tests.chaos.rig import Rig, Server
from worker.errors import RedisUnreachable

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

MASTER = "kitsweep-master"


@contextmanager
def a_sentinel(folder: Path, port: int) -> Iterator[int]:
    """Run one sentinel that watches a master and decides alone; gives its port."""
    here = free_port()
    config = folder / "sentinel.conf"
    config.write_text(
        f"port {here}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor {MASTER} 127.0.0.1 {port} 1\n"
        f"sentinel down-after-milliseconds {MASTER} 1000\n"
        f"sentinel failover-timeout {MASTER} 6000\n"
    )
    proc = Proc("sentinel", [str(find_server()), str(config), "--sentinel"], os.environ, folder)
    proc.start()
    try:
        yield here
    finally:
        proc.end()


def replicas_seen(port: int) -> int:
    """How many replicas the sentinel knows to be up."""
    try:
        with Redis(port=port, decode_responses=True, socket_timeout=2) as sentinel:
            found = sentinel.sentinel_slaves(MASTER)
            return sum(each["flags"] == "slave" and each["master-link-status"] == "ok" for each in found)
    except RedisError:
        return 0


def test_a_promotion_under_load_loses_nothing(tmp_path: Path) -> None:
    """The master is killed for good, its replica takes over, and the work ends there by itself."""
    (tmp_path / "two").mkdir()
    first, second = Server(tmp_path), Server(tmp_path / "two")
    first.start()
    second.start()
    try:
        second.client.replicaof("127.0.0.1", str(first.port))
        with a_sentinel(tmp_path, first.port) as sentinel:
            wait_until(lambda: replicas_seen(sentinel) == 1, 60, "the sentinel knows the replica")
            run_promotion(tmp_path, first, second, sentinel)
    finally:
        first.stop()
        second.stop()


def is_resumed(rig: Rig) -> bool:
    """Try to let the account go on; false while the sentinel still names nobody."""
    try:
        rig.client.resume()
    except RedisUnreachable:
        return False
    return True


def run_promotion(folder: Path, first: Server, second: Server, sentinel: int) -> None:
    """Kill the master in the middle of work, and check everything on the other server."""
    address = f"sentinel://127.0.0.1:{sentinel}/0?master={MASTER}"
    with Rig(
        folder,
        files=1200,
        api={"latency_ms": 300},
        server=first,
        redis_url=address,
        batch_size=20,
        rate_limits='["10/1s"]',
        lease_seconds=3,
    ) as rig:
        ids = rig.sim.remaining()
        asked = {rig.client.enqueue(ids): ids}
        workers = [rig.worker("threads"), rig.worker("prefork", "prefork", 3)]
        rig.sim.wait_for(lambda stats: stats["calls"] > 10, timeout=60)
        # Replication lags: what the dying master had not sent is lost with it. So the replica is let to catch up.
        rig.client.pause("the test waits for the replica")
        rig.sim.wait_for(lambda stats: stats["in_flight"] == 0)
        wait_until(lambda: rig.client.stats()["in_flight"] == 0, 30, "all is settled")
        wait_until(lambda: first.client.wait(1, 1000) == 1, 30, "the replica has it all")
        first.proc.kill()
        wait_until(lambda: str(second.client.info("replication")["role"]) == "master", 60, "the replica is promoted")
        rig.server = second
        rig.celery = Celery(broker=second.url, backend=second.url, set_as_current=False)
        wait_until(lambda: is_resumed(rig), 60, "the client finds the new master")
        await_final(rig, asked, 120)
        check_honest(rig, asked)
        for proc in workers:
            assert proc.running, f"{proc.name} ended with {proc.exit_status}:\n{proc.tail()}"
