"""Interprets the response to a webhook, and decides when the webhook is sent again."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

from worker.imagekit.transport import RawAnswer

DELAYS_SECONDS = (0, 5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600)
"""Delay before each attempt, from the end of the previous one (docs.svix.com/retries)."""
JITTER = 0.1
"""Maximum share of a delay that is added at random, to spread the retries."""
GIVE_UP_MS = int(sum(DELAYS_SECONDS) * (1 + JITTER) + 3600) * 1000
"""Age at which a webhook fails that waits for a failing receiver: an hour more than all attempts take."""
MOST_RETRY_AFTER_SECONDS = 86_400
"""Maximum delay that a receiver can ask for."""


class AttemptResult(NamedTuple):
    """The result of one attempt to send a webhook."""

    ending: Literal["delivered", "failed"] | None
    """None if it is sent again in `delay_ms`."""
    error: str = ""
    status: int | None = None
    delay_ms: int = 0
    receiver_fails: bool = False
    """Whether other webhooks to the same receiver would probably fail too."""
    rest_ms: int = 0
    """Delay that the receiver asks for with Retry-After."""


def judge(answer: RawAnswer, attempt: int, now_ms: int) -> AttemptResult:
    """Return the result of an attempt from its response. The first attempt is number 1."""
    status = answer.status
    if status is None:
        return again(answer.failure or "no response", attempt, receiver_fails=True)
    if 200 <= status < 300:
        return AttemptResult("delivered", status=status)
    if status == 410:
        return AttemptResult("failed", "HTTP 410: the receiver does not want this webhook", status)
    overloaded = status == 429 or status >= 500
    rest_ms = _retry_after_ms(answer.headers, now_ms)
    result = again(_explained(status), attempt, receiver_fails=overloaded)
    return result._replace(status=status, rest_ms=rest_ms, delay_ms=max(result.delay_ms, rest_ms))


def again(error: str, attempt: int, *, receiver_fails: bool) -> AttemptResult:
    """Return the result of a failed attempt: send it again later, or give up after the last attempt."""
    if attempt >= len(DELAYS_SECONDS):
        return AttemptResult("failed", error, receiver_fails=receiver_fails)
    delay = DELAYS_SECONDS[attempt] * (1 + JITTER * random.random())  # noqa: S311 - not for secrets
    return AttemptResult(None, error, delay_ms=int(delay * 1000), receiver_fails=receiver_fails)


def _explained(status: int) -> str:
    if 300 <= status < 400:
        return f"HTTP {status}: redirects are not followed; the callback must be the final URL"
    return f"HTTP {status}"


def _retry_after_ms(headers: Mapping[str, str], now_ms: int) -> int:
    """Return the delay in Retry-After, which is a number of seconds or a date (RFC 9110, 10.2.3); 0 without it."""
    text = headers.get("Retry-After", "").strip()
    try:
        seconds = int(text) if text.isdecimal() else _date(text).timestamp() - now_ms / 1000
    except (ValueError, OverflowError):
        return 0
    return int(min(max(0, seconds), MOST_RETRY_AFTER_SECONDS) * 1000)


def _date(text: str) -> datetime:
    found = parsedate_to_datetime(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
