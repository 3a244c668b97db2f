"""The simulator's rate limits: strict sliding windows, several at once."""

from collections.abc import Iterator

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from simulator import RateWindow, Simulator
from simulator.limits import SlidingLimit

UNKNOWN = "0123456789abcdef01234567"
HOUR_MS = 3_600_000


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(limits={"delete": [(2, HOUR_MS)]}) as running:
        yield running


def delete(simulator: Simulator) -> requests.Response:
    url = f"{simulator.url}/v1/files/batch/deleteByFileIds"
    return requests.post(url, json={"fileIds": [UNKNOWN]}, auth=("k", ""), timeout=5)


def rate_headers(answer: requests.Response) -> CaseInsensitiveDict[str]:
    found = {name: text for name, text in answer.headers.items() if name.lower().startswith("x-ratelimit")}
    return CaseInsensitiveDict(found)


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 50)), min_size=1, max_size=3),
    st.lists(st.integers(0, 10), max_size=60),
)
def test_no_window_admits_more_than_its_limit(pairs: list[tuple[int, int]], gaps: list[int]) -> None:
    """Any interval of the length of a window has at most `limit` admitted calls."""
    windows = [RateWindow(*pair) for pair in pairs]
    limit, now, admitted = SlidingLimit(windows), 0, []
    for gap in gaps:
        now += gap
        if limit.admit(now).allowed:
            admitted.append(now)
    for window in windows:
        for at in admitted:
            assert sum(at - window.interval_ms < other <= at for other in admitted) <= window.limit


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 50)), min_size=1, max_size=3),
    st.lists(st.integers(0, 10), max_size=60),
)
def test_waiting_out_the_reset_is_enough(pairs: list[tuple[int, int]], gaps: list[int]) -> None:
    """A refused call is admitted after `reset_ms`, and not one ms earlier."""
    limit, now = SlidingLimit([RateWindow(*pair) for pair in pairs]), 0
    for gap in gaps:
        now += gap
        verdict = limit.admit(now)
        if not verdict.allowed:
            assert verdict.reset_ms > 0
            assert not limit.admit(now + verdict.reset_ms - 1).allowed
            now += verdict.reset_ms
            assert limit.admit(now).allowed


def test_the_longest_wait_is_announced() -> None:
    """Of several full windows, the headers announce the one with the longest wait."""
    limit = SlidingLimit([RateWindow(1, 100), RateWindow(1, 5000)])
    limit.admit(0)
    verdict = limit.admit(10)
    assert (verdict.allowed, verdict.window, verdict.reset_ms) == (False, RateWindow(1, 5000), 4990)


def test_refused_calls_count_only_if_set() -> None:
    """By default calls answered 429 do not count; with `count_rejected` they do."""
    lenient, harsh = SlidingLimit([RateWindow(1, 100)]), SlidingLimit([RateWindow(1, 100)], count_rejected=True)
    for now in (0, 60):
        lenient.admit(now)
        harsh.admit(now)
    assert lenient.admit(110).allowed
    assert not harsh.admit(110).allowed


def test_calls_already_made_count_against_new_windows() -> None:
    """A limit that shrinks applies at once."""
    limit = SlidingLimit([RateWindow(10, 1000)])
    for now in range(5):
        assert limit.admit(now).allowed
    limit.windows = (RateWindow(3, 1000),)
    assert not limit.admit(10).allowed
    limit.windows = (RateWindow(20_000, 1000),)
    assert limit.admit(11).allowed


@pytest.mark.parametrize(
    ("form", "window"),
    [
        ("5/1s", RateWindow(5, 1000)),
        ("5/s", RateWindow(5, 1000)),
        ("20/250ms", RateWindow(20, 250)),
        ("1000/15m", RateWindow(1000, 900_000)),
        ("1000/30d", RateWindow(1000, 2_592_000_000)),
        ((7, 70), RateWindow(7, 70)),
    ],
)
def test_windows_have_a_short_form(form: str | tuple[int, int], window: RateWindow) -> None:
    """`5/1s` is five calls a second."""
    assert RateWindow.read(form) == window


@pytest.mark.parametrize("form", ["5", "5/", "x/1s", "0/1s", "5/0s", "5/1x", "-1/1s", (0, 1)])
def test_an_invalid_window_is_refused(form: str | tuple[int, int]) -> None:
    """No part may be missing, zero or negative."""
    with pytest.raises(ValueError, match="window"):
        RateWindow.read(form)


def test_excess_is_a_429_with_three_headers(simulator: Simulator) -> None:
    """The headers are limit, interval in ms and ms to wait; the call is not carried out."""
    assert [delete(simulator).status_code for _ in range(3)] == [404, 404, 429]
    refused = delete(simulator)
    headers = rate_headers(refused)
    assert "message" in refused.json()
    assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Interval"]) == ("2", str(HOUR_MS))
    assert HOUR_MS - 60_000 < int(headers["X-RateLimit-Reset"]) <= HOUR_MS
    assert "Retry-After" not in refused.headers
    assert simulator.stats()["throttled"] == 2
    assert simulator.busiest(HOUR_MS) == 2


def test_the_policy_decides_when_headers_are_sent(simulator: Simulator) -> None:
    """By default with a 429 only."""
    assert rate_headers(delete(simulator)) == {}
    simulator.set_headers("always")
    assert len(rate_headers(delete(simulator))) == 3
    simulator.set_headers("never")
    refused = delete(simulator)
    assert (refused.status_code, dict(rate_headers(refused))) == (429, {})


def test_headers_can_be_invalid(simulator: Simulator) -> None:
    """Values can be replaced or removed."""
    simulator.set_limits((1, HOUR_MS))
    simulator.set_headers("429", reset="-5", limit="many", interval=None)
    delete(simulator)
    assert rate_headers(delete(simulator)) == {"X-RateLimit-Limit": "many", "X-RateLimit-Reset": "-5"}


def test_endpoint_classes_have_limits_of_their_own(simulator: Simulator) -> None:
    """An exhausted delete limit does not affect list and purge."""
    simulator.set_limits("1/1h", endpoint="list")
    for _ in range(3):
        delete(simulator)
    listed = [requests.get(f"{simulator.url}/v1/files", auth=("k", ""), timeout=5) for _ in range(2)]
    assert [answer.status_code for answer in listed] == [200, 429]
    purged = requests.post(f"{simulator.url}/v1/files/purge", json={}, auth=("k", ""), timeout=5)
    assert purged.status_code == 400


def test_limits_can_be_lifted_while_running(simulator: Simulator) -> None:
    """Without windows every call is admitted."""
    simulator.set_limits("1/1h")
    delete(simulator)
    assert delete(simulator).status_code == 429
    simulator.set_limits()
    assert delete(simulator).status_code == 404


def test_a_call_without_a_valid_key_does_not_count(simulator: Simulator) -> None:
    """The key is checked before the limit."""
    for _ in range(5):
        requests.post(f"{simulator.url}/v1/files/batch/deleteByFileIds", timeout=5)
    assert delete(simulator).status_code == 404
