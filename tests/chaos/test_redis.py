"""Redis killed, restarted and frozen under load: workers recover by themselves, nothing is lost or duplicated."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from tests.chaos.honesty import await_final, check_honest
from tests.chaos.processes import Proc, say, wait_until
from tests.chaos.rig import Rig
from worker.errors import RedisUnreachable

pytestmark = pytest.mark.chaos

PRODUCER = """
import sys, json, time
from celery import Celery
app = Celery(broker=sys.argv[1], backend=sys.argv[1])
app.conf.broker_transport_options = {"socket_timeout": 5, "socket_connect_timeout": 3}
for request_id, ids in json.load(open(sys.argv[2])).items():
    while True:
        try:
            app.send_task("kitsweep.delete_files", [ids], {"source": "sent"}, task_id=request_id, retry=False)
            give_up = time.monotonic() + 10
            while app.AsyncResult(request_id).state == "PENDING" and time.monotonic() < give_up:
                time.sleep(0.05)
            if app.AsyncResult(request_id).state != "PENDING":
                break
        except Exception as error:
            print("again:", type(error).__name__, flush=True)
            time.sleep(0.2)
"""


def send_in_background(rig: Rig, asked: dict[str, list[str]]) -> Proc:
    """Start a producer that knows Celery alone, and sends each task id until it is seen to be accepted."""
    plan = rig.folder / "sent.json"
    plan.write_text(json.dumps(asked))
    return rig.proc("producer", ["-c", PRODUCER, rig.server.url, str(plan)])


def await_calls_in_the_air(rig: Rig) -> None:
    """Wait until workers hold messages: calls are under way."""
    rig.sim.wait_for(lambda stats: stats["in_flight"] > 0, timeout=30)


def load(rig: Rig, ids: list[str]) -> dict[str, list[str]]:
    """Enqueue half of the ids through the client; returns all requests, those to be sent included."""
    half = len(ids) // 2
    asked = {rig.client.enqueue(ids[:half], source="client"): ids[:half]}
    return asked | {f"sent-{at}": ids[at : at + 20] for at in range(half, len(ids), 20)}


def await_readiness_again(rig: Rig, workers: list[Proc]) -> None:
    """Wait until every worker's dispatcher has found the server again: its heart beats."""
    since = time.time() * 1000

    def all_beat() -> bool:
        names = [f"{proc.name}@chaos" for proc in workers if proc.name != "beat"]
        beats = [rig.redis.zscore(rig.keys("workers"), name) for name in names]
        return all(float(str(beat or 0)) > since for beat in beats)

    wait_until(all_beat, 60, "all workers beat again")


def run_restarts(folder: Path, *, files: int, restarts: int, down: float) -> None:
    """Kill and restart the server under load, then check everything."""
    api = {"latency_ms": 250, "jitter_ms": 200}
    with Rig(folder, files=files, api=api, batch_size=20, rate_limits='["20/1s"]', lease_seconds=4) as rig:
        rig.sim.set_limits("20/1s")
        asked = load(rig, rig.sim.remaining())
        sent = {name: ids for name, ids in asked.items() if name.startswith("sent-")}
        workers = [rig.worker("threads"), rig.worker("prefork", "prefork", 4)]
        workers.append(rig.proc("beat", ["-m", "celery", "-A", "worker.app", "beat"]))
        rig.await_workers(*workers[:2])
        producer = send_in_background(rig, sent)
        for _ in range(restarts):
            await_calls_in_the_air(rig)
            rig.server.proc.kill()
            time.sleep(down)  # the length of the attack, not a wait
            rig.server.start()
            await_readiness_again(rig, workers)
        await_final(rig, asked, 120)
        producer.wait(30)
        check_honest(rig, asked)
        for proc in workers:
            assert proc.running, f"{proc.name} ended with {proc.exit_status}:\n{proc.tail()}"
            assert proc.starts == 1
            assert "Unrecoverable" not in proc.text()
        stats = rig.sim.stats()
        say(f"\n{restarts} restarts: calls {stats['statuses']}, sent again in vain {stats['ids_sent_again']}")


def run_freeze(folder: Path, *, files: int, seconds: float) -> None:
    """Freeze the server under load, for longer than leases last, then check everything."""
    api = {"latency_ms": 250, "jitter_ms": 200}
    with Rig(folder, files=files, api=api, batch_size=20, rate_limits='["20/1s"]', lease_seconds=3) as rig:
        asked = load(rig, rig.sim.remaining())
        sent = {name: ids for name, ids in asked.items() if name.startswith("sent-")}
        workers = [rig.worker("threads"), rig.worker("prefork", "prefork", 4)]
        rig.await_workers(*workers)
        send_in_background(rig, sent)
        await_calls_in_the_air(rig)
        rig.server.freeze()
        frozen_at = time.monotonic()
        hung = longest_call(rig, frozen_at + seconds)
        rig.server.thaw()
        await_final(rig, asked, 120)
        check_honest(rig, asked)
        assert all(proc.running and proc.starts == 1 for proc in workers)
        say(f"\nfrozen for {seconds:g} s: the longest call of the client took {hung:.1f} s")
        assert hung < 8, "a call gives up within its time-outs"


def longest_call(rig: Rig, until: float) -> float:
    """Call again and again until a moment; returns the longest time that a call took."""
    longest = 0.0
    while time.monotonic() < until:
        start = time.monotonic()
        with pytest.raises((RedisUnreachable, RedisError)):
            rig.client.stats()
        longest = max(longest, time.monotonic() - start)
    return longest


@pytest.mark.timeout(240)
def test_workers_survive_restarts_of_redis_under_load(tmp_path: Path) -> None:
    """Workers of both pools and beat recover by themselves, with unacknowledged messages, and nothing is lost."""
    run_restarts(tmp_path, files=1200, restarts=2, down=1.0)


@pytest.mark.timeout(240)
def test_a_frozen_redis_blocks_no_caller_and_duplicates_nothing(tmp_path: Path) -> None:
    """Calls fail within their timeouts, and what was settled or claimed in between counts once."""
    run_freeze(tmp_path, files=800, seconds=6)


@pytest.mark.chaos_long
@pytest.mark.timeout(900)
def test_workers_survive_many_restarts_of_redis(tmp_path: Path) -> None:
    """The same with fifteen restarts, some of them long."""
    run_restarts(tmp_path, files=12_000, restarts=15, down=3.0)


@pytest.mark.chaos_long
@pytest.mark.timeout(600)
def test_redis_frozen_for_twenty_seconds(tmp_path: Path) -> None:
    """The same for 20 s, longer than every lease."""
    run_freeze(tmp_path, files=4000, seconds=20)
