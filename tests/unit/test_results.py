"""Publishing results: final ones are never replaced, a crash loses none, and the canvas runs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.app.task import Context
from redis import Redis

from tests.unit.support_queue import end_all, ids, must_claim, queue_on, raw
from worker.queue.operations import NewRequest, Queue
from worker.reports.reader import Reports
from worker.runtime import publisher as results
from worker.runtime.canvas import canvas_of, run_canvas
from worker.runtime.publisher import Publisher, result_of
from worker.states import Outcome


@pytest.fixture
def app() -> Celery:
    """Give an app whose messages and own results stay in memory; the whole process shares that broker."""
    celery = Celery("test", broker="memory://", backend="cache+memory://", set_as_current=False)
    sent(celery)
    return celery


def publisher_of(queue: Queue, app: Celery) -> Publisher:
    return Publisher(app, queue.redis, queue.keys, 100)


def stored(queue: Queue, app: Celery, request_id: str = "r") -> dict[str, Any]:
    """Return what a caller finds in the result backend; empty when there is nothing."""
    backend: Any = app.backend
    key = backend.get_key_for_task(request_id)
    found: dict[str, Any] = json.loads(raw(queue).get(key.decode() if isinstance(key, bytes) else key) or "{}")
    return found


def sent(app: Celery) -> list[dict[str, Any]]:
    """Return the messages that were sent, as name and arguments."""
    found = []
    with app.connection_for_read() as connection:
        messages = connection.SimpleQueue("celery")
        while messages.qsize():
            message = messages.get_nowait()
            message.ack()
            found.append({"task": message.headers["task"], "args": message.payload[0]})
        messages.close()
    return found


def finished(client: Redis, outcome: Outcome = Outcome.DELETED, **options: Any) -> Queue:
    queue = queue_on(client)
    queue.enqueue(NewRequest("r", "s", **options), ["a"])
    end_all(queue, must_claim(queue, "t"), outcome, "locked" if outcome is Outcome.FAILED else "")
    return queue


def test_a_success_is_the_report(redis_client: Redis, app: Celery) -> None:
    """SUCCESS has the report as its result, expires, and leaves the outbox."""
    queue = finished(redis_client)
    publisher_of(queue, app).publish(["r"])
    result = stored(queue, app)
    assert (result["status"], result["task_id"]) == ("SUCCESS", "r")
    assert result["result"] == Reports(queue.redis, queue.keys).read(["r"])[0]
    assert raw(queue).zcard(queue.keys("outbox")) == 0
    keys = [key for key in raw(queue).keys("*") if "meta" in key]
    assert [0 < raw(queue).pttl(key) <= 100_000 for key in keys] == [True]


@pytest.mark.parametrize("outcome", [Outcome.DELETED, Outcome.FAILED])
@pytest.mark.parametrize(
    ("source", "own", "seconds"), [("s", None, 100), ("shop", None, 3600), ("shop", 7200, 7200), ("s", 60, 60)]
)
def test_a_result_is_kept_as_its_request_or_its_source_says(
    redis_client: Redis, app: Celery, outcome: Outcome, source: str, own: int | None, seconds: int
) -> None:
    """The time of the request comes before that of its source, and that before the setting, for all of its keys."""
    queue = queue_on(redis_client, result_ttl_seconds=100, result_ttl_by_source={"shop": 3600})
    canvas = {"errbacks": [dict(app.signature("follow"))]} if outcome is Outcome.FAILED else None
    queue.enqueue(NewRequest("r", source, canvas=canvas, result_ttl_seconds=own), ["a"])
    end_all(queue, must_claim(queue, "t"), outcome)
    publisher_of(queue, app).publish(["r"])
    kept = [key for key in raw(queue).keys("*") if key.endswith(":r") or key == queue.keys.result("r")]
    assert len(kept) == (1 if outcome is Outcome.DELETED else 3)
    assert len(sent(app)) == (outcome is Outcome.FAILED)
    for key in kept:
        assert seconds - 30 < raw(queue).ttl(key) <= seconds, key


@pytest.mark.parametrize(
    ("how", "state", "error"),
    [("failed", "FAILURE", "DeletionIncomplete"), ("cancelled", "REVOKED", "RequestCancelled")],
)
def test_any_other_state_is_an_error_with_the_report(
    redis_client: Redis, app: Celery, how: str, state: str, error: str
) -> None:
    """FAILURE and REVOKED are exceptions whose only argument is the report."""
    if how == "failed":
        queue = finished(redis_client, Outcome.FAILED)
    else:
        queue = queue_on(redis_client)
        queue.enqueue(NewRequest("r", "s"), ["a"])
        queue.cancel("r")
    publisher_of(queue, app).publish(["r"])
    result = stored(queue, app)
    assert (result["status"], result["result"]["exc_type"]) == (state, error)
    assert result["result"]["exc_message"][0]["total"] == 1
    again: Any = app.backend.exception_to_python(result["result"])
    assert type(again).__name__ == error
    assert again.report["state"] == state
    assert "r" in str(again)


def test_progress_is_published_until_it_is_final(redis_client: Redis, app: Celery) -> None:
    """Unfinished requests that changed show their report so far."""
    queue = queue_on(redis_client, batch_size=2)
    queue.enqueue(NewRequest("r", "s"), ids("a", 4))
    end_all(queue, must_claim(queue, "t"))
    publisher = publisher_of(queue, app)
    assert publisher.publish_progress() == 1
    result = stored(queue, app)
    assert (result["status"], result["result"]["deleted"]) == ("PROGRESS", 2)
    assert publisher.publish_progress() == 0


def test_an_early_state_never_hides_a_final_one(redis_client: Redis, app: Celery) -> None:
    """A report that was read before the end, and is written after it, is dropped."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s"), ["a"])
    publisher = publisher_of(queue, app)
    early = Reports(queue.redis, queue.keys).read_all(["r"])[0]
    assert early is not None
    end_all(queue, must_claim(queue, "t"))
    publisher.publish(["r"])
    with queue.redis.pipeline() as pipe:
        publisher._add(pipe, early, publisher._meta("QUEUED"))
        assert pipe.execute() == [0]
    assert stored(queue, app)["status"] == "SUCCESS"


