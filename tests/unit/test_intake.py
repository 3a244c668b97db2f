"""The intake on Redis: every message becomes one request or is forwarded to Celery, in order, and none is lost."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from fakeredis import FakeRedis, FakeServer
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from redis.exceptions import OutOfMemoryError

from config.queue_names import broker_lists
from tests.unit.support_messages import Sender, put, undecoded
from tests.unit.support_queue import LONG_AGO_MS, line_of, queue_on, raw, waiting_ids
from tests.unit.support_webhooks import SECRET, URL
from worker.intake import intake as intake_module
from worker.intake.intake import Destination, Intake, Turn
from worker.queue.operations import Queue
from worker.queue.validation import Asked
from worker.reports.backlog import count_unaccepted
from worker.reports.reader import Reports

SENDER = Sender()
BROKER, UNUSUAL = "celery", "kitsweep.unusual"
ODD = SENDER.send(["a"], name="other.task", task_id="odd")


def first_result(asked: Asked, total: int, at_ms: int) -> str:
    return json.dumps([asked["request_id"], asked["reason"], total, at_ms > 0])


def intake_on(queue: Queue, **overrides: Any) -> Intake:
    destination = Destination(queue, overrides.get("first_result", first_result))

    return Intake(
        queue,
        undecoded(queue.redis),
        overrides.get("broker_queue", BROKER),
        UNUSUAL,
        lambda _: destination,
        overrides.get("most_ids", 100),
    )


def accept_all(intake: Intake, revoked: tuple[str, ...] = ()) -> list[str]:
    """Take turns until nothing is left; return the ids of the requests in order."""
    accepted: list[str] = []
    while (turn := intake.turn(revoked.__contains__)).taken:
        accepted += turn.accepted
    return accepted


def unusual(queue: Queue, step: int = 0) -> list[bytes]:
    """Return the messages that were handed on, oldest first."""
    return list(reversed(raw_bytes(queue).lrange(broker_lists(UNUSUAL)[step], 0, -1)))


def raw_bytes(queue: Queue) -> Any:
    return undecoded(queue.redis)


def let_leases_end(queue: Queue) -> None:
    """Let the time pass in which what was taken may be accepted."""
    for token in raw(queue).zrange(queue.keys("intake"), 0, -1):
        raw(queue).zadd(queue.keys("intake"), {token: LONG_AGO_MS})


def check_nothing_is_left(queue: Queue) -> None:
    assert count_unaccepted(queue.redis, queue.keys) == len(unusual(queue))
    assert list(raw(queue).scan_iter(queue.keys.taken("*"))) == []
    assert raw(queue).zcard(queue.keys("intake")) == 0


def test_a_message_becomes_a_request(redis_client: Redis) -> None:
    """With source, reason, sender and file ids; the first result is there in the same step."""
    queue = queue_on(redis_client)
    put(queue, SENDER.send(["a", "b", "a"], kwargs={"source": "catalog", "reason": "old"}, task_id="r1"))
    assert accept_all(intake_on(queue)) == ["r1"]
    (report,) = Reports(queue.redis, queue.keys).read(["r1"])
    assert report is not None
    assert (report["state"], report["source"], report["reason"], report["total"]) == ("QUEUED", "catalog", "old", 2)
    assert raw(queue).hget(queue.keys.request("r1"), "origin").startswith("gen")
    assert json.loads(raw(queue).get(queue.keys.result("r1"))) == ["r1", "old", 2, True]
    check_nothing_is_left(queue)


def test_without_messages_nothing_is_done(redis_client: Redis) -> None:
    """Not a key is written, but the format in which all is stored."""
    queue = queue_on(redis_client)
    assert intake_on(queue).turn(lambda _: False) == Turn(0, [])
    assert raw(queue).keys() == [queue.keys("format")]


def test_a_request_that_is_known_is_not_changed(redis_client: Redis) -> None:
    """The same task id again, alone or in the same turn, makes no second request; its result stays."""
    queue = queue_on(redis_client)
    put(queue, SENDER.send(["a"], task_id="r1"), SENDER.send(["b"], task_id="r1"))
    accept_all(intake_on(queue))
    put(queue, SENDER.send(["c"], task_id="r1", kwargs={"reason": "again"}))
    accept_all(intake_on(queue))
    assert waiting_ids(queue, "r1") == ["a"]
    assert json.loads(raw(queue).get(queue.keys.result("r1")))[1] is None
    assert raw(queue).xlen(queue.keys("audit")) == 1
    check_nothing_is_left(queue)


def test_callbacks_of_a_message_are_stored_with_the_request(redis_client: Redis) -> None:
    """As JSON that Redis does not touch: an empty list stays one."""
    queue = queue_on(redis_client)
    link = SENDER.app.signature("done", args=[[], {}])
    put(queue, SENDER.send(["a"], task_id="r1", link=link))
    accept_all(intake_on(queue))
    canvas = json.loads(raw(queue).hget(queue.keys.request("r1"), "canvas"))
    assert canvas["callbacks"][0]["args"] == [[], {}]


def test_a_hold_and_a_guard_count(redis_client: Redis) -> None:
    """A request with an undo window waits for its end; one beyond a guard for approval."""
    queue = queue_on(redis_client, guards={"catalog": {"max_files": 1}})
    held = SENDER.send(["a"], task_id="held", kwargs={"hold_seconds": 60})
    put(queue, held, SENDER.send(["a", "b"], "catalog", task_id="many"))
    accept_all(intake_on(queue))
    assert queue.claim("t") is None
    assert raw(queue).zrange(queue.keys("holds"), 0, -1) == ["held"]
    assert raw(queue).zrange(queue.keys("approvals"), 0, -1) == ["many"]


def test_unusual_messages_are_forwarded_unchanged(redis_client: Redis) -> None:
    """Byte for byte; each to the list of its priority."""
    queue = queue_on(redis_client)
    odd = [ODD, SENDER.send(["a b"]), SENDER.send(["a"], compression="zlib")]
    later = SENDER.send(["a"], countdown=1, priority=6)
    put(queue, odd[0], SENDER.send(["x"], task_id="r1"), *odd[1:], later)
    assert accept_all(intake_on(queue)) == ["r1"]
    assert unusual(queue) == odd
    assert unusual(queue, step=2) == [later]


def test_what_is_not_a_message_is_set_aside(redis_client: Redis) -> None:
    """Celery never sees them; the last thousand are stored."""
    queue = queue_on(redis_client)
    put(queue, ODD, b"\xff\x00no text", SENDER.send(["x"], task_id="r1"), *[b"{"] * 1000)
    assert accept_all(intake_on(queue)) == ["r1"]
    assert unusual(queue) == [ODD]
    aside = raw_bytes(queue).lrange(queue.keys("unreadable"), 0, -1)
    assert aside == [b"{"] * 1000
    check_nothing_is_left(queue)


def test_a_revoked_message_is_forwarded(redis_client: Redis) -> None:
    """Celery reports it to the caller."""
    queue = queue_on(redis_client)
    put(queue, message := SENDER.send(["a"], task_id="r1"), SENDER.send(["b"], task_id="r2"))
    assert accept_all(intake_on(queue), revoked=("r1",)) == ["r2"]
    assert unusual(queue) == [message]


def test_a_callback_is_kept_with_the_request(redis_client: Redis) -> None:
    """In bulk, as every other argument."""
    queue = queue_on(redis_client, webhook_secret=SECRET)
    put(queue, SENDER.send(["a"], kwargs={"callback": URL}))
    assert accept_all(intake_on(queue)) == ["r1"]
    assert raw(queue).hget(queue.keys.request("r1"), "callback") == URL


def test_a_callback_that_cannot_be_called_goes_on(redis_client: Redis) -> None:
    """Celery tells the caller why: here, nothing could be signed."""
    queue = queue_on(redis_client)
    message = SENDER.send(["a"], kwargs={"callback": URL})
    put(queue, message)
    assert accept_all(intake_on(queue)) == []
    assert unusual(queue) == [message]


def test_urgent_messages_come_first(redis_client: Redis) -> None:
    """Priority 0 is the most urgent, as with kombu."""
    queue = queue_on(redis_client)
    for step in (3, 1, 0, 2):
        put(queue, SENDER.send(["a"], task_id=f"r{step}"), broker_list=broker_lists(BROKER)[step])
    assert accept_all(intake_on(queue)) == ["r0", "r1", "r2", "r3"]


def test_other_queues_are_left_alone(redis_client: Redis) -> None:
    """An intake takes from its queue only."""
    queue = queue_on(redis_client)
    put(queue, SENDER.send(["a"]), broker_list="kitsweep.requests")
    assert intake_on(queue).turn(lambda _: False).taken == 0
    assert accept_all(intake_on(queue, broker_queue="kitsweep.requests")) == ["r1"]


@pytest.fixture(scope="module")
def shared_fake() -> Iterator[Redis]:
    with FakeRedis(server=FakeServer(), decode_responses=True) as client:
        yield client


@given(st.lists(st.sampled_from(["ordinary", "unusual", "bad"]), max_size=30), st.integers(1, 7))
def test_order_is_kept(shared_fake: Redis, kinds: list[str], at_once: int) -> None:
    """Requests are in line, and unusual messages in their queue, in the order in which they were sent."""
    shared_fake.flushall()
    queue = queue_on(shared_fake)
    messages = []
    for place, kind in enumerate(kinds):
        options: dict[str, Any] = {"countdown": 1} if kind == "unusual" else {}
        message = SENDER.send(["a b"] if kind == "bad" else ["a"], task_id=f"r{place}", **options)
        messages.append(message)
    put(queue, *messages)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake_module, "MOST_MESSAGES", at_once)
        wanted = [f"r{place}" for place, kind in enumerate(kinds) if kind == "ordinary"]
        assert accept_all(intake_on(queue)) == wanted
    assert line_of(queue, "default") == wanted
    assert unusual(queue) == [message for message, kind in zip(messages, kinds, strict=True) if kind != "ordinary"]
    check_nothing_is_left(queue)


def test_a_turn_takes_a_bounded_number_of_messages(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few at a time, however long the queue is."""
    queue = queue_on(redis_client)
    put(queue, *(SENDER.send(["a"], task_id=f"r{place}") for place in range(60)))
    monkeypatch.setattr(intake_module, "MOST_MESSAGES", 20)
    assert intake_on(queue).turn(lambda _: False).taken == 20
    monkeypatch.setattr(intake_module, "MOST_BYTES", 1500)
    assert intake_on(queue).turn(lambda _: False).taken == 10


