"""Claiming: equal shares, full batches, one place for each file id, and what died first."""

from __future__ import annotations

from collections import Counter

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
)
from worker.queue.claims import Claim, end, park, retry
from worker.queue.operations import NewRequest, Queue
from worker.states import Doubt, Outcome


def by_request(claim: Claim) -> Counter[str]:
    return Counter(item.request_id for item in claim.items)


def put_back(queue: Queue, claim: Claim, *, suspect: bool = False, fails: int = 0) -> None:
    queue.settle(claim.token, park(claim.items, suspect=suspect, fails=fails))


def test_there_is_nothing_to_claim_at_first(redis_client: Redis) -> None:
    """An empty queue gives no claim, and keeps nothing of the attempt."""
    queue = queue_on(redis_client)
    assert queue.claim("t") is None
    assert raw(queue).keys("*") == [queue.keys("format")]


def test_a_batch_is_shared_equally(redis_client: Redis) -> None:
    """Sources with enough work get equal shares, however much each has."""
    queue = queue_on(redis_client)
    for source, count in (("million", 5000), ("many", 300), ("some", 100), ("few", 60)):
        queue.enqueue(NewRequest(source, source), ids(source, count))
    assert by_request(must_claim(queue, "t")) == {"million": 25, "many": 25, "some": 25, "few": 25}


def test_what_a_source_leaves_over_is_shared_again(redis_client: Redis) -> None:
    """Water-filling: small sources get all they have, the others share the rest equally; the batch is full."""
    queue = queue_on(redis_client)
    for source, count in (("one", 1), ("ten", 10), ("big", 500), ("huge", 1000)):
        queue.enqueue(NewRequest(source, source), ids(source, count))
    shares = by_request(must_claim(queue, "t"))
    assert (shares["one"], shares["ten"]) == (1, 10)
    assert shares["big"] + shares["huge"] == 89
    assert abs(shares["big"] - shares["huge"]) <= 1


def test_one_id_of_a_quiet_source_is_in_the_next_batch(redis_client: Redis) -> None:
    """A source that comes late, behind 100,000 ids of another, is served by the very next claim."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("big", "big"), ids("b", 100_000))
    must_claim(queue, "t1")
    queue.enqueue(NewRequest("quiet", "quiet"), ["q"])
    assert "q" in files_of(must_claim(queue, "t2").items)


def test_more_sources_than_a_batch_has_items_take_turns(redis_client: Redis) -> None:
    """Of 250 sources each is served within three claims."""
    queue = queue_on(redis_client)
    for number in range(250):
        queue.enqueue(NewRequest(f"r{number}", f"s{number}"), ids(f"s{number}-", 4))
    served: set[str] = set()
    for turn in range(3):
        claim = must_claim(queue, f"t{turn}")
        assert len(claim.items) == 100
        served |= set(by_request(claim))
    assert len(served) == 250


def test_requests_of_a_source_are_served_in_the_order_of_their_coming(redis_client: Redis) -> None:
    """Within a source the older request goes first, and its ids in their order."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("first", "s"), ids("a", 60))
    queue.enqueue(NewRequest("second", "s"), ids("b", 60))
    queue.enqueue(NewRequest("third", "s"), ids("c", 60))
    claim = must_claim(queue, "t")
    assert files_of(claim.items) == ids("a", 60) + ids("b", 40)


def test_batches_are_full_while_ids_wait(redis_client: Redis) -> None:
    """Requests of one to thirty ids from many sources fill every batch to the last."""
    queue = queue_on(redis_client)
    total = 0
    for number in range(60):
        size = number * 7 % 30 + 1
        total += size
        queue.enqueue(NewRequest(f"r{number}", f"s{number % 20}"), ids(f"r{number}-", size))
    for turn in range(total // 100):
        assert len(must_claim(queue, f"t{turn}").items) == 100


def test_batches_are_full_though_two_sources_ask_for_the_same_ids(redis_client: Redis) -> None:
    """An id that another claim has leaves room for another: no call is half empty while ids wait."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r1", "s1"), ids("a", 1000))
    queue.enqueue(NewRequest("r2", "s2"), ids("a", 1000))
    assert len(must_claim(queue, "t").items) == 100
    check_invariants(queue, {"r1": set(ids("a", 1000)), "r2": set(ids("a", 1000))})


def test_fewer_ids_than_wanted_are_not_claimed(redis_client: Redis) -> None:
    """`fewest` keeps a batch back that is not worth a call yet."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s"), ids("a", 9))
    assert queue.claim("t", fewest=10) is None
    assert len(must_claim(queue, "t", fewest=9).items) == 9


