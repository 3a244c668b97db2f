"""The limiter's pauses: throttled, an outage, a refused key, an operator; and the margin that adapts."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from tests.unit.support_limiter import KEYS, let_pass, limiter_on, pause_of
from worker.limiter.slots import Call, Endpoint, Kind, Limiter

PATIENCE = 3
"""Failed calls in a row that make an outage."""


def begin_outage(limiter: Limiter) -> None:
    for _ in range(PATIENCE):
        limiter.record(Call(Kind.TROUBLE, reason="503"))


def fail_probe(client: Any, limiter: Limiter, call: str) -> int:
    """Wait for the next probe, let it fail, and return the pause after it."""
    let_pass(client, 70_000)
    slot = limiter.acquire(call, 0)
    assert slot.granted
    assert slot.is_probe
    return limiter.record(Call(Kind.TROUBLE, reason="503", is_probe=slot.is_probe)).pause_ms


def test_a_throttle_lasts_as_long_as_the_api_says(redis_client: Redis) -> None:
    """A 429 with a reset of 15 minutes holds all calls for 15 minutes, and not longer."""
    limiter = limiter_on(redis_client)
    pause_ms = limiter.record(Call(Kind.THROTTLED, reason="429", reset_ms=900_000)).pause_ms
    assert 899_000 < pause_ms <= 900_000
    assert not limiter_on(redis_client).acquire("one", 50).granted
    assert pause_of(limiter) == "throttled"
    let_pass(redis_client, 900_000)
    assert limiter.acquire("one", 50).granted


def test_a_shorter_throttle_does_not_end_a_longer_one(redis_client: Redis) -> None:
    """Of several throttles the one that lasts longest holds."""
    limiter = limiter_on(redis_client)
    limiter.record(Call(Kind.THROTTLED, reset_ms=60_000))
    assert limiter.record(Call(Kind.THROTTLED, reset_ms=1_000)).pause_ms > 59_000


def test_a_success_of_a_call_in_flight_does_not_end_a_throttle(redis_client: Redis) -> None:
    """What was sent before the 429 says nothing of the limit."""
    limiter = limiter_on(redis_client)
    limiter.record(Call(Kind.THROTTLED, reset_ms=60_000))
    limiter.record(Call(Kind.OK))
    assert not limiter.acquire("one", 50).granted


def test_throttles_without_a_reset_last_longer_each_time(redis_client: Redis) -> None:
    """Without a reset, the pause grows from about a second to a minute, and starts anew after a success."""
    limiter = limiter_on(redis_client)
    pauses = []
    for _ in range(10):
        pauses.append(limiter.record(Call(Kind.THROTTLED)).pause_ms)
        let_pass(redis_client, pauses[-1] + 1)
    assert 900 < pauses[0] <= 1_000
    assert pauses == sorted(pauses)
    assert 59_000 < pauses[-1] <= 60_000
    limiter.record(Call(Kind.OK))
    assert limiter.record(Call(Kind.THROTTLED)).pause_ms <= 1_000


def test_the_margin_widens_after_a_throttle_and_narrows_with_successes(redis_client: Redis) -> None:
    """A 429 widens the margin at once, successes narrow it slowly, and it stays within its bounds."""
    limiter = limiter_on(redis_client)
    first = limiter.read_limits().margin_ms
    limiter.record(Call(Kind.THROTTLED, reset_ms=0))
    wide = limiter.read_limits().margin_ms
    assert wide > first * 1.3
    limiter.record(Call(Kind.OK))
    assert wide * 0.99 < limiter.read_limits().margin_ms < wide
    for _ in range(20):
        let_pass(redis_client, 1_000)
        limiter.record(Call(Kind.THROTTLED, reset_ms=0))
    assert limiter.read_limits().margin_ms == 250
    client: Any = redis_client
    client.hset(KEYS.limits("delete"), "margin", "4.001")
    for _ in range(3):
        limiter.record(Call(Kind.OK))
    assert limiter.read_limits().margin_ms == 4


def test_throttles_of_the_same_second_widen_the_margin_once(redis_client: Redis) -> None:
    """One stall delays several calls, and all of them are answered 429: that is one lesson, not several."""
    limiter = limiter_on(redis_client)
    limiter.record(Call(Kind.THROTTLED, reset_ms=0))
    wide = limiter.read_limits().margin_ms
    limiter.record(Call(Kind.THROTTLED, reset_ms=0))
    assert limiter.read_limits().margin_ms == wide
    let_pass(redis_client, 1_000)
    limiter.record(Call(Kind.THROTTLED, reset_ms=0))
    assert limiter.read_limits().margin_ms > wide


def test_some_failures_make_an_outage(redis_client: Redis) -> None:
    """One or two failed calls cause no pause; the third in a row pauses the account."""
    limiter = limiter_on(redis_client)
    pauses = [limiter.record(Call(Kind.TROUBLE, reason="503")).pause_ms for _ in range(PATIENCE)]
    assert pauses[:2] == [0, 0]
    assert 1_900 < pauses[2] <= 2_400
    assert pause_of(limiter) == "trouble"
    assert not limiter.acquire("one", 50).granted


def test_a_success_between_failures_makes_no_outage(redis_client: Redis) -> None:
    """Failures count only in a row."""
    limiter = limiter_on(redis_client)
    for _ in range(4):
        limiter.record(Call(Kind.TROUBLE))
        limiter.record(Call(Kind.TROUBLE))
        limiter.record(Call(Kind.OK))
    assert limiter.acquire("one", 50).granted


def test_in_an_outage_single_calls_are_made_as_probes(redis_client: Redis) -> None:
    """After the pause one call is made; the others wait as long again, whatever its result."""
    limiter = limiter_on(redis_client)
    begin_outage(limiter)
    let_pass(redis_client, 3_000)
    probe = limiter.acquire("probe", 50)
    assert (probe.granted, probe.is_probe) == (True, True)
    other = limiter.acquire("other", 50)
    assert not other.granted
    assert other.wait_ms > 1_000
    assert limiter.read_limits(60).slots == 0


def test_only_failed_probes_deepen_an_outage(redis_client: Redis) -> None:
    """Calls that were in flight when the outage began do not prolong it."""
    client: Any = redis_client
    limiter = limiter_on(redis_client)
    begin_outage(limiter)
    for _ in range(20):
        limiter.record(Call(Kind.TROUBLE, reason="503"))
    assert client.hget(KEYS("account"), "trouble_level") == "1"
    pauses = [fail_probe(client, limiter, f"probe{number}") for number in range(5)]
    assert client.hget(KEYS("account"), "trouble_level") == "6"
    assert pauses[0] > 3_500
    assert all(9_000 < pause <= 12_000 for pause in pauses[2:])


def test_a_success_ends_an_outage(redis_client: Redis) -> None:
    """One good answer and everybody calls again, with a full measure of patience."""
    client: Any = redis_client
    limiter = limiter_on(redis_client)
    begin_outage(limiter)
    fail_probe(client, limiter, "probe")
    limiter.record(Call(Kind.OK))
    slot = limiter.acquire("one", 50)
    assert (slot.granted, slot.is_probe) == (True, False)
    assert limiter.record(Call(Kind.TROUBLE)).pause_ms == 0
    assert "trouble_level" not in client.hgetall(KEYS("account"))


def test_a_refused_key_pauses_at_once(redis_client: Redis) -> None:
    """A 401 needs no second one; the pause grows from five seconds to a minute."""
    client: Any = redis_client
    limiter = limiter_on(redis_client)
    first = limiter.record(Call(Kind.KEY_REFUSED, reason="bad key")).pause_ms
    assert 4_900 < first <= 6_000
    assert pause_of(limiter) == "key_refused"
    pauses = []
    for number in range(6):
        let_pass(client, 80_000)
        slot = limiter.acquire(f"p{number}", 0)
        pauses.append(limiter.record(Call(Kind.KEY_REFUSED, reason="bad key", is_probe=slot.is_probe)).pause_ms)
    assert 59_000 < pauses[-1] <= 72_000


def test_a_late_failure_does_not_change_why_calls_wait(redis_client: Redis) -> None:
    """The reason shown is that of the pause, not that of a call that was in flight when it began."""
    client: Any = redis_client
    limiter = limiter_on(redis_client)
    limiter.record(Call(Kind.KEY_REFUSED, reason="bad key"))
    limiter.record(Call(Kind.TROUBLE, reason="503"))
    assert client.hmget(KEYS("account"), "trouble_kind", "trouble") == ["key_refused", "bad key"]


@pytest.mark.parametrize(("kind", "granted"), [(Kind.KEY_REFUSED, True), (Kind.TROUBLE, False)])
def test_a_new_worker_tries_a_refused_key_at_once(redis_client: Redis, kind: Kind, granted: bool) -> None:
    """The key may have been replaced; an outage is no reason to hurry."""
    limiter = limiter_on(redis_client)
    for _ in range(PATIENCE):
        limiter.record(Call(kind))
    limiter.probe_soon()
    slot = limiter.acquire("one", 0)
    assert slot.granted == granted
    assert slot.is_probe == granted


def test_an_operator_pause_holds_until_resumed(redis_client: Redis) -> None:
    """A pause survives restarts, time and successes of calls in flight."""
    limiter = limiter_on(redis_client)
    limiter.pause("maintenance")
    limiter.record(Call(Kind.OK))
    let_pass(redis_client, 10**9)
    again = limiter_on(redis_client)
    assert not again.acquire("one", 50).granted
    assert pause_of(again) == "operator"
    again.resume()
    assert again.acquire("one", 50).granted


def test_resuming_tries_at_once_in_an_outage_but_keeps_a_throttle(redis_client: Redis) -> None:
    """An operator may hurry a probe, but not what the API itself announced."""
    limiter = limiter_on(redis_client)
    begin_outage(limiter)
    limiter.resume()
    assert limiter.acquire("one", 0).is_probe
    limiter.record(Call(Kind.OK))
    limiter.record(Call(Kind.THROTTLED, reset_ms=60_000))
    limiter.resume()
    assert not limiter.acquire("two", 0).granted


def test_pauses_of_the_deletions_hold_no_listing(redis_client: Redis) -> None:
    """Throttles and outages of one endpoint are its own; an operator pauses all."""
    delete, listing = limiter_on(redis_client), limiter_on(redis_client, endpoint=Endpoint.LIST)
    delete.record(Call(Kind.THROTTLED, reset_ms=60_000))
    begin_outage(delete)
    assert listing.acquire("one", 0).granted
    delete.pause()
    assert not listing.acquire("two", 0).granted


def test_the_age_of_the_last_success_is_returned(redis_client: Redis) -> None:
    """Recent successes of other calls distinguish a bad id from an outage."""
    limiter = limiter_on(redis_client)
    assert limiter.read_health().success_ago_ms is None
    assert not limiter.read_health().succeeded_within(10**9)
    limiter.record(Call(Kind.OK))
    let_pass(redis_client, 5_000)
    learned = limiter.read_health()
    assert learned.succeeded_within(6_000)
    assert not learned.succeeded_within(4_000)
    assert not learned.succeeded_within(None)
