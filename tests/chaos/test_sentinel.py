"""A replica is promoted by sentinels while work is under way: workers and client follow the new master."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis
from redis.exceptions import RedisError

from local.ports import free_port
from local.redis_server import find_server
from tests.chaos.honesty import COUNTS, await_final, check_honest, check_nothing_left
from tests.chaos.processes import Proc, say, wait_until
from tests.chaos.rig import Rig, Server
from tests.chaos.test_redis import await_readiness_again
from worker.errors import RedisUnreachable
from worker.states import State

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

MASTER = "kitsweep-master"
ENQUEUER = """
import json, sys, time
from redis.exceptions import RedisError
from tasks.client import Client
from worker.errors import RedisUnreachable
client = Client()
for request_id, ids in json.load(open(sys.argv[1])).items():
    while True:
        try:
            client.enqueue(ids, source="steady", request_id=request_id)
            break
        except (RedisError, RedisUnreachable):
            time.sleep(0.05)
    time.sleep(0.02)
"""
"""Enqueues request after request, each until it is accepted."""


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


@contextmanager
def a_pair(folder: Path, **options: str) -> Iterator[tuple[Server, Server, int]]:
    """Run a master (with these options), its replica, and a sentinel that knows both; gives the latter's port."""
    (folder / "two").mkdir()
    first, second = Server(folder, **options), Server(folder / "two")
    first.start()
    second.start()
    try:
        second.client.replicaof("127.0.0.1", str(first.port))
        with a_sentinel(folder, first.port) as sentinel:
            wait_until(lambda: replicas_seen(sentinel) == 1, 60, "the sentinel knows the replica")
            yield first, second, sentinel
    finally:
        first.stop()
        second.stop()


def address_of(sentinel: int) -> str:
    """The address of whichever server is the master."""
    return f"sentinel://127.0.0.1:{sentinel}/0?master={MASTER}"


def await_promotion(rig: Rig, second: Server) -> None:
    """Wait until the replica is the master, and look there from now on."""
    wait_until(lambda: str(second.client.info("replication")["role"]) == "master", 60, "the replica is promoted")
    rig.server = second
    rig.celery = Celery(broker=second.url, backend=second.url, set_as_current=False)


def test_a_promotion_loses_nothing_that_the_replica_has(tmp_path: Path) -> None:
    """The master is killed, its replica takes over, and the work completes there without help.

    This includes messages that were sent by name just before, and are accepted during the change.
    """
    with a_pair(tmp_path) as (first, second, sentinel):
        run_promotion(tmp_path, first, second, sentinel)


def is_resumed(rig: Rig) -> bool:
    """Try to resume the account; false while the sentinel names no master."""
    try:
        rig.admin.resume()
    except RedisUnreachable:
        return False
    return True


def run_promotion(folder: Path, first: Server, second: Server, sentinel: int) -> None:
    """Kill the master in the middle of work, and check everything on the other server."""
    with Rig(
        folder,
        files=1200,
        api={"latency_ms": 300},
        server=first,
        redis_url=address_of(sentinel),
        batch_size=20,
        rate_limits='["10/1s"]',
        lease_seconds=3,
    ) as rig:
        ids = rig.sim.remaining()
        asked = {rig.client.enqueue(ids): ids}
        workers = [rig.worker("threads"), rig.worker("prefork", "prefork", 3)]
        rig.sim.wait_for(lambda stats: stats["calls"] > 10, timeout=60)
        # Replication lags: what the dying master had not sent is lost with it. So the replica is let to catch up.
        rig.admin.pause("the test waits for the replica")
        rig.sim.wait_for(lambda stats: stats["in_flight"] == 0)
        wait_until(lambda: rig.client.stats()["in_flight"] == 0, 30, "all is settled")
        by_name = rig.sim.add_files(300)
        for file_id in by_name:
            rig.celery.send_task("kitsweep.delete_files", [[file_id]], task_id=f"by-name-{file_id}")
        asked |= {f"by-name-{file_id}": [file_id] for file_id in by_name}
        wait_until(lambda: first.client.wait(1, 1000) == 1, 30, "the replica has it all")
        first.proc.kill()
        await_promotion(rig, second)
        wait_until(lambda: is_resumed(rig), 60, "the client finds the new master")
        await_final(rig, asked, 120)
        check_honest(rig, asked)
        for proc in workers:
            assert proc.running, f"{proc.name} ended with {proc.exit_status}:\n{proc.tail()}"


