"""Messages that are sent by name to workers that die while they take them: what is lost, and what mends that.

kombu pops a message and notes it as unacknowledged in two steps; a worker that is killed in between loses it. Such a
task id stays `PENDING`, and may be sent again at any time.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Collection, Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from celery import states

from local.processes.process import wait_until as true_within
from tests.chaos.honesty import await_final, check_honest
from tests.chaos.processes import Proc, say, wait_until
from tests.chaos.rig import Rig
from worker.errors import UnknownRequest

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

Messages = Mapping[str, list[str]]
"""Task id → file ids, the first of them twice."""

QUEUES = ("celery", "kitsweep.requests")
GLANCE_SECONDS = 0.001
"""Between two looks at a worker that is to be hit while it accepts; it takes a message in 1 to 2 ms."""
PATTERN_SECONDS = 5.0
"""How long the documented pattern waits before it sends again."""
KILL_AFTER = (5, 80)
"""Messages that a worker takes before it is killed."""


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


def send(rig: Rig, messages: Messages, task_ids: Collection[str]) -> None:
    """Send these messages as another service would."""
    for task_id in task_ids:
        rig.celery.send_task("kitsweep.delete_files", [messages[task_id]], {"source": "catalog"}, task_id=task_id)


def is_pending(rig: Rig, task_id: str) -> bool:
    """Whether nothing is known of a task."""
    return rig.celery.AsyncResult(task_id).state == states.PENDING


def is_unknown(rig: Rig, task_id: str) -> bool:
    """Whether nothing is known of a request."""
    try:
        rig.client.status(task_id)
    except UnknownRequest:
        return True
    return False


def backlog(rig: Rig) -> int:
    """How many messages wait for a worker."""
    return sum(int(rig.redis.llen(name)) for name in QUEUES)


def unacknowledged(rig: Rig) -> int:
    """How many messages were taken and are noted as not done."""
    return int(rig.redis.hlen("unacked"))


def kill_while_it_accepts(rig: Rig, dice: random.Random, worker: Proc) -> None:
    """Wait until a worker has taken some of the messages that wait, and kill it while it takes more."""
    left = backlog(rig) - dice.randint(*KILL_AFTER)
    assert left > 0, "it would be idle"
    assert true_within(lambda: backlog(rig) <= left, 60), f"it takes messages:\n{worker.tail()}"
    worker.kill()


def let_visibility_pass(rig: Rig) -> int:
    """Set the clock of what dead workers held, as if five minutes had passed; returns how many messages that were."""
    tags = [str(tag) for tag in rig.redis.zrange("unacked_index", 0, -1)]
    if tags:
        rig.redis.zadd("unacked_index", dict.fromkeys(tags, 1), xx=True)
    return len(tags)


def drain(rig: Rig, worker: Proc, seconds: float = 120) -> None:
    """Let a worker take all messages, those that dead workers held included, and stop it: none is in any hand then."""
    wait_until(lambda: backlog(rig) + unacknowledged(rig) == 0, seconds, f"all is taken:\n{worker.tail()}")
    worker.signal(signal.SIGTERM)
    worker.wait(60)
    assert backlog(rig) + unacknowledged(rig) == 0


def send_while_pending(rig: Rig, messages: Messages) -> int:
    """Send again what is `PENDING`, as documented, until nothing is; returns how many messages that took."""
    sent, until = 0, time.monotonic() + 120
    while left := [task_id for task_id in messages if is_pending(rig, task_id)]:
        assert time.monotonic() < until, f"{len(left)} are never accepted"
        send(rig, messages, left)
        sent += len(left)
        true_within(lambda left=left: not any(is_pending(rig, each) for each in left), PATTERN_SECONDS)  # type: ignore[misc]
    return sent


def check_sent_again_after_the_end(rig: Rig, messages: Messages, worker: Proc) -> None:
    """Send everything once more, let what dead workers held come back as well, and check that nothing changes."""
    calls = rig.sim.stats()["calls"]
    finished = {task_id: rig.client.status(task_id)["finished_at"] for task_id in messages}
    send(rig, messages, messages)
    let_visibility_pass(rig)
    drain(rig, worker)
    check_honest(rig, messages)
    assert rig.sim.stats()["calls"] == calls
    assert {task_id: rig.client.status(task_id)["finished_at"] for task_id in messages} == finished


def run_pattern(folder: Path, *, count: int, kills: int) -> None:
    """Kill workers while they accept, send again whatever is `PENDING` after each kill, and check everything."""
    dice, start = dice_of_this_run(), time.monotonic()
    with Rig(folder, files=count * 4) as rig:
        messages = deal(dice, rig.sim.remaining(), count)
        worker, sent = rig.worker(concurrency=8), 0
        for _ in range(kills):
            left = [task_id for task_id in messages if is_pending(rig, task_id)]
            send(rig, messages, left)
            sent += len(left)
            if not worker.running:
                worker.start()
            kill_while_it_accepts(rig, dice, worker)
        worker.start()
        sent += send_while_pending(rig, messages)
        await_final(rig, messages, 120)
        ended = check_honest(rig, messages)
        check_sent_again_after_the_end(rig, messages, worker)
        say(
            f"{count} task ids, {sent} messages until none was PENDING, {kills} kills, all sent once more at the end: "
            f"{dict(ended)}; {time.monotonic() - start:.1f} s"
        )


def run_measurement(folder: Path, *, kills: int, pool: str, places: int) -> None:
    """Kill workers while they accept, send nothing again, and count what stays `PENDING`."""
    dice, start = dice_of_this_run(), time.monotonic()
    count = kills * (KILL_AFTER[1] + 40)
    with Rig(folder, files=count * 4) as rig:
        messages = deal(dice, rig.sim.remaining(), count)
        send(rig, messages, messages)
        worker = rig.worker("w1", pool, places)
        kill_while_it_accepts(rig, dice, worker)
        for _ in range(kills - 1):
            worker.start()
            kill_while_it_accepts(rig, dice, worker)
        redelivered = let_visibility_pass(rig)
        worker.start()
        drain(rig, worker)
        lost = {task_id for task_id in messages if is_pending(rig, task_id)}
        worker.start()
        await_final(rig, messages.keys() - lost, 120)
        assert all(is_unknown(rig, task_id) for task_id in lost), "nothing is half accepted"
        assert set(rig.sim.remaining()) == {file_id for task_id in lost for file_id in messages[task_id]}
        say(
            f"{pool}: {len(lost)} of {count} messages lost in {kills} kills of a saturated worker, {redelivered} came "
            f"back by the visibility timeout; {time.monotonic() - start:.1f} s"
        )
        send_while_pending(rig, messages)
        await_final(rig, messages, 120)
        check_honest(rig, messages)
        check_sent_again_after_the_end(rig, messages, worker)


def test_a_message_that_is_sent_again_while_it_is_pending_is_done_exactly_once(tmp_path: Path) -> None:
    """Whatever workers die with messages in hand; and also when it is sent again after the end."""
    run_pattern(tmp_path, count=200, kills=2)


@pytest.mark.chaos_long
@pytest.mark.timeout(900)
def test_many_messages_that_are_sent_again_while_pending_are_done_exactly_once(tmp_path: Path) -> None:
    """The same with more kills."""
    run_pattern(tmp_path, count=800, kills=12)


@pytest.mark.chaos_long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("pool", "places", "kills"), [("threads", 8, 40), ("prefork", 4, 20)])
def test_only_what_is_pending_for_ever_is_lost(tmp_path: Path, pool: str, places: int, kills: int) -> None:
    """Every other message is done; what is lost left nothing behind, and is done when it is sent again."""
    run_measurement(tmp_path, kills=kills, pool=pool, places=places)