def test_a_due_group_is_always_worth_a_claim(redis_client: Redis) -> None:
    """A group that just had its turn is claimed again when too few fresh ids wait for a claim."""
    queue = queue_on(redis_client, batch_size=10)
    queue.enqueue(NewRequest("r", "s"), ids("a", 20))
    put_back(queue, must_claim(queue, "t1"), suspect=True)
    put_back(queue, must_claim(queue, "t2", fewest=100), suspect=True)
    queue.enqueue(NewRequest("few", "s"), ["z"])
    assert raw(queue).hget(queue.keys("account"), "group_had_turn")
    assert must_claim(queue, "t3", fewest=100).suspect


def test_the_same_token_gives_the_same_claim(redis_client: Redis) -> None:
    """A claim whose answer was lost is asked for again, and takes no second batch."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s"), ids("a", 150))
    first, again = must_claim(queue, "t"), must_claim(queue, "t")
    assert sorted(first.items) == sorted(again.items)
    assert raw(queue).hget(queue.keys("in_flight"), "s") == "100"
    check_invariants(queue, {"r": set(ids("a", 150))})


def test_an_expired_lease_goes_first_and_counts_as_unanswered(redis_client: Redis) -> None:
    """What a dead worker held is claimed before fresh ids: its call may have been made."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s"), ids("a", 150))
    held = files_of(must_claim(queue, "dead").items)
    run_out(queue, "dead")
    claim = must_claim(queue, "t")
    assert set(files_of(claim.items)) == set(held)
    assert {item.doubt for item in claim.items} == {Doubt.UNANSWERED}
    assert {item.attempts for item in claim.items} == {0}
    check_invariants(queue, {"r": set(ids("a", 150))})


def test_a_small_group_is_topped_up(redis_client: Redis) -> None:
    """A parked group that is not full is topped up with fresh ids, which have no doubt."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s"), ids("a", 40))
    dead = must_claim(queue, "dead")
    run_out(queue, dead.token)
    queue.enqueue(NewRequest("r2", "s2"), ids("b", 100))
    claim = must_claim(queue, "t")
    doubts = Counter(item.doubt for item in claim.items)
    assert doubts == {Doubt.UNANSWERED: 40, Doubt.NONE: 60}


def test_suspects_are_never_mixed_with_others(redis_client: Redis) -> None:
    """A group under suspicion goes out alone, though others wait and it is not full."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r", "s"), ids("a", 3))
    put_back(queue, must_claim(queue, "t1"), suspect=True, fails=2)
    queue.enqueue(NewRequest("r2", "s"), ids("b", 100))
    claim = must_claim(queue, "t2")
    assert (claim.suspect, claim.fails) == (True, 2)
    assert set(files_of(claim.items)) == set(ids("a", 3))


def test_groups_and_fresh_work_take_turns(redis_client: Redis) -> None:
    """Neither groups nor fresh ids can keep the other waiting for more than one claim."""
    queue = queue_on(redis_client, batch_size=5)
    queue.enqueue(NewRequest("old", "s"), ids("a", 20))
    for turn in range(4):
        park_later = must_claim(queue, f"p{turn}")
        queue.settle(park_later.token, park(park_later.items, suspect=True, delay_ms=60_000))
    queue.enqueue(NewRequest("new", "s"), ids("b", 20))
    make_groups_due(queue)
    kinds = [must_claim(queue, f"t{turn}").suspect for turn in range(8)]
    assert kinds == [True, False] * 4


