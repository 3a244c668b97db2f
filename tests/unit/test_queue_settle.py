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
from worker.queue.claims import Claim, Item, end, park, retry
from worker.queue.operations import NewRequest, Queue
from worker.states import Doubt, Outcome, State


def started(client: Redis, *files: str) -> tuple[Queue, Claim]:
    """Return a queue with one request `r`, all of it claimed."""
    queue = queue_on(client)
    queue.enqueue(NewRequest("r", "s"), files)
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
    settlements = end(claim.items[:1], outcome, "why") + end(claim.items[1:], Outcome.DELETED)
    assert queue.settle("t", settlements) == ["r"]
    seen = check_invariants(queue, {"r": {"a", "b"}}).requests["r"]
    assert seen.state is state
    group = json.loads(raw(queue).lrange(queue.keys.request("r", outcome), 0, 0)[0])
    assert group[1:] == [1, "why", "a"]


def test_a_finished_request_goes_to_the_outbox_and_expires(redis_client: Redis) -> None:
    """In the same step the request becomes final, gets its expiry, and enters the outbox."""
    queue = queue_on(redis_client, result_ttl_seconds=100)
    queue.enqueue(NewRequest("r", "s"), ids("a", 2))
    assert end_all(queue, must_claim(queue, "t")) == ["r"]
    assert raw(queue).zrange(queue.keys("outbox"), 0, -1) == ["r"]
    for key in raw(queue).keys("*request:*"):
        assert 0 < raw(queue).pttl(key) <= 100_000


def test_a_part_of_a_claim_may_be_settled(redis_client: Redis) -> None:
    """What the settlements do not name stays in flight, under the same token."""
    queue, claim = started(redis_client, "a", "b")
    assert queue.settle("t", end(claim.items[:1], Outcome.DELETED)) == []
    seen = check_invariants(queue, {"r": {"a", "b"}}).requests["r"]
    assert (seen.in_flight, seen.state) == (["b"], State.QUEUED)
    assert raw(queue).sismember(queue.keys("changed"), "r")


def test_settling_twice_counts_once(redis_client: Redis) -> None:
    """A settle whose answer was lost is sent again, and changes nothing more."""
    queue, claim = started(redis_client, "a", "b", "c")
    settlements = end(claim.items[:1], Outcome.DELETED) + retry(claim.items[1:2], 1000) + park(claim.items[2:])
    queue.settle("t", settlements)
    once = check_invariants(queue, {"r": {"a", "b", "c"}})
    seen = once.requests["r"]
    assert (len(seen.ended), len(seen.retries), len(seen.parked)) == (1, 1, 1)
    queue.settle("t", settlements)
    assert check_invariants(queue, {"r": {"a", "b", "c"}}) == once


@pytest.mark.parametrize("outcome", [Outcome.NOT_FOUND, Outcome.PRESUMED_DELETED, Outcome.FAILED])
def test_a_lost_claim_settles_nothing(redis_client: Redis, outcome: Outcome) -> None:
    """After the lease was taken over, the former holder's word is a quiet no-op."""
    queue, old = started(redis_client, "a")
    run_out(queue, "t")
    must_claim(queue, "t2")
    assert queue.settle("t", end(old.items, outcome)) == []
    assert queue.settle("t", retry(old.items, 0)) == queue.settle("t", park(old.items)) == []
    assert check_invariants(queue, {"r": {"a"}}).requests["r"].in_flight == ["a"]


@pytest.mark.parametrize("place", ["claimed again", "parked", "retry"])
def test_a_definite_deleted_counts_wherever_the_item_is(redis_client: Redis, place: str) -> None:
    """The API's own "deleted" is recorded though the claim was lost: re-leased, parked or waiting for a retry."""
    queue, old = started(redis_client, "a")
    run_out(queue, "t")
    claim = must_claim(queue, "t2")
    if place == "parked":
        queue.settle("t2", park(claim.items, delay_ms=5000))
    elif place == "retry":
        queue.settle("t2", retry(claim.items, 5000))
    assert end_all(queue, old) == ["r"]
    check_invariants(queue, {"r": {"a"}})
    assert outcomes(queue) == {"a": Outcome.DELETED}
    assert queue.settle("t2", end(claim.items, Outcome.FAILED)) == []
    assert outcomes(queue) == {"a": Outcome.DELETED}


