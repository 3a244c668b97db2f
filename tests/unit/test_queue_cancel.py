"""Cancelling a request, wherever its ids are."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.unit.support_queue import (
    check_invariants,
    end_all,
    files_of,
    ids,
    line_of,
    must_claim,
    queue_on,
    raw,
    release_holds,
    run_out,
)
from worker.queue.claims import park, retry
from worker.queue.operations import Chunk, NewRequest, Queue
from worker.reports.reader import Reports
from worker.states import Doubt, Outcome, State


def cancelled(queue: Queue, request_id: str) -> dict[str, str]:
    """Return the remark of every cancelled file of a request."""
    found = Reports(queue.redis, queue.keys).outcomes(request_id)
    return {end.file_id: end.error for end in found if end.outcome is Outcome.CANCELLED}


def test_an_unknown_request_cannot_be_cancelled(redis_client: Redis) -> None:
    """An unknown id is reported as such."""
    assert queue_on(redis_client).cancel("nobody") is None


def test_an_unsealed_request_vanishes(redis_client: Redis) -> None:
    """Of what was never accepted nothing is left."""
    queue = queue_on(redis_client)
    queue.add_chunk(NewRequest("r", "s"), ["a"], Chunk(is_last=False))
    assert queue.cancel("r") == (State.REVOKED, 0)
    assert raw(queue).keys("*request:*") == []


@pytest.mark.parametrize("hold_seconds", [0, 3600])
def test_what_waits_is_cancelled_at_once(redis_client: Redis, hold_seconds: float) -> None:
    """A request that waits or is on hold is final at once, and is never claimed."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s", hold_seconds=hold_seconds), ids("a", 250))
    assert queue.cancel("r") == (State.REVOKED, 250)
    assert cancelled(queue, "r") == dict.fromkeys(ids("a", 250), "")
    check_invariants(queue, {"r": set(ids("a", 250))})
    release_holds(queue)
    assert queue.claim("t") is None


@pytest.mark.parametrize("doubt", [Doubt.NONE, Doubt.UNANSWERED])
@pytest.mark.parametrize("way", ["retry", "parked"])
def test_returned_items_are_cancelled_with_a_remark_if_in_doubt(redis_client: Redis, way: str, doubt: Doubt) -> None:
    """Retries and parked items are cancelled; where a lost call may have deleted the file, that is said."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s"), ["a", "b"])
    queue.enqueue(NewRequest("other", "s"), ["c"])
    claim = must_claim(queue, "t")
    if way == "retry":
        queue.settle("t", retry(claim.items, 60_000, doubt))
    else:
        queue.settle("t", park(claim.items, delay_ms=60_000, doubt=doubt))
    assert queue.cancel("r") == (State.REVOKED, 2)
    remarks = cancelled(queue, "r")
    assert set(remarks) == {"a", "b"}
    assert all(("may be deleted" in remark) == (doubt is Doubt.UNANSWERED) for remark in remarks.values())
    check_invariants(queue, {"r": {"a", "b"}, "other": {"c"}})


def test_what_is_in_flight_runs_to_its_end(redis_client: Redis) -> None:
    """The call in flight counts; the request is final when it is settled."""
    queue = queue_on(redis_client, batch_size=2)
    queue.enqueue(NewRequest("r", "s"), ids("a", 5))
    claim = must_claim(queue, "t")
    assert queue.cancel("r") == (State.PROGRESS, 3)
    check_invariants(queue, {"r": set(ids("a", 5))})
    assert end_all(queue, claim) == ["r"]
    assert check_invariants(queue, {"r": set(ids("a", 5))}).requests["r"].state is State.REVOKED


def test_a_request_of_which_all_was_in_flight_may_still_succeed(redis_client: Redis) -> None:
    """When nothing was left to cancel and all files were deleted, that is what the report says."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s"), ["a"])
    claim = must_claim(queue, "t")
    assert queue.cancel("r") == (State.PROGRESS, 0)
    end_all(queue, claim)
    assert check_invariants(queue, {"r": {"a"}}).requests["r"].state is State.SUCCESS


def test_items_of_a_dead_worker_are_not_sent_again_after_cancellation(redis_client: Redis) -> None:
    """At the next claim, items of an expired lease end as cancelled, with a remark; others are claimed."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s"), ["a"])
    queue.enqueue(NewRequest("other", "s"), ["b"])
    must_claim(queue, "t")
    queue.cancel("r")
    run_out(queue, "t")
    assert files_of(must_claim(queue, "t2").items) == ["b"]
    assert "may be deleted" in cancelled(queue, "r")["a"]
    check_invariants(queue, {"r": {"a"}, "other": {"b"}})


def test_a_finished_request_stays_as_it_is(redis_client: Redis) -> None:
    """Cancelling too late changes nothing."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s"), ["a"])
    end_all(queue, must_claim(queue, "t"))
    assert queue.cancel("r") == (State.SUCCESS, 0)
    check_invariants(queue, {"r": {"a"}})


def test_cancelling_twice_keeps_the_first_time(redis_client: Redis) -> None:
    """The second call finds nothing more, and does not move the moment at which the first one came."""
    queue = queue_on(redis_client, batch_size=1)
    queue.enqueue(NewRequest("r", "s"), ["a", "b"])
    must_claim(queue, "t")
    queue.cancel("r")
    about = queue.keys.request("r")
    raw(queue).hset(about, mapping={"revoked": 5, "withdrawn_at": 5})
    assert queue.cancel("r") == (State.PROGRESS, 0)
    assert raw(queue).hmget(about, "revoked", "withdrawn_at") == ["5", "5"]


@pytest.mark.parametrize(
    ("redis_client", "count"),
    [("fake", 3), pytest.param("real", 2600, marks=pytest.mark.real_server)],  # the fake takes long for so many
    indirect=["redis_client"],
)
def test_cancelled_requests_hold_up_nobody(redis_client: Redis, count: int) -> None:
    """Claims pass over some hundred at once: other sources do not wait for it, and nobody waits for long."""
    queue = queue_on(redis_client)
    for number in range(count):
        queue.enqueue(NewRequest(f"r{number}", "s"), [f"a{number}"])
        queue.cancel(f"r{number}")
    queue.enqueue(NewRequest("last", "s"), ["z"])
    queue.enqueue(NewRequest("other", "other"), ["o"])
    claims = [claim for turn in range(3) if (claim := queue.claim(f"t{turn}"))]
    assert "o" in files_of(claims[0].items)
    assert sorted(file for claim in claims for file in files_of(claim.items)) == ["o", "z"]
    assert line_of(queue, "s") == []
    assert queue.peek(10).claimable == 0
