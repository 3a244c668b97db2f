"""Requests of which the published result tells all: their keys go, and everything about them is still answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from tests.unit.support_queue import end_all, ids, make_retries_due, must_claim, queue_on, raw, release_holds
from tests.unit.support_web import beat
from worker.errors import RequestIdTaken
from worker.queue.approvals import Approvals
from worker.queue.claims import end, retry
from worker.queue.digest import Digest
from worker.queue.operations import Chunk, NewRequest, Queue
from worker.queue.submitting import Submission, submit
from worker.queue.validation import Asked
from worker.reports.reader import Reports
from worker.runtime.publisher import Publisher
from worker.states import Outcome, State
from worker.store.keys import Keys

ASKED = Asked(
    request_id="r", source="s", reason=None, hold_seconds=0, result_ttl_seconds=None, callback=None, purge=None
)


@pytest.fixture
def app() -> Celery:
    """Give an app whose messages stay in memory."""
    return Celery("test", broker="memory://", backend="cache+memory://", set_as_current=False)


def publish(queue: Queue, app: Celery, request: str = "r") -> None:
    Publisher(app, queue.redis, queue.keys, 100).publish([request])


def everything(queue: Queue, request: str = "r") -> tuple[Any, Any]:
    """Return all that a caller can ask for: the report and the outcome of each file."""
    reports = Reports(queue.redis, queue.keys)
    return reports.read([request])[0], list(reports.outcomes(request))


def own_keys(queue: Queue, request: str = "r") -> list[str]:
    return [key for key in raw(queue).keys("*") if key.endswith(f":{request}")]


@pytest.mark.parametrize("outcome", [Outcome.DELETED, Outcome.NOT_FOUND, Outcome.PRESUMED_DELETED])
def test_only_the_result_is_kept(queue: Queue, app: Celery, outcome: Outcome) -> None:
    """What ended well in one step keeps its result alone, which answers as the keys did."""
    queue.enqueue(NewRequest("r", "s", reason="old", hold_seconds=60), ids("a", 30))
    release_holds(queue)
    end_all(queue, must_claim(queue, "t"), outcome)
    before = everything(queue)
    publish(queue, app)
    assert own_keys(queue) == []
    assert raw(queue).zcard(queue.keys("outbox")) == 0
    assert before[0]["state"] == "SUCCESS"
    assert len(before[1]) == 30
    assert everything(queue) == before


def test_the_same_request_again_changes_nothing(queue: Queue, app: Celery) -> None:
    """Its id is known for as long as its result is there: sent whole or as a stream, cancelled or published again."""
    queue.enqueue(NewRequest("r", "s"), ["a", "b"])
    end_all(queue, must_claim(queue, "t"))
    publish(queue, app)
    before, expires = everything(queue), raw(queue).pexpiretime(queue.keys.result("r"))
    assert queue.enqueue(NewRequest("r", "s"), ["c"]) == (State.SUCCESS, False, 2, "")
    assert queue.add_chunk(NewRequest("r", "s"), ["c"], Chunk(is_last=False, stream="x")).state is State.SUCCESS
    assert queue.cancel("r") == (State.SUCCESS, 0)
    assert Approvals(queue).approve("r") == Approvals(queue).reject("r") == "not_held"
    publish(queue, app)
    assert everything(queue) == before
    assert own_keys(queue) == []
    assert raw(queue).pexpiretime(queue.keys.result("r")) == expires
    assert queue.claim("t2") is None


def test_a_request_that_came_over_http_keeps_no_more(queue: Queue, app: Celery) -> None:
    """What tells it from another request with its id stands beside the result, and what it retries in it."""
    digest = Digest(ASKED)
    request = NewRequest("r", "s", digest=digest, retry_of="first")
    queue.enqueue(request, digest.over(["a", "b"]))
    end_all(queue, must_claim(queue, "t"))
    before, reports = everything(queue), Reports(queue.redis, queue.keys)
    assert before[0]["retry_of"] == "first"
    assert reports.content_of("r") == digest.text()
    publish(queue, app)
    assert own_keys(queue) == []
    assert everything(queue) == before
    assert reports.content_of("r") == digest.text()
    beat(queue)
    submission = Submission(NewRequest("r", "s"), ["a", "b"], content=digest.text())
    (joined,) = submit(queue, [submission], join_ms=60_000, alive_ms=60_000) or []
    assert (joined.content, joined.is_new, joined.state) == (digest.text(), False, State.SUCCESS)


def fail(queue: Queue) -> None:
    end_all(queue, must_claim(queue, "t"), Outcome.FAILED, "locked")


def end_in_two_steps(queue: Queue) -> None:
    claim = must_claim(queue, "t")
    queue.settle("t", end(claim.items[:1], Outcome.DELETED))
    while queue.now_ms() == json.loads(raw(queue).lindex(queue.keys.request("r", "deleted"), 0))[0]:
        pass
    queue.settle("t", end(claim.items[1:], Outcome.DELETED))


def end_at_the_second_attempt(queue: Queue) -> None:
    queue.settle("t", retry(must_claim(queue, "t").items, 1000))
    make_retries_due(queue)
    end_all(queue, must_claim(queue, "t2"))


def cancel(queue: Queue) -> None:
    queue.cancel("r")


@pytest.mark.parametrize("finish", [fail, end_in_two_steps, end_at_the_second_attempt, cancel])
def test_what_a_report_does_not_tell_is_kept(queue: Queue, app: Celery, finish: Any) -> None:
    """Failures, attempts, times of their own and cancelled ids: the request keeps its keys."""
    queue.enqueue(NewRequest("r", "s"), ["a", "b"])
    finish(queue)
    before = everything(queue)
    publish(queue, app)
    assert own_keys(queue) != []
    assert everything(queue) == before


def test_a_request_with_a_canvas_keeps_it_until_it_expires(queue: Queue, app: Celery) -> None:
    """What hangs on a request is no part of its report."""
    queue.enqueue(NewRequest("r", "s", canvas={"callbacks": [dict(app.signature("follow"))]}), ["a"])
    end_all(queue, must_claim(queue, "t"))
    publish(queue, app)
    assert own_keys(queue) != []


def test_keys_that_go_between_two_reads_are_no_empty_report(
    queue: Queue, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that has read the counts and finds no lists reads the result."""
    queue.enqueue(NewRequest("r", "s"), ["a"])
    end_all(queue, must_claim(queue, "t"))
    reports = Reports(queue.redis, queue.keys)
    before, read_groups = reports.read(["r"])[0], reports._first_groups

    def publish_first(abouts: Any) -> Any:
        publish(queue, app)
        return read_groups(abouts)

    monkeypatch.setattr(reports, "_first_groups", publish_first)
    assert reports.read(["r"])[0] == before


