"""The client: any number of ids as one request, its status and outcomes, and clear errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

import worker.account
from tasks.admin import Admin
from tasks.client import Client
from tests.unit.support_queue import check_invariants, end_all, ids, must_claim, raw, settings_for_tests
from worker.errors import InvalidRequest, RedisUnreachable, UnknownRequest
from worker.queue.operations import CHUNK_IDS, Queue


def published(queue: Queue, request_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(raw(queue).get(f"celery-task-meta-{request_id}") or "{}")
    return found


def test_a_request_is_enqueued_and_published_as_queued(client: Client, queue: Queue) -> None:
    """Callers may poll the id at once, by the client and by Celery's own result backend."""
    request_id = client.enqueue(["a", "b", "a"], source="shop", reason="why")
    check_invariants(queue, {request_id: {"a", "b"}})
    status = client.status(request_id)
    assert (status["state"], status["total"], status["source"], status["reason"]) == ("QUEUED", 2, "shop", "why")
    result = published(queue, request_id)
    assert (result["status"], result["result"]["total"]) == ("QUEUED", 2)


@pytest.mark.parametrize("count", [1, CHUNK_IDS, CHUNK_IDS + 1, 2 * CHUNK_IDS + 3])
def test_any_number_of_ids_is_one_request(client: Client, queue: Queue, count: int) -> None:
    """Ids are streamed in chunks, and form one request."""
    request_id = client.enqueue(iter(ids("a", count)))
    assert client.status(request_id)["total"] == count
    assert published(queue, request_id)["status"] == "QUEUED"


@pytest.mark.parametrize("place", [0, 3, CHUNK_IDS + 5, 2 * CHUNK_IDS + 5])
def test_a_bad_id_anywhere_enqueues_nothing(client: Client, queue: Queue, place: int) -> None:
    """The error names the position in the whole stream, and nothing of the request is left."""
    stream = ids("a", 2 * CHUNK_IDS + 10)
    stream[place] = "not good"
    with pytest.raises(InvalidRequest) as caught:
        client.enqueue(stream, request_id="r")
    assert caught.value.position == place
    assert raw(queue).keys("*request:*") == []
    assert queue.claim("t") is None


def test_a_stream_that_fails_enqueues_nothing(client: Client, queue: Queue) -> None:
    """An error of the caller's iterator is raised unchanged, and nothing of the request is left."""

    def stream() -> Iterator[str]:
        yield from ids("a", CHUNK_IDS + 100)
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"):
        client.enqueue(stream(), request_id="r")
    assert raw(queue).keys("*request:*") == []


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"file_ids": []}, "file_ids"),
        ({"source": "a b"}, "source"),
        ({"reason": "a\nb"}, "reason"),
        ({"hold_seconds": -1}, "hold_seconds"),
        ({"result_ttl_seconds": 59}, "result_ttl_seconds"),
        ({"request_id": "a b"}, "task id"),
    ],
)
def test_a_bad_argument_is_named(client: Client, queue: Queue, options: dict[str, Any], argument: str) -> None:
    """Nothing of an invalid request is sent."""
    with pytest.raises(InvalidRequest) as caught:
        client.enqueue(**{"file_ids": ["a"], **options})
    assert caught.value.argument == argument
    assert raw(queue).keys("*request:*") == []


def test_the_same_request_id_again_changes_nothing(client: Client, queue: Queue) -> None:
    """Sending it again is safe, also after the request has ended: the final result stays."""
    client.enqueue(["a"], request_id="r")
    end_all(queue, must_claim(queue, "t"))
    client._publisher.publish(["r"])
    assert client.enqueue(["a"], request_id="r") == "r"
    assert client.status("r")["state"] == published(queue, "r")["status"] == "SUCCESS"


def test_many_small_requests_in_few_round_trips(client: Client, queue: Queue) -> None:
    """Each is a request of its own, in the order given."""
    request_ids = client.enqueue_many([[f"f{number}"] for number in range(450)], source="s")
    assert len(set(request_ids)) == 450
    check_invariants(queue, {request: {f"f{number}"} for number, request in enumerate(request_ids)})
    assert [item.request_id for item in must_claim(queue, "t").items] == request_ids[:100]


def test_an_unknown_request_raises(client: Client) -> None:
    """Every method raises for an id that is unknown or has expired."""
    for ask in (client.status, client.cancel, client.wait, lambda name: list(client.outcomes(name))):
        with pytest.raises(UnknownRequest) as caught:
            ask("nobody")
        assert caught.value.request_id == "nobody"


def test_waiting_gives_the_final_report(client: Client, queue: Queue) -> None:
    """`wait` returns the report once it is final, and raises after its timeout."""
    request_id = client.enqueue(["a"])
    with pytest.raises(TimeoutError):
        client.wait(request_id, timeout=0)
    end_all(queue, must_claim(queue, "t"))
    assert client.wait(request_id, timeout=5)["successfully_deleted_file_ids"] == ["a"]
    assert [(line.file_id, line.outcome) for line in client.outcomes(request_id)] == [("a", "deleted")]


def test_cancelling_publishes_the_final_state(client: Client, queue: Queue) -> None:
    """A waiting request is REVOKED at once, also in the result backend."""
    request_id = client.enqueue(["a", "b"])
    report = client.cancel(request_id)
    assert (report["state"], report["cancelled"]) == ("REVOKED", 2)
    assert published(queue, request_id)["status"] == "REVOKED"


def test_a_hold_is_passed_on(client: Client, queue: Queue) -> None:
    """Held ids wait, and show as held."""
    client.enqueue(["a"], hold_seconds=60)
    assert queue.claim("t") is None
    assert client.stats()["held"] == 1


def test_pause_and_resume_act_on_the_account(
    client: Client, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`stats` shows both at once."""
    monkeypatch.setattr(worker.account, "connect", lambda _: redis_client)
    admin = Admin(settings_for_tests())
    admin.pause("maintenance")
    pause = client.stats()["pause"]
    assert pause is not None
    assert (pause["by"], pause["reason"]) == ("operator", "maintenance")
    admin.resume()
    assert client.stats()["pause"] is None


def test_an_unreachable_redis_is_one_clear_error(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the address of Redis, without a password."""

    def away(*_: Any, **__: Any) -> None:
        raise RedisConnectionError("away")

    monkeypatch.setattr(client._queue.scripts, "run", away)
    with pytest.raises(RedisUnreachable) as caught:
        client.cancel(client.enqueue(["a"]))
    assert "127.0.0.1:1" in str(caught.value)
