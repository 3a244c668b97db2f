"""Tells the limiter what responses to passed-through calls say about the account's rate limits."""

from __future__ import annotations

from config.settings import Settings
from worker.account import Account
from worker.imagekit.reading import read_limits, read_reset
from worker.limiter.slots import Call, Endpoint, Kind, Limiter
from worker.store.connection import explained

__all__ = ["Endpoint", "learn_limits"]


def learn_limits(
    settings: Settings,
    endpoint: Endpoint,
    *,
    limits: str | None,
    intervals: str | None,
    reset: str | None,
    is_throttled: bool,
) -> None:
    """Record the `X-RateLimit-*` headers of a response, or of a 429. Raises `worker.errors.RedisUnreachable`."""
    news = Call(
        kind=Kind.THROTTLED if is_throttled else Kind.OK,
        reason="ImageKit answered 429 to a call that was passed through" if is_throttled else "",
        reset_ms=read_reset(reset),
        windows=read_limits(limits, intervals),
    )
    with explained(settings):
        Limiter(Account(settings).redis, settings, endpoint).record(news)
