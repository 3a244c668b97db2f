"""Messages that are sent once, by name, to workers that die or lose Redis while they accept them: none is lost.

A worker takes messages onto a list, and makes requests of them in a second step. Wherever it dies, the messages are in
the broker, on that list, or accepted; another worker takes such a list over.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from tests.chaos.honesty import await_final, check_honest, state_of
from tests.chaos.processes import Proc, say, wait_until
from tests.chaos.rig import Rig
from tests.chaos.service import Service
from worker.intake.intake import LEASE_MS
from worker.states import State

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

Messages = Mapping[str, list[str]]
"""Task id → file ids, the first of them twice."""

GLANCE_SECONDS = 0.001
"""Between two looks at a worker that is to be hit while it accepts; it takes a hundred messages in some 10 ms."""
TAKEN_OVER_SECONDS = 15.0
"""Within which another worker accepts what a dead one took."""


def dice_of_this_run() -> random.Random:
    """The dice, with their seed said."""
    seed = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    say(f"\nCHAOS_SEED={seed}")
    return random.Random(seed)


def deal(dice: random.Random, files: list[str], count: int) -> dict[str, list[str]]:
    """Deal all files out to so many messages of different sizes."""
    cuts = [0, *sorted(dice.sample(range(1, len(files)), count - 1)), len(files)]
    parts = [files[start:end] for start, end in pairwise(cuts)]
    return {f"message{place}": [*part, part[0]] for place, part in enumerate(parts)}


QUEUES = ("kitsweep.requests", "celery")


def send(rig: Rig, messages: Messages, task_ids: Collection[str] = ()) -> None:
    """Send these messages, or all, as another service would: some to its default queue, some to ours."""
    for place, task_id in enumerate(task_ids or messages):
        queue = QUEUES[0 if place % 3 == 0 else 1]
        args, kwargs = [messages[task_id]], {"source": "catalog"}
        rig.celery.send_task("kitsweep.delete_files", args, kwargs, task_id=task_id, queue=queue)


def backlog(rig: Rig) -> int:
    """How many messages wait for a worker."""
    return sum(int(rig.redis.llen(queue)) for queue in QUEUES)


def taken(rig: Rig) -> set[str]:
    """Return the tokens of what was taken and not accepted."""
    return {str(token) for token in rig.redis.zrange(rig.keys("intake"), 0, -1)}


def kill_while_it_accepts(rig: Rig, dice: random.Random, worker: Proc) -> bool:
    """Kill a worker just after it has taken some messages; returns whether it leaves any of them taken."""
    before, waiting = taken(rig), backlog(rig)
    assert waiting > 0, "it would be idle"
    deadline = time.monotonic() + 60
    while backlog(rig) == waiting:
        assert time.monotonic() < deadline, f"it takes messages:\n{worker.tail()}"
        time.sleep(GLANCE_SECONDS)
    time.sleep(dice.uniform(0, 0.012))
    worker.kill()
    return bool(taken(rig) - before)


def check_sent_again_after_the_end(rig: Rig, messages: Messages, worker: Proc) -> None:
    """Send everything once more, and check that nothing changes."""
    calls = rig.sim.stats()["calls"]
    finished = {task_id: rig.client.status(task_id)["finished_at"] for task_id in messages}
    send(rig, messages)
    wait_until(lambda: rig.client.stats()["unaccepted"] == 0, 60, f"all are known:\n{worker.tail()}")
    check_honest(rig, messages)
    assert rig.sim.stats()["calls"] == calls
    assert {task_id: rig.client.status(task_id)["finished_at"] for task_id in messages} == finished


def run_kills(folder: Path, *, count: int, kills: int, pool: str, places: int) -> None:
    """Send some messages before each kill of a worker that accepts, and none again; check everything."""
    dice, start, left = dice_of_this_run(), time.monotonic(), 0
    with Rig(folder, files=count * 4) as rig:
        messages = deal(dice, rig.sim.remaining(), count)
        names = list(messages)
        worker = rig.worker("w1", pool, places)
        worker.kill()
        for kill in range(kills):
            send(rig, messages, names[kill * count // kills : (kill + 1) * count // kills])
            worker.start()
            left += kill_while_it_accepts(rig, dice, worker)
        worker.start()
        killed = time.monotonic()
        wait_until(lambda: rig.client.stats()["unaccepted"] == 0, 60, f"all are accepted:\n{worker.tail()}")
        seconds = time.monotonic() - killed
        await_final(rig, messages, 120)
        ended = check_honest(rig, messages)
        check_sent_again_after_the_end(rig, messages, worker)
        assert seconds < TAKEN_OVER_SECONDS
        say(
            f"{pool}: {count} messages, sent once, none lost in {kills} kills while accepting, {left} of them between "
            f"taking and accepting; the last were accepted {seconds:.1f} s after the last kill; {dict(ended)}; "
            f"{time.monotonic() - start:.1f} s"
        )


def test_no_message_is_lost_when_workers_die_while_they_accept(tmp_path: Path) -> None:
    """No message is sent again, and sending one again after the end changes nothing."""
    run_kills(tmp_path, count=360, kills=3, pool="threads", places=8)


@pytest.mark.chaos_long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("pool", "places", "kills"), [("threads", 8, 40), ("prefork", 4, 20)])
def test_no_message_is_lost_in_many_kills(tmp_path: Path, pool: str, places: int, kills: int) -> None:
    """The same with 120 messages for each kill."""
    run_kills(tmp_path, count=120 * kills, kills=kills, pool=pool, places=places)


def test_what_a_dead_worker_took_is_accepted_by_another(tmp_path: Path) -> None:
    """Within 15 s, also if it died just after accepting, before it knew; each exactly once."""
    with Rig(tmp_path, files=200) as rig, Service(rig) as service:
        files = rig.sim.remaining()
        messages = {f"message{place}": [files[place]] for place in range(200)}
        send(rig, messages)
        service.trap("message0", "taken")
        service.start_worker("first").wait(60)
        died = time.monotonic()
        assert taken(rig)
        service.trap("message0", "accepted")
        service.start_worker("second").wait(TAKEN_OVER_SECONDS)
        say(f"\naccepted {time.monotonic() - died:.1f} s after the death of who took them")
        assert state_of(rig, "message0") == State.QUEUED
        rig.worker("third")
        await_final(rig, messages, 60)
        check_honest(rig, messages)
        assert sorted(accepted(rig)) == sorted(messages), "each was accepted once"


def accepted(rig: Rig) -> list[str]:
    """Return the ids of all requests that were accepted, as often as they were."""
    return [entry["request"] for entry in rig.admin.audit(timedelta(hours=1)) if entry["event"] == "accepted"]


def run_restarts(folder: Path, *, count: int, restarts: int) -> None:
    """Kill the server while two workers accept messages that were sent before, and check everything."""
    with Rig(folder, files=count) as rig:
        files = rig.sim.remaining()
        messages = {f"message{place}": [file_id] for place, file_id in enumerate(files)}
        send(rig, messages)
        workers = [rig.worker("threads"), rig.worker("prefork", "prefork", 2)]
        for restart in range(restarts):
            wait_until(lambda at=restart + 1: accepted_share(rig, count) * (restarts + 1) > at, 60, "some are accepted")  # type: ignore[misc]
            rig.server.proc.kill()
            rig.server.start()
        await_final(rig, messages, 120)
        check_honest(rig, messages)
        assert all(proc.running and proc.starts == 1 for proc in workers)


def accepted_share(rig: Rig, count: int) -> float:
    """Return which share of the messages has been accepted; 0 where the server does not say."""
    try:
        return 1 - backlog(rig) / count
    except RedisError:
        return 0.0


def test_no_message_is_lost_when_redis_restarts(tmp_path: Path) -> None:
    """Workers recover by themselves, and no message is sent again."""
    run_restarts(tmp_path, count=1000, restarts=1)


@pytest.mark.chaos_long
@pytest.mark.timeout(600)
def test_no_message_is_lost_when_redis_restarts_often(tmp_path: Path) -> None:
    """The same with more restarts."""
    run_restarts(tmp_path, count=20_000, restarts=10)


def run_freeze(folder: Path, *, count: int, seconds: float) -> None:
    """Freeze the server while two workers accept."""
    with Rig(folder, files=count) as rig:
        files = rig.sim.remaining()
        messages = {f"message{place}": [file_id] for place, file_id in enumerate(files)}
        send(rig, messages)
        workers = [rig.worker("w1"), rig.worker("w2")]
        wait_until(lambda: accepted_share(rig, count) > 0.1, 60, "some are accepted")
        rig.server.freeze()
        time.sleep(seconds)  # the length of the attack, not a wait
        rig.server.thaw()
        await_final(rig, messages, 120)
        check_honest(rig, messages)
        assert all(proc.running and proc.starts == 1 for proc in workers)


@pytest.mark.chaos_long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seconds", [6, LEASE_MS / 1000 + 5])
def test_no_message_is_lost_or_duplicated_when_redis_freezes(tmp_path: Path, seconds: float) -> None:
    """For longer than the time-outs of its clients, and for longer than what a worker took is its own."""
    run_freeze(tmp_path, count=10_000, seconds=seconds)


@pytest.mark.chaos_long
def test_a_worker_that_was_frozen_does_no_harm(tmp_path: Path) -> None:
    """One worker is stopped while it accepts, for longer than its messages are its own; another accepts them."""
    with Rig(tmp_path, files=2000) as rig:
        files = rig.sim.remaining()
        messages = {f"message{place}": [file_id] for place, file_id in enumerate(files)}
        send(rig, messages)
        still = rig.worker("still")
        wait_until(lambda: accepted_share(rig, 2000) > 0, 60, "some are accepted")
        still.signal(signal.SIGSTOP)
        rig.worker("other")
        wait_until(lambda: rig.client.stats()["unaccepted"] == 0, 60, "all are accepted")
        still.signal(signal.SIGCONT)
        await_final(rig, messages, 60)
        check_honest(rig, messages)


def test_a_full_server_keeps_messages_and_goes_on_deleting(tmp_path: Path) -> None:
    """Messages wait, nothing is lost, the worker lives and deletes what was accepted; with room again all is taken."""
    with Rig(tmp_path, files=1500, batch_size=50) as rig:
        files = rig.sim.remaining()
        before = {rig.client.enqueue(files[:1000]): files[:1000]}
        messages = {f"message{place}": [file_id] for place, file_id in enumerate(files[1000:])}
        send(rig, messages)
        for queue in QUEUES:
            rig.redis.rename(queue, f"aside.{queue}")
        rig.await_workers(worker := rig.worker())
        rig.redis.config_set("maxmemory", "1mb")
        for queue in QUEUES:
            rig.redis.rename(f"aside.{queue}", queue)
        await_final(rig, before, 60)
        wait_until(
            lambda: "retrying in 1 s: command not allowed" in worker.text(), 30, "the intake says what it waits for"
        )
        assert rig.client.stats()["unaccepted"] == 500
        assert worker.running
        rig.redis.config_set("maxmemory", "0")
        await_final(rig, messages, 60)
        check_honest(rig, {**before, **messages})
        assert worker.starts == 1


def test_a_worker_that_starts_on_a_full_server_deletes_and_accepts_when_there_is_room(tmp_path: Path) -> None:
    """Celery cannot connect until then; what was accepted is deleted all the same."""
    with Rig(tmp_path, files=300, batch_size=50) as rig:
        files = rig.sim.remaining()
        before = {rig.client.enqueue(files[:200]): files[:200]}
        messages = {f"message{place}": [file_id] for place, file_id in enumerate(files[200:])}
        send(rig, messages)
        rig.redis.config_set("maxmemory", "1mb")
        worker = rig.worker()
        await_final(rig, before, 60)
        assert rig.client.stats()["unaccepted"] == 100
        rig.redis.config_set("maxmemory", "0")
        await_final(rig, messages, 60)
        check_honest(rig, {**before, **messages})
        assert worker.starts == 1


def test_a_worker_of_the_previous_version_beside_it(tmp_path: Path) -> None:
    """One worker takes messages one by one through Celery, the other in bulk: each message is accepted once."""
    with Rig(tmp_path, files=900) as rig:
        files = rig.sim.remaining()
        messages = {f"message{place}": [file_id] for place, file_id in enumerate(files)}
        names = list(messages)
        previous = ["-m", "celery", "-A", "tests.chaos.previous_app", "worker", "-P", "threads", "-c", "4"]
        workers = [rig.proc("previous", [*previous, "-n", "previous@chaos", "-l", "INFO"], KITSWEEP_LOG_LEVEL="DEBUG")]
        rig.await_workers(*workers)
        send(rig, messages, names[:300])
        workers.append(rig.worker("bulk"))
        send(rig, messages, names[300:])
        compressed = rig.sim.add_files(1)
        odd = rig.celery.send_task("kitsweep.delete_files", [compressed], compression="zlib", queue="celery").id
        messages[odd] = compressed
        await_final(rig, messages, 120)
        check_honest(rig, messages)
        by_previous = workers[0].text().count("Task kitsweep.delete_files[")
        assert by_previous > 0
        assert sorted(accepted(rig)) == sorted(messages)
        assert all(rig.client.status(each)["state"] == State.SUCCESS for each in messages)