def check_after_loss(rig: Rig, asked: Mapping[str, Sequence[str]]) -> Counter[str]:
    """Every file is gone, all counts add up, and nothing failed; returns how many items ended in which outcome.

    A record that the old master had not sent yet is lost: what was deleted by then is asked for again, and may end as
    `not_found`. The replica has a state that was, so that nothing is left half done.
    """
    ended: Counter[str] = Counter()
    for request_id, ids in asked.items():
        report = rig.client.status(request_id)
        assert (report["state"], report["total"]) == (State.SUCCESS, len(ids)), report
        assert sum(report[name] for name in COUNTS) == report["total"], report  # type: ignore[literal-required]
        assert rig.celery.AsyncResult(request_id).state == State.SUCCESS
        outcomes = list(rig.client.outcomes(request_id))
        assert sorted(each.file_id for each in outcomes) == sorted(ids), "each id has one outcome"
        ended.update(each.outcome.value for each in outcomes)
    assert rig.sim.remaining() == []
    stats = rig.sim.stats()
    assert (stats["ids_deleted_twice"], stats["calls_with_duplicates"]) == (0, 0)
    check_nothing_left(rig)
    return ended


def run_promotion_under_load(folder: Path, first: Server, second: Server, sentinel: int, files: int) -> None:
    """Kill the master while both workers call and a client enqueues, without waiting for the replica."""
    settings = {"redis_url": address_of(sentinel), "batch_size": 20, "rate_limits": '["20/1s"]', "lease_seconds": 3}
    with Rig(folder, files=files, api={"latency_ms": 150}, server=first, **settings) as rig:
        ids = rig.sim.remaining()
        asked = {f"steady-{at}": ids[at : at + 10] for at in range(0, files, 10)}
        plan = folder / "plan.json"
        plan.write_text(json.dumps(asked))
        workers = [rig.worker("threads"), rig.worker("prefork", "prefork", 3)]
        rig.await_workers(*workers)
        enqueuer = rig.proc("enqueuer", ["-c", ENQUEUER, str(plan)])
        rig.sim.wait_for(lambda stats: stats["deleted"] > files / 4 and stats["in_flight"] > 0, timeout=120)
        first.proc.kill()
        killed = time.time()
        assert enqueuer.running, "the client is in the middle of it"
        await_promotion(rig, second)
        promoted = time.time() - killed
        await_readiness_again(rig, workers)
        assert rig.sim.stats()["deleted"] < files, "there was work left to be done"
        enqueuer.wait(120)
        # What only the old master had confirmed may be lost. Sending it again changes nothing else.
        accepted = sum(bool(second.client.exists(rig.keys.request(name), rig.keys.result(name))) for name in asked)
        enqueuer.start()
        enqueuer.wait(120)
        await_final(rig, asked, 120)
        ended = check_after_loss(rig, asked)
        for proc in workers:
            assert proc.running, f"{proc.name} ended with {proc.exit_status}:\n{proc.tail()}"
            assert proc.starts == 1
        again = next(call.at for call in rig.sim.calls("bulk_delete") if call.at > killed + 1) - killed
        say(
            f"\nfrom the master's death to the promotion {promoted:.1f} s, to the next call {again:.1f} s; "
            f"requests lost with it {len(asked) - accepted} of {len(asked)}; outcomes {dict(ended)}"
        )


def test_a_promotion_under_load(tmp_path: Path) -> None:
    """Workers recover by themselves; requests that the new master knows end, and so do those that are sent again."""
    with a_pair(tmp_path, **{"min-replicas-to-write": "1"}) as (first, second, sentinel):
        run_promotion_under_load(tmp_path, first, second, sentinel, files=3000)


@pytest.mark.chaos_long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("files", [3000, 5000, 8000])
def test_a_promotion_under_more_load(tmp_path: Path, files: int) -> None:
    """The same, at other moments and with more to do."""
    with a_pair(tmp_path) as (first, second, sentinel):
        run_promotion_under_load(tmp_path, first, second, sentinel, files)