class Died(Exception):
    """What a worker does where a test says so."""


def die(*_: object) -> tuple[str, str]:
    raise Died


def test_what_a_dead_worker_took_is_taken_over(redis_client: Redis) -> None:
    """Not before its time is over; then by any worker, before new messages, and accepted once."""
    queue = queue_on(redis_client)
    put(queue, SENDER.send(["a"], task_id="r1"), ODD)
    with pytest.raises(Died):
        intake_on(queue, first_result=die).turn(lambda _: False)
    assert raw(queue).llen(BROKER) == 0
    assert count_unaccepted(queue.redis, queue.keys) == 2
    put(queue, SENDER.send(["b"], task_id="r2"))
    another = intake_on(queue)
    assert another.turn(lambda _: False).accepted == ["r2"]
    assert another.turn(lambda _: False).taken == 0
    let_leases_end(queue)
    assert accept_all(another) == ["r1"]
    assert unusual(queue) == [ODD]
    check_nothing_is_left(queue)


def test_a_delayed_worker_does_nothing_with_messages_that_were_taken_over(redis_client: Redis) -> None:
    """Its messages are handed on once, also while their new holder has not accepted them yet."""
    queue = queue_on(redis_client)
    put(queue, SENDER.send(["a"], task_id="r1"), ODD)
    slow = intake_on(queue, first_result=die)
    with pytest.raises(Died):
        slow.turn(lambda _: False)
    let_leases_end(queue)
    other = intake_on(queue, first_result=die)
    with pytest.raises(Died):
        other.turn(lambda _: False)
    slow._route = other._route = lambda _: Destination(queue, first_result)
    slow.turn(lambda _: False)
    assert (raw(queue).xlen(queue.keys("audit")), unusual(queue)) == (0, [])
    assert other.turn(lambda _: False).accepted == ["r1"]
    assert accept_all(slow) == []
    assert (raw(queue).xlen(queue.keys("audit")), unusual(queue)) == (1, [ODD])
    check_nothing_is_left(queue)


