"""The figures of `stats`: what waits, flies and is held, by source, and why no calls go out."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from config.settings import Window
from tests.unit.support_queue import (
    check_invariants,
    end_all,
    files_of,
    ids,
    line_of,
    must_claim,
    queue_on,
    release_holds,
    settings_for_tests,
)
from worker.limiter.slots import Call, Kind, Limiter
from worker.queue.approvals import Approvals
from worker.queue.claims import park, retry
from worker.queue.operations import NewRequest, Queue
from worker.reports.stats import Stats, read_stats
from worker.runtime.dispatcher import send_heartbeat


def stats_of(queue: Queue, **overrides: Any) -> Stats:
    return read_stats(queue, Limiter(queue.redis, settings_for_tests(**overrides)))


def test_an_empty_queue_has_empty_figures(redis_client: Redis) -> None:
    """Every figure is there, and nothing is in it."""
    stats = stats_of(queue_on(redis_client))
    assert (stats["waiting"], stats["in_flight"], stats["held"], stats["due_retries"]) == (0, 0, 0, 0)
    assert (stats["unpublished"], stats["parked"]) == (0, 0)
    assert (stats["sources"], stats["workers"], stats["pause"], stats["windows"]) == ({}, [], None, [])


def test_figures_by_source(redis_client: Redis) -> None:
    """Waiting (held and retries included), in flight, retries and held ids of each source."""
    queue = queue_on(redis_client, batch_size=10)
    queue.enqueue(NewRequest("a", "alpha"), ids("a", 10))
    claim = must_claim(queue, "t")
    queue.settle("t", retry(claim.items[:3], 60_000) + park(claim.items[3:5], delay_ms=60_000))
    queue.enqueue(NewRequest("b", "beta", hold_seconds=60), ids("b", 4))
    stats = stats_of(queue)
    assert stats["sources"]["alpha"] == {"waiting": 5, "in_flight": 5, "due_retries": 3, "held": 0}
    assert stats["sources"]["beta"] == {"waiting": 4, "in_flight": 0, "due_retries": 0, "held": 4}
    assert (stats["waiting"], stats["in_flight"], stats["held"], stats["due_retries"]) == (9, 5, 4, 3)


@pytest.mark.real_server
def test_figures_are_exact_for_thousands_of_requests(real_redis: Redis) -> None:
    """No request is left out, however many wait, retry, are parked, held, or not approved."""
    guards = {"guarded": {"max_files": 1}}
    queue = queue_on(real_redis, batch_size=1, guards=guards)
    for number in range(1200):
        queue.enqueue(NewRequest(f"undo{number}", "undo", hold_seconds=60), [f"u{number}"])
        queue.enqueue(NewRequest(f"guarded{number}", "guarded"), ids(f"g{number}-", 2))
        queue.enqueue(NewRequest(f"plain{number}", "plain"), [f"p{number}"])
    for number in range(1200):
        items = must_claim(queue, f"t{number}").items
        back = park(items, delay_ms=60_000) if number < 100 else retry(items, 60_000)
        queue.settle(f"t{number}", back)
    stats = stats_of(queue)
    assert (stats["held"], stats["unapproved"], stats["due_retries"], stats["parked"]) == (3600, 1200, 1100, 100)
    assert stats["sources"]["guarded"]["held"] == 2400
    for number in range(1200):
        queue.cancel(f"plain{number}")
        Approvals(queue).approve(f"guarded{number}", "somebody")
        queue.cancel(f"undo{number}")
    stats = stats_of(queue)
    assert (stats["held"], stats["unapproved"], stats["due_retries"], stats["parked"]) == (0, 0, 0, 0)


def store_as_before(queue: Queue) -> None:
    """Change the stored data to the first format: ids in lists, lines by sequence, and counts of less."""
    client: Any = queue.redis
    for request in ("r", "undo", "guarded"):
        if in_hash := client.hget(queue.keys.request(request), "ids"):
            client.rpush(queue.keys.request(request, "waiting"), *in_hash.split())
            client.hdel(queue.keys.request(request), "ids")
    for source in client.zrange(queue.keys("sources"), 0, -1):
        for request in line_of(queue, source):
            client.zadd(queue.keys.line(source), {request: client.hget(queue.keys.request(request), "sequence")})
        client.delete(queue.keys.fresh(source))
    parked = client.smembers(queue.keys("parked"))
    for token in client.zrange(queue.keys("leases"), 0, -1):
        client.hset(queue.keys.lease(token), "held", "0" if token in parked else "1")
    client.delete(*(queue.keys(name) for name in ("format", "parked", "on_hold", "retrying")))


def test_what_an_earlier_version_stored_is_counted(redis_client: Redis) -> None:
    """The first operation of a process counts what the earlier version did not."""
    about: dict[str, Any] = {"batch_size": 2, "guards": {"guarded": {"max_files": 1}}}
    queue = queue_on(redis_client, **about)
    queue.enqueue(NewRequest("r", "s"), ids("a", 8))
    queue.enqueue(NewRequest("undo", "s", hold_seconds=60), ids("u", 3))
    queue.enqueue(NewRequest("guarded", "guarded"), ids("g", 4))
    queue.settle("t1", retry(must_claim(queue, "t1").items, 60_000))
    queue.settle("t2", park(must_claim(queue, "t2").items, delay_ms=60_000))
    must_claim(queue, "t3")
    before = {**stats_of(queue), "now": ""}
    store_as_before(queue)
    upgraded = queue_on(redis_client, **about)
    assert {**stats_of(upgraded), "now": ""} == before
    assert (before["held"], before["due_retries"], before["parked"]) == (7, 2, 1)
    check_invariants(upgraded, {"r": {*ids("a", 8)}, "undo": {*ids("u", 3)}, "guarded": {*ids("g", 4)}})
    upgraded.enqueue(NewRequest("new", "s"), ["n"])
    release_holds(upgraded)
    claimed = [file for turn in range(3) for file in files_of(must_claim(upgraded, f"new{turn}").items)]
    assert claimed == [*ids("a", 8)[6:], *ids("u", 3), "n"], "in the order in which they came"


def test_batches_in_flight_do_not_count_as_parked(redis_client: Redis) -> None:
    """A batch in flight is not parked."""
    queue = queue_on(redis_client, batch_size=2)
    queue.enqueue(NewRequest("a", "s"), ids("a", 6))
    claim = must_claim(queue, "t1")
    must_claim(queue, "t2")
    assert stats_of(queue)["parked"] == 0
    queue.settle("t1", park(claim.items, delay_ms=60_000))
    assert stats_of(queue)["parked"] == 1


def test_what_ended_and_waits_for_publication(redis_client: Redis) -> None:
    """Outcomes are counted for ever; finished requests count as unpublished until they are."""
    queue = queue_on(redis_client)
    queue.enqueue(NewRequest("a", "s"), ids("a", 3))
    end_all(queue, must_claim(queue, "t"))
    stats = stats_of(queue)
    assert stats["unpublished"] == 1
    assert stats["ended"] == {"deleted": 3, "not_found": 0, "presumed_deleted": 0, "failed": 0, "cancelled": 0}
    assert stats["sources"] == {}


def test_windows_tell_their_use(redis_client: Redis) -> None:
    """Each window shows its limit and the calls in it now."""
    queue = queue_on(redis_client)
    limits = (Window(5, 60_000),)
    Limiter(redis_client, settings_for_tests(rate_limits=limits)).acquire("one", 0)
    assert stats_of(queue, rate_limits=limits)["windows"] == [{"limit": 5, "interval_ms": 60_000, "calls": 1}]


def test_workers_that_live_are_named(redis_client: Redis) -> None:
    """Workers without a recent heartbeat are not among them."""
    client: Any = redis_client
    queue = queue_on(redis_client)
    send_heartbeat(queue, "w1")
    client.zadd(queue.keys("workers"), {"w0": queue.now_ms() - 60_000})
    assert stats_of(queue)["workers"] == ["w1"]


@pytest.mark.parametrize(
    ("by", "reason", "has_end"),
    [
        ("operator", "maintenance", False),
        ("trouble", "503", True),
        ("key_refused", "bad key", True),
        ("throttled", "429", True),
    ],
)
def test_a_pause_says_who_why_and_until_when(redis_client: Redis, by: str, reason: str, has_end: bool) -> None:
    """Every reason for a pause is named; only an operator's pause has no end."""
    queue = queue_on(redis_client)
    limiter = Limiter(redis_client, settings_for_tests())
    if by == "operator":
        limiter.pause(reason)
    else:
        for _ in range(3):
            limiter.record(Call(Kind(by), reason=reason, reset_ms=60_000))
    pause = stats_of(queue)["pause"]
    assert pause is not None
    assert (pause["by"], pause["reason"]) == (by, reason)
    assert (pause["until"] is not None) == has_end
    assert (pause["since"] is None) == (by == "throttled")
