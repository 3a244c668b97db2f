"""The step between two batches: what one round trip does, in which order, and what happens when it is repeated."""

from __future__ import annotations

from redis import Redis

from tests.unit.support_api import Works, enqueued, works_on
from tests.unit.support_queue import ids, raw
from worker.batch.pipeline import Ran
from worker.batch.turns import Turns
from worker.calls import HORIZON_MS
from worker.queue.claims import end
from worker.queue.operations import NewRequest
from worker.states import Outcome


def slots(works: Works) -> int:
    """How many slots have been taken and not given back."""
    return int(raw(works.queue).zcard(works.queue.keys.calls("delete")))


def claims(works: Works) -> int:
    """How many claims are held."""
    return int(raw(works.queue).zcard(works.queue.keys("leases")))


def turns_of(works: Works) -> Turns:
    return Turns(works.queue, works.batches.gate.limiter)


def test_full_batches_follow_each_other(redis_client: Redis) -> None:
    """Until a batch would not be full: the rest waits for company, and no slot is kept for it."""
    works, _ = enqueued(redis_client, 250)
    assert works.batches.run(lambda: True) is Ran.FULL
    assert [len(call) for call in works.api.calls] == [100, 100]
    assert (slots(works), claims(works), works.report("r")["waiting"]) == (2, 0, 50)


def test_no_batch_follows_when_the_worker_stops(redis_client: Redis) -> None:
    """Nothing is claimed that would not be called."""
    works, _ = enqueued(redis_client, 300)
    assert works.batches.run(lambda: len(works.api.calls) < 2) is Ran.FULL
    assert (len(works.api.calls), slots(works), claims(works)) == (2, 2, 0)


def test_what_is_final_is_published_before_the_next_slot_is_taken(redis_client: Redis) -> None:
    """Publishing takes time, and a call that is late for its slot is answered 429."""
    works = works_on(redis_client, files={*ids("f", 100), *ids("g", 100)})
    works.queue.enqueue(NewRequest("first", "s"), ids("f", 100))
    works.queue.enqueue(NewRequest("second", "s"), ids("g", 100))
    held: list[tuple[int, int]] = []
    works.batches.publish = lambda _: held.append((slots(works), claims(works)))
    works.batches.run(lambda: True)
    assert held == [(1, 0), (2, 0)]


def test_without_another_slot_no_batch_follows(redis_client: Redis) -> None:
    """The claim that ends is settled all the same."""
    works, _ = enqueued(redis_client, 200, rate_limits='["1/1h"]')
    assert works.batches.run(lambda: True) is Ran.FULL
    assert works.batches.run() is Ran.NO_SLOT
    assert (len(works.api.calls), slots(works), claims(works)) == (1, 1, 0)


def test_a_repeated_step_changes_nothing_more(redis_client: Redis) -> None:
    """The answer may be lost: the same claim and the same slot come again."""
    works, _ = enqueued(redis_client, 250)
    queue, turns = works.queue, turns_of(works)
    first = turns.begin(fewest=1).claim
    assert first
    settling = queue.settling(first.token, end(first.items, Outcome.DELETED)).packed()
    replies = [turns._take("", settling, "the next", 100) for _ in range(2)]
    assert replies[0].claim == replies[1].claim
    assert (slots(works), claims(works)) == (2, 1)
    report = works.report("r")
    assert (report["deleted"], report["in_flight"], report["waiting"]) == (100, 100, 50)
    assert all(reply.permit and reply.permit.wait_ms <= HORIZON_MS for reply in replies)