def test_a_retry_comes_back_by_itself_with_an_attempt_spent(redis_client: Redis) -> None:
    """A retried item is due after its delay, with its attempts and its doubt."""
    queue, claim = started(redis_client, "a", "b")
    queue.settle("t", retry(claim.items[:1], 5000, Doubt.UNANSWERED) + retry(claim.items[1:], 5000))
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
    queue.enqueue(NewRequest("r", "s"), ids("a", 6))
    claim = must_claim(queue, "t")
    queue.settle("t", retry(claim.items, 1000))
    make_retries_due(queue)
    assert set(files_of(must_claim(queue, "t2").items)) == set(files_of(claim.items))


def test_a_parked_group_is_claimed_together_again(redis_client: Redis) -> None:
    """Parking spends no attempt, keeps the group together, and keeps a doubt that was there before."""
    queue, claim = started(redis_client, "a", "b")
    queue.settle("t", park(claim.items, fails=1, doubt=Doubt.UNANSWERED))
    claim = must_claim(queue, "t2")
    assert (claim.fails, claim.failed_ago_ms is not None) == (1, True)
    queue.settle("t2", park(claim.items, fails=1, delay_ms=60_000))
    assert queue.claim("early") is None
    make_groups_due(queue)
    claim = must_claim(queue, "t3")
    assert [(item.attempts, item.doubt) for item in claim.items] == [(0, Doubt.UNANSWERED)] * 2
    assert claim.failed_ago_ms is not None
    check_invariants(queue, {"r": {"a", "b"}})


def test_each_parked_group_has_a_separate_token(redis_client: Redis) -> None:
    """The tokens are numbered after the claim's, also when its parts are settled one after the other."""
    queue, claim = started(redis_client, "a", "b", "c")
    queue.settle("t", park(claim.items[:1]) + park(claim.items[1:2]))
    queue.settle("t", park(claim.items[2:]))
    leases = take_picture(queue, ["r"]).leases
    assert leases == {"t.1": [("r", "a")], "t.2": [("r", "b")], "t.3": [("r", "c")]}
    check_invariants(queue, {"r": {"a", "b", "c"}})


def test_parking_repeatedly_does_not_lengthen_the_token(redis_client: Redis) -> None:
    """A group is numbered after the claim that parked it, not after the group that was claimed."""
    queue, claim = started(redis_client, "a")
    for turn in range(3):
        queue.settle(claim.token, park(claim.items))
        claim = must_claim(queue, f"u{turn}")
    queue.settle(claim.token, park(claim.items))
    assert list(take_picture(queue, ["r"]).leases) == ["u2.1"]


def test_a_settlement_travels_with_its_fields_named() -> None:
    """One entry for all ids of a request with the same settlement."""
    items = [Item("r", file, 1, Doubt.NONE) for file in ("a", "b")]
    settlements = end(items, Outcome.DELETED) + park([*items, Item("q", "c", 0, Doubt.NONE)], suspect=True)
    assert json.loads(json.dumps(vars(settlements))) == {
        "ended": [
            {"request": "r", "outcome": "deleted", "attempts": 2, "error": "", "doubt": "0", "ids": ["a", "b"]},
        ],
        "retried": [],
        "parked": [
            {
                "delay_ms": 0,
                "fails": 0,
                "suspect": True,
                "doubt": "0",
                "requests": [{"request": "r", "ids": ["a", "b"]}, {"request": "q", "ids": ["c"]}],
            },
        ],
    }


@pytest.mark.parametrize("way", ["retry", "park"])
def test_items_of_a_cancelled_request_do_not_go_back(redis_client: Redis, way: str) -> None:
    """What was in flight when its request was cancelled ends as cancelled when it would have gone back."""
    queue, claim = started(redis_client, "a", "b")
    assert queue.cancel("r") == (State.PROGRESS, 0)
    if way == "retry":
        back = retry(claim.items[1:], 0, Doubt.UNANSWERED)
    else:
        back = park(claim.items[1:], doubt=Doubt.UNANSWERED)
    assert queue.settle("t", end(claim.items[:1], Outcome.DELETED) + back) == ["r"]
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


def test_no_key_grows_without_bound(redis_client: Redis) -> None:
    """When all is done and published, every key has an expiry or is of fixed size."""
    queue, claim = started(redis_client, *ids("a", 10))
    queue.settle("t", park(claim.items, doubt=Doubt.UNANSWERED))
    end_all(queue, must_claim(queue, "t2"))
    raw(queue).zrem(queue.keys("outbox"), "r")
    for key in raw(queue).keys("*"):
        fixed = key.removeprefix(queue.keys.prefix) in {
            "format",
            "sequence",
            "totals",
            "account",
            "audit",
            "ended",
            "unfinished",
        }
        assert fixed or raw(queue).pttl(key) > 0, key