@pytest.mark.parametrize(
    "result",
    [
        {"status": "SUCCESS", "result": {"request_id": "another", "total": 1}},
        {"status": "SUCCESS", "result": [1]},
        {"status": "FAILURE", "result": {"request_id": "r", "total": 1}},
    ],
)
def test_a_result_of_somebody_else_is_no_request(queue: Queue, result: dict[str, Any]) -> None:
    """Other applications may keep results under the same id; the request is accepted."""
    raw(queue).set(queue.keys.result("r"), json.dumps(result, separators=(",", ":")))
    assert Reports(queue.redis, queue.keys).read(["r"]) == [None]
    assert queue.cancel("r") is None
    assert queue.enqueue(NewRequest("r", "s"), ["a"]).is_new


def test_an_account_knows_its_own_results(redis_client: Redis, app: Celery) -> None:
    """The result of another account than the default one names it, and no other account replaces it."""
    queue = queue_on(redis_client, account="shop")
    queue.enqueue(NewRequest("r", "s"), ["a"])
    end_all(queue, must_claim(queue, "t"))
    publish(queue, app)
    assert own_keys(queue) == []
    assert not queue.enqueue(NewRequest("r", "s"), ["b"]).is_new
    other = queue_on(redis_client)
    assert Reports(other.redis, other.keys).read(["r"]) == [None]
    assert other.cancel("r") is None
    with pytest.raises(RequestIdTaken):
        other.enqueue(NewRequest("r", "s"), ["b"])


def test_results_are_where_celery_looks(app: Celery) -> None:
    """Our map of keys and Celery's backend name the same key."""
    backend: Any = app.backend
    assert Keys("default").result("r") == backend.get_key_for_task("r").decode()
