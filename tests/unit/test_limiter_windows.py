"""The limiter's windows: those of the settings and those learned, never one call too many in any of them."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from redis import Redis

from config.settings import Window
from tests.unit.support_limiter import KEYS, let_pass, limiter_on, take_all
from worker.limiter.slots import Call, Endpoint, Kind


def test_without_windows_nothing_waits(redis_client: Redis) -> None:
    """Where neither the settings nor the API name a limit, every call goes."""
    assert take_all(redis_client, limiter_on(redis_client), most=50) == 50


def test_a_window_lets_its_calls_pass_and_no_more(redis_client: Redis) -> None:
    """Five calls in ten seconds: the sixth waits for about as long as the first stays in the window."""
    limiter = limiter_on(redis_client, (5, 10_000))
    assert take_all(redis_client, limiter) == 5
    slot = limiter.acquire("more", 50)
    assert not slot.granted
    assert 9_000 < slot.wait_ms <= 10_100


def test_the_window_slides(redis_client: Redis) -> None:
    """A place is free again when its own call has left the window, not when a fixed window ends."""
    limiter = limiter_on(redis_client, (2, 10_000))
    assert limiter.acquire("one", 0).granted
    let_pass(redis_client, 6_000)
    assert limiter.acquire("two", 0).granted
    let_pass(redis_client, 5_000)
    assert limiter.acquire("three", 0).granted
    assert not limiter.acquire("four", 0).granted
    let_pass(redis_client, 5_500)
    assert limiter.acquire("four", 0).granted


def test_all_windows_hold_at_once(redis_client: Redis) -> None:
    """Ten in ten seconds and twelve in an hour: the short one fills first, then the long one."""
    limiter = limiter_on(redis_client, (10, 10_000), (12, 3_600_000))
    assert take_all(redis_client, limiter) == 10
    let_pass(redis_client, 11_000)
    assert take_all(redis_client, limiter) == 2
    let_pass(redis_client, 11_000)
    slot = limiter.acquire("more", 0)
    assert not slot.granted
    assert slot.wait_ms > 3_500_000


def test_a_slot_within_the_horizon_is_reserved(redis_client: Redis) -> None:
    """A call that may go in a moment is granted with its wait, and counts from then on."""
    limiter = limiter_on(redis_client, (1, 10_000))
    limiter.acquire("one", 0)
    let_pass(redis_client, 9_990)
    slot = limiter.acquire("two", 50)
    assert slot.granted
    assert 0 <= slot.wait_ms <= 50
    assert not limiter.acquire("three", 50).granted


def test_the_same_call_id_takes_one_slot(redis_client: Redis) -> None:
    """A request whose answer was lost is sent again, and takes no second place."""
    limiter = limiter_on(redis_client, (2, 60_000))
    assert limiter.acquire("one", 50).granted
    assert limiter.acquire("one", 50).granted
    assert limiter.acquire("two", 50).granted
    assert not limiter.acquire("three", 50).granted


def test_a_slot_that_is_given_back_is_free(redis_client: Redis) -> None:
    """A call that was not made does not count."""
    limiter = limiter_on(redis_client, (1, 60_000))
    limiter.acquire("one", 0)
    limiter.give_back("one")
    assert limiter.acquire("two", 0).granted


@pytest.mark.parametrize(("share", "calls"), [(1.0, 20), (0.5, 10), (0.26, 5), (0.01, 1)])
def test_a_share_leaves_room_for_others(redis_client: Redis, share: float, calls: int) -> None:
    """Only a share of each window is used, rounded down, and never less than one call."""
    assert take_all(redis_client, limiter_on(redis_client, (20, 60_000), rate_share=share)) == calls


def test_windows_are_learned_from_answers_and_follow_them(redis_client: Redis) -> None:
    """What the API announces holds beside the settings, also when it shrinks, grows, or names another length."""
    limiter = limiter_on(redis_client, (100, 60_000))
    limiter.record(Call(Kind.OK, windows=(Window(10, 60_000),)))
    assert take_all(redis_client, limiter) == 10
    limiter.record(Call(Kind.OK, windows=(Window(4, 60_000),)))
    let_pass(redis_client, 30_000)
    assert take_all(redis_client, limiter) == 0
    let_pass(redis_client, 31_000)
    assert take_all(redis_client, limiter) == 4
    limiter.record(Call(Kind.OK, windows=(Window(6, 60_000), Window(50, 3_600_000))))
    assert take_all(redis_client, limiter) == 2
    assert {(use.limit, use.interval_ms) for use in limiter.read_limits().windows} == {
        (100, 60_000),
        (6, 60_000),
        (50, 3_600_000),
    }


def test_a_learned_window_counts_for_a_day(redis_client: Redis) -> None:
    """What the API has not announced for long does not hold for ever."""
    limiter = limiter_on(redis_client)
    limiter.record(Call(Kind.OK, windows=(Window(1, 1000),)))
    assert len(limiter.read_limits().windows) == 1
    let_pass(redis_client, 25 * 3_600_000)
    assert limiter.read_limits().windows == []


def test_endpoints_are_counted_apart(redis_client: Redis) -> None:
    """A full window of deletions holds no listing back, and a window learned there holds no deletion."""
    delete = limiter_on(redis_client, (1, 60_000))
    listing = limiter_on(redis_client, (1, 60_000), endpoint=Endpoint.LIST)
    assert delete.acquire("one", 0).granted
    assert listing.acquire("one", 0).granted
    listing.record(Call(Kind.OK, windows=(Window(7, 60_000),)))
    assert [use.limit for use in delete.read_limits().windows] == [1]


def test_looking_changes_nothing(redis_client: Redis) -> None:
    """It returns the calls in each window and the free slots, and takes none."""
    client: Any = redis_client
    limiter = limiter_on(redis_client, (3, 60_000))
    limiter.acquire("one", 0)
    let_pass(client, 1_000)
    before = {key: client.type(key) for key in client.keys("*")}
    looks = [limiter.read_limits(100) for _ in range(3)]
    assert {look.windows[0] for look in looks} == {(3, 60_000, 1)}
    assert {look.slots for look in looks} == {2}
    assert {key: client.type(key) for key in client.keys("*")} == before


def test_a_call_that_was_sent_late_leaves_less_room_behind_it(redis_client: Redis) -> None:
    """The log holds when calls were sent: a late one keeps its place for longer."""
    client: Any = redis_client
    limiter = limiter_on(redis_client, (1, 60_000))
    limiter.acquire("one", 0)
    before = client.zscore(KEYS.calls("delete"), "one")
    limiter.record(Call(Kind.OK, call_id="one", late_ms=400))
    assert client.zscore(KEYS.calls("delete"), "one") == before + 400


def test_the_log_does_not_grow(redis_client: Redis) -> None:
    """Calls that no window can see any more are forgotten, and an idle log expires."""
    client: Any = redis_client
    limiter = limiter_on(redis_client, (100, 1_000))
    take_all(redis_client, limiter, most=20)
    let_pass(redis_client, 5_000)
    limiter.acquire("last", 0)
    assert client.zrange(KEYS.calls("delete"), 0, -1) == ["last"]
    assert client.pttl(KEYS.calls("delete")) > 0


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    windows=st.lists(st.tuples(st.integers(1, 6), st.sampled_from([2_000, 10_000, 60_000])), min_size=1, max_size=3),
    pauses=st.lists(st.integers(0, 15_000), min_size=5, max_size=40),
)
def test_no_interval_has_too_many_calls(redis_client: Redis, windows: list[tuple[int, int]], pauses: list[int]) -> None:
    """Whenever calls are asked for, no window of any length, wherever it starts, holds more than its limit."""
    client: Any = redis_client
    client.flushall()
    limiter = limiter_on(redis_client, *windows)
    clock, went = 0.0, []
    for number, pause in enumerate(pauses):
        slot = limiter.acquire(f"call{number}", 0)
        if slot.granted:
            went.append(clock + slot.wait_ms)
        let_pass(client, pause)
        clock += pause
    for limit, interval_ms in windows:
        assert all(sum(start <= at < start + interval_ms for at in went) <= limit for start in went)