def test_a_file_id_is_in_one_claim_at_a_time(redis_client: Redis) -> None:
    """A second request for an id in flight waits, and gets the outcome of that call without another."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r1", "s1"), ["a"])
    first = must_claim(queue, "t1")
    queue.enqueue(NewRequest("r2", "s2"), ["a", "b"])
    assert files_of(must_claim(queue, "t2").items) == ["b"]
    check_invariants(queue, {"r1": {"a"}, "r2": {"a", "b"}})
    end_all(queue, first)
    make_retries_due(queue)
    claim = must_claim(queue, "t3")
    assert [(item.request_id, item.file_id, item.doubt) for item in claim.items] == [("r2", "a", Doubt.GONE)]


def test_a_file_that_was_deleted_for_another_request_is_known_as_gone(redis_client: Redis) -> None:
    """A file that we deleted is `deleted` in another request, as long as it is remembered."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r1", "s"), ["a"])
    end_all(queue, must_claim(queue, "t1"))
    queue.enqueue(NewRequest("r2", "s"), ["a"])
    claim = must_claim(queue, "t2")
    assert claim.items[0].doubt is Doubt.GONE


def test_a_file_that_was_not_found_is_not_known_as_gone(redis_client: Redis) -> None:
    """Only a deletion that the API confirmed is remembered."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r1", "s"), ["a"])
    end_all(queue, must_claim(queue, "t1"), Outcome.NOT_FOUND)
    queue.enqueue(NewRequest("r2", "s"), ["a"])
    assert must_claim(queue, "t2").items[0].doubt is Doubt.NONE


@pytest.mark.parametrize("how", ["parked", "retried", "died", "cancelled", "failed"])
def test_a_lost_answer_is_remembered_for_other_requests(redis_client: Redis, how: str) -> None:
    """A file that an unanswered call may have deleted is in doubt for the next request, however the item ended."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("r1", "s"), ["a"])
    claim = must_claim(queue, "t1")
    settlements = park(claim.items, doubt=Doubt.UNANSWERED)
    if how == "retried":
        settlements = retry(claim.items, 0, Doubt.UNANSWERED)
    elif how == "failed":
        settlements = end(claim.items, Outcome.FAILED, "why", doubt=Doubt.UNANSWERED)
    if how == "cancelled":
        queue.cancel("r1")
    if how == "died":
        run_out(queue, "t1")
        claim = must_claim(queue, "t2")
        settlements = end(claim.items, Outcome.FAILED, "why")
    queue.settle(claim.token, settlements)
    queue.cancel("r1")
    queue.enqueue(NewRequest("r2", "s"), ["a"])
    assert must_claim(queue, "t3").items[0].doubt is Doubt.UNANSWERED
    assert raw(queue).pttl(queue.keys("doubtful")) > 0


def test_renewing_keeps_a_lease_and_a_lost_one_stays_lost(redis_client: Redis) -> None:
    """A renewed lease does not expire; a token that was taken over cannot be renewed."""
    queue = queue_on(redis_client, lease_seconds=20)
    queue.enqueue(NewRequest("r", "s"), ["a"])
    must_claim(queue, "t1")
    run_out(queue, "t1")
    assert queue.renew(["t1", "unknown"]) == 1
    assert queue.claim("t2") is None
    assert raw(queue).zscore(queue.keys("leases"), "t1") >= queue.now_ms() + 17_000
    run_out(queue, "t1")
    must_claim(queue, "t2")
    assert queue.renew(["t1"]) == 0


def test_peek_counts_the_work_that_is_due(redis_client: Redis) -> None:
    """Claimable ids up to the bound, and groups that are due."""
    queue = queue_on(redis_client)
    assert queue.peek(10) == (0, 0)
    queue.enqueue(NewRequest("r", "s"), ids("a", 30))
    assert queue.peek(10).claimable == 10
    assert queue.peek(1000).claimable == 30
    claim = must_claim(queue, "t")
    queue.settle("t", park(claim.items, delay_ms=5000))
    assert queue.peek(10) == (0, 0)
    make_groups_due(queue)
    assert queue.peek(10).groups == 1