def test_an_early_state_of_an_unknown_request_is_not_written(redis_client: Redis, app: Celery) -> None:
    """What has expired does not come back."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s"), ["a"])
    early = Reports(queue.redis, queue.keys).read_all(["r"])[0]
    assert early is not None
    raw(queue).flushall()
    publisher = publisher_of(queue, app)
    with queue.redis.pipeline() as pipe:
        publisher._add(pipe, early, publisher._meta("QUEUED"))
        pipe.execute()
    assert raw(queue).keys("*meta*") == []


def test_what_a_crash_left_unpublished_is_published(redis_client: Redis, app: Celery) -> None:
    """The worker that settled has some time to publish; then another does, and only one at a time."""
    queue = finished(redis_client)
    publisher = publisher_of(queue, app)
    assert publisher.publish_left_over() == 0
    raw(queue).zadd(queue.keys("outbox"), {"r": 1})
    assert queue.scripts.run("runtime/take_unpublished", {"most": 10, "take_for_ms": 10_000}) == ["r"]
    assert queue.scripts.run("runtime/take_unpublished", {"most": 10, "take_for_ms": 10_000}) == []
    raw(queue).zadd(queue.keys("outbox"), {"r": 1})
    assert publisher.publish_left_over() == 1
    assert stored(queue, app)["status"] == "SUCCESS"
    assert raw(queue).zcard(queue.keys("outbox")) == 0


def test_an_expired_request_leaves_the_outbox(redis_client: Redis, app: Celery) -> None:
    """A request that has expired leaves the outbox."""
    queue = queue_on(redis_client)
    raw(queue).zadd(queue.keys("outbox"), {"long gone": 1})
    assert publisher_of(queue, app).publish_left_over() == 1
    assert raw(queue).zcard(queue.keys("outbox")) == 0


def test_a_callback_that_cannot_be_dispatched_delays_no_other(
    redis_client: Redis, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bad canvas stays in the outbox; the requests behind it are published and sent off."""
    queue = queue_on(redis_client)
    for request in ("bad", "good"):
        queue.enqueue(NewRequest(request, "s", canvas={"callbacks": [{"task": "follow"}]}), [request])
    end_all(queue, must_claim(queue, "t"))
    went = []

    def run(app: Celery, canvas: dict[str, Any], request_id: str, *rest: Any) -> None:
        if request_id == "bad":
            raise KeyError("nonsense")
        went.append(request_id)

    monkeypatch.setattr(results, "run_canvas", run)
    publisher_of(queue, app).publish(["bad", "good"])
    assert went == ["good"]
    assert stored(queue, app, "bad")["status"] == "SUCCESS"
    assert raw(queue).zrange(queue.keys("outbox"), 0, -1) == ["bad"]


def test_a_canvas_runs_when_the_deletion_is_done(redis_client: Redis, app: Celery) -> None:
    """`link` is sent with the report when the request is published as final, and then it leaves the outbox."""
    follow = app.signature("follow")
    queue = finished(redis_client, canvas={"callbacks": [dict(follow)]})
    publisher = publisher_of(queue, app)
    publisher.publish_reports(["r"])
    assert sent(app) == []
    assert raw(queue).zcard(queue.keys("outbox")) == 1
    publisher.publish(["r"])
    assert [message["args"][0]["deleted"] for message in sent(app)] == [1]
    assert raw(queue).zcard(queue.keys("outbox")) == 0


def test_a_plain_task_has_no_callbacks() -> None:
    """A message without canvas keeps nothing with the request."""
    assert canvas_of(Context({"id": "r", "root_id": "r"})) is None


@pytest.mark.parametrize("part", ["callbacks", "errbacks", "chain"])
def test_callbacks_of_a_task_are_stored_as_plain_data(app: Celery, part: str) -> None:
    """It goes through JSON and comes out the same."""
    arrived = json.loads(json.dumps([app.signature("follow")]))
    canvas = canvas_of(Context({"id": "r", part: arrived, "root_id": "x"}))
    assert canvas is not None
    assert json.loads(json.dumps(canvas)) == canvas
    assert set(canvas) == {part, "root_id"}


def test_a_chain_continues_with_its_next_step(app: Celery) -> None:
    """The next step gets the result; the steps behind it travel with it."""
    steps = [dict(app.signature("third")), dict(app.signature("follow"))]
    run_canvas(app, {"chain": steps}, "r", {"deleted": 1}, "SUCCESS")
    assert sent(app) == [{"task": "follow", "args": [{"deleted": 1}]}]


def test_a_failure_calls_the_errbacks_and_not_the_callbacks(app: Celery) -> None:
    """`link_error` runs for a request that did not succeed."""
    canvas = {"callbacks": [dict(app.signature("follow"))], "errbacks": [dict(app.signature("elsewhere"))]}
    report: Any = {"state": "FAILURE", "request_id": "r"}
    run_canvas(app, canvas, "r", result_of(report), "FAILURE")
    assert [message["task"] for message in sent(app)] == ["elsewhere"]


def test_the_kinds_of_canvas_are_known_to_this_celery(app: Celery) -> None:
    """Chains, groups and chords are built from the parts that are kept."""
    step = app.signature("follow")
    assert len(chain(step, step).tasks) == len(group(step, step).tasks) == 2
    assert chord([step], step).body == step
