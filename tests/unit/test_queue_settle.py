"""Settling: each item ends once, only its holder says how, and what is final expires."""

from __future__ import annotations

import json

import pytest
from redis import Redis

from tests.unit.support_queue import (
    check_invariants,
    end_all,
    files_of,
    ids,
    make_groups_due,
    make_retries_due,
    must_claim,
    queue_on,
    raw,
    run_out,
    take_picture,
)
from worker.queue.claims import Claim, Verdict
from worker.queue.operations import Queue
from worker.states import Doubt, Outcome, State


def started(client: Redis, *files: str) -> tuple[Queue, Claim]:
    """Return a queue with one request `r`, all of it claimed."""
    queue = queue_on(client)
    queue.enqueue("r", files, source="s")
    return queue, must_claim(queue, "t")


def outcomes(queue: Queue) -> dict[str, Outcome]:
    return {file: outcome for (_, file), outcome in take_picture(queue, ["r"]).outcomes().items()}


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome.DELETED, State.SUCCESS),
        (Outcome.NOT_FOUND, State.SUCCESS),
        (Outcome.PRESUMED_DELETED, State.SUCCESS),
        (Outcome.FAILED, State.FAILURE),
    ],
)
def test_each_outcome_ends_the_request_in_its_state(redis_client: Redis, outcome: Outcome, state: State) -> None:
    """A request is a success when every file is gone, and a failure when one could not be deleted."""
    queue, claim = started(redis_client, "a", "b")
    verdict = Verdict()
    verdict.end(claim.items[:1], outcome, "why")
    verdict.end(claim.items[1:], Outcome.DELETED)
    assert queue.settle("t", verdict) == (2, ["r"])
    seen = check_invariants(queue, {"r": {"a", "b"}}).requests["r"]
    assert seen.state is state
    group = json.loads(raw(queue).lrange(queue.keys.request("r", outcome), 0, 0)[0])
    assert group[1:] == [1, "why", "a"]


def test_a_finished_request_goes_to_the_outbox_and_expires(redis_client: Redis) -> None:
    """In the same step the request becomes final, gets its expiry, and stands ready to be published."""
    queue = queue_on(redis_client, result_ttl_seconds=100)
    queue.enqueue("r", ids("a", 2), source="s")
    assert end_all(queue, must_claim(queue, "t")) == ["r"]
    assert raw(queue).zrange(queue.keys("outbox"), 0, -1) == ["r"]
    for key in raw(queue).keys("*request:*"):
        assert 0 < raw(queue).pttl(key) <= 100_000


def test_a_part_of_a_claim_may_be_settled(redis_client: Redis) -> None:
    """What a verdict does not name stays in flight, under the same token."""
    queue, claim = started(redis_client, "a", "b")
    verdict = Verdict()
    verdict.end(claim.items[:1], Outcome.DELETED)
    assert queue.settle("t", verdict) == (1, [])
    seen = check_invariants(queue, {"r": {"a", "b"}}).requests["r"]
    assert (seen.held, seen.state) == (["b"], State.QUEUED)
    assert raw(queue).sismember(queue.keys("changed"), "r")


def test_settling_twice_counts_once(redis_client: Redis) -> None:
    """A settle whose answer was lost is sent again, and changes nothing more."""
    queue, claim = started(redis_client, "a", "b", "c")
    verdict = Verdict()
    verdict.end(claim.items[:1], Outcome.DELETED)
    verdict.retry(claim.items[1:2], 1000)
    verdict.park("g", claim.items[2:])
    assert queue.settle("t", verdict).items == 3
    assert queue.settle("t", verdict).items == 0
    check_invariants(queue, {"r": {"a", "b", "c"}})


@pytest.mark.parametrize("outcome", [Outcome.NOT_FOUND, Outcome.PRESUMED_DELETED, Outcome.FAILED])
def test_who_lost_the_claim_decides_nothing(redis_client: Redis, outcome: Outcome) -> None:
    """After the lease was taken over, the former holder's word is a quiet no-op."""
    queue, old = started(redis_client, "a")
    run_out(queue, "t")
    must_claim(queue, "t2")
    verdict = Verdict()
    verdict.end(old.items, outcome)
    assert queue.settle("t", verdict) == (0, [])
    retry, park = Verdict(), Verdict()
    retry.retry(old.items, 0)
    park.park("g", old.items)
    assert queue.settle("t", retry).items == queue.settle("t", park).items == 0
    assert check_invariants(queue, {"r": {"a"}}).requests["r"].held == ["a"]


@pytest.mark.parametrize("place", ["claimed again", "parked", "retry"])
def test_a_definite_deleted_counts_wherever_the_item_is(redis_client: Redis, place: str) -> None:
    """The API's own "deleted" is recorded though the claim was lost: re-leased, parked or waiting for a retry."""
    queue, old = started(redis_client, "a")
    run_out(queue, "t")
    claim = must_claim(queue, "t2")
    back = Verdict()
    if place == "parked":
        back.park("g", claim.items, delay_ms=5000)
    elif place == "retry":
        back.retry(claim.items, 5000)
    queue.settle("t2", back)
    assert end_all(queue, old) == ["r"]
    check_invariants(queue, {"r": {"a"}})
    assert outcomes(queue) == {"a": Outcome.DELETED}
    late = Verdict()
    late.end(claim.items, Outcome.FAILED)
    assert queue.settle("t2", late).items == 0
    assert outcomes(queue) == {"a": Outcome.DELETED}


