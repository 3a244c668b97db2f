"""When a webhook is sent again, and what a response means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from requests.structures import CaseInsensitiveDict

from worker.imagekit.transport import RawAnswer
from worker.webhooks.schedule import DELAYS_SECONDS, GIVE_UP_MS, JITTER, again, judge

NOW_MS = 1_795_000_000_000


def response(status: int | None, failure: str | None = None, **headers: str) -> RawAnswer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return RawAnswer(status, CaseInsensitiveDict(named), b"", failure)


def test_the_schedule() -> None:
    """At once, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h; then it is given up."""
    assert DELAYS_SECONDS == (0, 5, 300, 1800, 7200, 18_000, 36_000, 36_000)
    for attempt, seconds in enumerate(DELAYS_SECONDS[1:], start=1):
        delays = {again("x", attempt, receiver_fails=False).delay_ms for _ in range(50)}
        assert all(seconds * 1000 <= delay <= seconds * 1000 * (1 + JITTER) for delay in delays)
        assert len(delays) > 1, "what failed together must not come back together"
    assert again("x", len(DELAYS_SECONDS), receiver_fails=True).ending == "failed"
    assert sum(DELAYS_SECONDS) * (1 + JITTER) * 1000 < GIVE_UP_MS


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_success_is_a_delivery(status: int) -> None:
    """Also where the body is unreadable: the status says that the receiver has it."""
    assert judge(response(status, "a body that was cut off"), 1, NOW_MS).ending == "delivered"


@pytest.mark.parametrize("status", [400, 401, 404, 408, 413, 425, 429, 500, 502, 503, 301, 302, 307, 308, 304])
def test_any_other_status_is_tried_again_and_named(status: int) -> None:
    """Up to the end of the schedule."""
    result = judge(response(status), 1, NOW_MS)
    assert (result.ending, result.status) == (None, status)
    assert result.error.startswith(f"HTTP {status}")
    assert result.delay_ms >= 5000
    assert judge(response(status), 8, NOW_MS).ending == "failed"


def test_no_response_is_tried_again() -> None:
    """The error says what happened."""
    result = judge(response(None, "no connection (ConnectionRefusedError)"), 2, NOW_MS)
    assert result.ending is None
    assert result.error == "no connection (ConnectionRefusedError)"
    assert result.receiver_fails
    assert result.delay_ms >= 300_000


def test_a_redirect_says_so() -> None:
    """Whoever reads the error knows what to change; where it leads to is not shown."""
    result = judge(response(302, Location="https://elsewhere.example/?token=secret"), 1, NOW_MS)
    assert result.error == "HTTP 302: redirects are not followed; the callback must be the final URL"


def test_gone_stops() -> None:
    """410 is the receiver's word that it wants no more."""
    result = judge(response(410), 1, NOW_MS)
    assert result.ending == "failed"
    assert result.error.startswith("HTTP 410")


@pytest.mark.parametrize(
    ("status", "fails"), [(404, False), (400, False), (302, False), (429, True), (500, True), (503, True)]
)
def test_what_speaks_of_the_whole_receiver(status: int, fails: bool) -> None:
    """An overload or a crash does; a wrong URL says nothing of others."""
    assert judge(response(status), 1, NOW_MS).receiver_fails is fails


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("0", 5),
        ("3", 5),
        ("999999999999", 86_400),
        (format_datetime(datetime.fromtimestamp(NOW_MS / 1000, UTC) + timedelta(minutes=10), usegmt=True), 600),
        (format_datetime(datetime.fromtimestamp(NOW_MS / 1000, UTC) - timedelta(minutes=10), usegmt=True), 5),
        ("soon", 5),
        ("-5", 5),
        ("٣", 5),
        ("", 5),
        ("Mon, 99 Nov 2026 99:99:99 GMT", 5),
    ],
)
def test_retry_after_is_obeyed(text: str, seconds: int) -> None:
    """Seconds or a date, at most a day; never sooner than the schedule says."""
    result = judge(response(503, Retry_After=text), 1, NOW_MS)
    assert seconds * 1000 <= result.delay_ms <= seconds * 1000 * (1 + JITTER)


def test_retry_after_counts_for_all_webhooks_of_the_receiver() -> None:
    """They wait as long as it asks for."""
    assert judge(response(429, Retry_After="90"), 1, NOW_MS).rest_ms == 90_000
    assert judge(response(429), 1, NOW_MS).rest_ms == 0