def test_an_answer_that_was_lost_does_no_harm(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that does not know that its messages were accepted accepts them again, and takes none with them."""
    queue = queue_on(redis_client)
    put(queue, SENDER.send(["a"], task_id="r1"), ODD)
    intake, run = intake_on(queue), queue.scripts.run

    def run_and_lose_the_answer(*args: Any, **options: Any) -> Any:
        run(*args, **options)
        monkeypatch.undo()
        raise ConnectionError

    monkeypatch.setattr(queue.scripts, "run", run_and_lose_the_answer)
    with pytest.raises(ConnectionError):
        intake.turn(lambda _: False)
    put(queue, SENDER.send(["b"], task_id="r2"))
    assert accept_all(intake) == ["r1", "r2"]
    assert (raw(queue).xlen(queue.keys("audit")), unusual(queue)) == (2, [ODD])
    check_nothing_is_left(queue)


def test_messages_that_cannot_be_accepted_in_bulk_are_forwarded(
    redis_client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that makes the operation fail does not stop the intake: Celery runs the messages one by one."""
    queue = queue_on(redis_client)
    raw(queue).set(queue.keys.request("bad"), "no hash")
    messages = [SENDER.send(["a"], task_id=task_id) for task_id in ("r1", "bad", "r2")]
    put(queue, *messages)
    with caplog.at_level(logging.ERROR):
        accept_all(intake_on(queue))
    assert unusual(queue) == messages
    assert "could not accept 3 messages in bulk" in caplog.text


@pytest.mark.real_server
def test_a_full_server_keeps_the_messages(real_redis: Redis) -> None:
    """Nothing is accepted and nothing lost; once there is memory again, the same worker continues."""
    queue = queue_on(real_redis)
    put(queue, SENDER.send(["a"], task_id="r1"), ODD)
    intake = intake_on(queue)
    real_redis.config_set("maxmemory", 1)
    try:
        for _ in range(2):
            with pytest.raises(OutOfMemoryError):
                intake.turn(lambda _: False)
    finally:
        real_redis.config_set("maxmemory", 0)
    assert count_unaccepted(queue.redis, queue.keys) == 2
    assert unusual(queue) == []
    assert accept_all(intake) == ["r1"]
    assert unusual(queue) == [ODD]
    check_nothing_is_left(queue)


def test_waiting_takes_nothing(redis_client: Redis) -> None:
    """It returns when there is a message, which stays where it is."""
    queue = queue_on(redis_client)
    put(queue, b"1", b"2")
    intake_on(queue).wait()
    assert raw(queue).lrange(BROKER, 0, -1) == ["2", "1"]


def test_waiting_ends_without_messages(redis_client: Redis) -> None:
    """After a second, so that what dead workers left is looked for."""
    intake_on(queue_on(redis_client)).wait()


def test_unaccepted_messages_are_counted(redis_client: Redis) -> None:
    """In both queues, of every priority, taken and not yet accepted, and handed on."""
    queue = queue_on(redis_client)
    put(queue, SENDER.send(["a"]), ODD)
    with pytest.raises(Died):
        intake_on(queue, first_result=die).turn(lambda _: False)
    for broker_list in (*broker_lists("celery"), *broker_lists("kitsweep.requests"), *broker_lists(UNUSUAL)):
        put(queue, b"{", broker_list=broker_list)
    assert count_unaccepted(queue.redis, queue.keys) == 2 + 12