def test_a_retry_comes_back_by_itself_with_an_attempt_spent(redis_client: Redis) -> None:
    """A retried item is due after its delay, and carries its attempts and its doubt."""
    queue, claim = started(redis_client, "a", "b")
    verdict = Verdict()
    verdict.retry(claim.items[:1], 5000, Doubt.UNANSWERED)
    verdict.retry(claim.items[1:], 5000)
    queue.settle("t", verdict)
    check_invariants(queue, {"r": {"a", "b"}})
    assert queue.claim("early") is None
    make_retries_due(queue)
    back = must_claim(queue, "t2").items
    assert {(item.file_id, item.attempts, item.doubt) for item in back} == {
        ("a", 1, Doubt.UNANSWERED),
        ("b", 1, Doubt.NONE),
    }


def test_a_due_retry_goes_before_the_ids_that_wait(redis_client: Redis) -> None:
    """Of one request, what has been tried goes first."""
    queue = queue_on(redis_client, batch_size=2)
    queue.enqueue("r", ids("a", 6), source="s")
    claim = must_claim(queue, "t")
    verdict = Verdict()
    verdict.retry(claim.items, 1000)
    queue.settle("t", verdict)
    make_retries_due(queue)
    assert set(files_of(must_claim(queue, "t2").items)) == set(files_of(claim.items))


def test_a_parked_group_comes_back_as_it_stands(redis_client: Redis) -> None:
    """Parking spends no attempt, keeps the group together, and keeps a doubt that was there before."""
    queue, claim = started(redis_client, "a", "b")
    first = Verdict()
    first.park("g1", claim.items, fails=1, doubt=Doubt.UNANSWERED)
    queue.settle("t", first)
    claim = must_claim(queue, "t2")
    assert (claim.fails, claim.failed_ago_ms is not None) == (1, True)
    second = Verdict()
    second.park("g2", claim.items, fails=1, delay_ms=60_000)
    queue.settle("t2", second)
    assert queue.claim("early") is None
    make_groups_due(queue)
    claim = must_claim(queue, "t3")
    assert [(item.attempts, item.doubt) for item in claim.items] == [(0, Doubt.UNANSWERED)] * 2
    assert claim.failed_ago_ms is not None
    check_invariants(queue, {"r": {"a", "b"}})


@pytest.mark.parametrize("way", ["retry", "park"])
def test_items_of_a_cancelled_request_do_not_go_back(redis_client: Redis, way: str) -> None:
    """What was in flight when its request was cancelled ends as cancelled when it would have gone back."""
    queue, claim = started(redis_client, "a", "b")
    assert queue.cancel("r") == (State.PROGRESS, 0)
    verdict = Verdict()
    verdict.end(claim.items[:1], Outcome.DELETED)
    if way == "retry":
        verdict.retry(claim.items[1:], 0, Doubt.UNANSWERED)
    else:
        verdict.park("g", claim.items[1:], doubt=Doubt.UNANSWERED)
    assert queue.settle("t", verdict).finished == ["r"]
    assert outcomes(queue) == {"a": Outcome.DELETED, "b": Outcome.CANCELLED}
    assert check_invariants(queue, {"r": {"a", "b"}}).requests["r"].state is State.REVOKED
    remark = json.loads(raw(queue).lrange(queue.keys.request("r", "cancelled"), 0, 0)[0])[2]
    assert "may be deleted" in remark


def test_ids_of_any_alphabet_survive(redis_client: Redis) -> None:
    """An id is any text without spaces: quotes, slashes and other alphabets included."""
    strange = ['"quoted"', "a/b\\c", "ключ", "🗝", "%s", "{x}", "a:b"]
    queue, claim = started(redis_client, *strange)
    assert set(files_of(claim.items)) == set(strange)
    end_all(queue, claim, Outcome.FAILED, 'said "no": ключ')
    assert set(outcomes(queue)) == set(strange)
    check_invariants(queue, {"r": set(strange)})


def test_nothing_is_left_that_grows(redis_client: Redis) -> None:
    """When all is done and published, every key has an expiry or is of fixed size."""
    queue, claim = started(redis_client, *ids("a", 10))
    verdict = Verdict()
    verdict.park("g", claim.items, doubt=Doubt.UNANSWERED)
    queue.settle("t", verdict)
    end_all(queue, must_claim(queue, "t2"))
    raw(queue).zrem(queue.keys("outbox"), "r")
    for key in raw(queue).keys("*"):
        fixed = key.removeprefix(queue.keys.prefix) in {"sequence", "totals", "account", "audit"}
        assert fixed or raw(queue).pttl(key) > 0, key
