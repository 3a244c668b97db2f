"""What the response to a webhook means, and when the webhook is sent again."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

from worker.imagekit.transport import RawAnswer

DELAYS_SECONDS = (0, 5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600)
"""Before each attempt, from the end of the one before it (docs.svix.com/retries)."""
JITTER = 0.1
"""Share of a delay that is added at random, so that what failed together does not come back together."""
GIVE_UP_MS = int(sum(DELAYS_SECONDS) * (1 + JITTER) + 3600) * 1000
"""Age at which a webhook that could not be tried fails: somewhat more than all attempts take."""
MOST_RETRY_AFTER_SECONDS = 86_400
"""A receiver that asks for a longer delay gets this one."""


class Verdict(NamedTuple):
    """What came of sending a webhook once."""

    ending: Literal["delivered", "failed"] | None
    """None: it is sent again in `delay_ms`."""
    error: str = ""
    status: int | None = None
    delay_ms: int = 0
    receiver_fails: bool = False
    """Whether other webhooks to the same receiver would fail as well."""
    rest_ms: int = 0
    """How long the receiver asks to be left alone."""


def judge(answer: RawAnswer, attempt: int, now_ms: int) -> Verdict:
    """Return what the response to the n-th attempt means; the first attempt is 1."""
    status = answer.status
    if status is None:
        return again(answer.failure or "no response", attempt, receiver_fails=True)
    if 200 <= status < 300:
        return Verdict("delivered", status=status)
    if status == 410:
        return Verdict("failed", "HTTP 410: the receiver wants no more of this", status)
    overloaded = status == 429 or status >= 500
    rest_ms = _retry_after_ms(answer.headers, now_ms)
    verdict = again(_explained(status), attempt, receiver_fails=overloaded)
    return verdict._replace(status=status, rest_ms=rest_ms, delay_ms=max(verdict.delay_ms, rest_ms))


def again(error: str, attempt: int, *, receiver_fails: bool) -> Verdict:
    """Return the verdict on a failed attempt: send it again later, or give up after the last."""
    if attempt >= len(DELAYS_SECONDS):
        return Verdict("failed", error, receiver_fails=receiver_fails)
    delay = DELAYS_SECONDS[attempt] * (1 + JITTER * random.random())  # noqa: S311 - not for secrets
    return Verdict(None, error, delay_ms=int(delay * 1000), receiver_fails=receiver_fails)


def _explained(status: int) -> str:
    if 300 <= status < 400:
        return f"HTTP {status}: redirects are not followed; the callback must be the final URL"
    return f"HTTP {status}"


def _retry_after_ms(headers: Mapping[str, str], now_ms: int) -> int:
    """Return what Retry-After (RFC 9110, 10.2.3) asks for: a number of seconds, or a date. 0 without it."""
    text = headers.get("Retry-After", "").strip()
    try:
        seconds = int(text) if text.isdecimal() else _date(text).timestamp() - now_ms / 1000
    except (ValueError, OverflowError):
        return 0
    return int(min(max(0, seconds), MOST_RETRY_AFTER_SECONDS) * 1000)


def _date(text: str) -> datetime:
    found = parsedate_to_datetime(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
