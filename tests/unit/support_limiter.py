"""Builds limiters for tests, and lets time pass for them by moving what they remember into the past."""

from __future__ import annotations

from typing import Any

from redis import Redis

from config.settings import Window
from tests.unit.support_queue import settings_for_tests
from worker.limiter.slots import Endpoint, Limiter
from worker.store.keys import Keys

KEYS = Keys("default")
SPREAD_MOST_MS = 20
"""Largest minimum distance of calls."""
_MOMENTS = ("trouble_until", "trouble_since", "last_success", "paused_since")


def limiter_on(
    client: Redis, *windows: tuple[int, int], endpoint: Endpoint = Endpoint.DELETE, **overrides: Any
) -> Limiter:
    """Return a limiter with windows of (calls, milliseconds)."""
    limits = tuple(Window(limit, interval_ms) for limit, interval_ms in windows)
    return Limiter(client, settings_for_tests(rate_limits=limits, **overrides), endpoint)


def let_pass(client: Any, ms: float, endpoint: Endpoint = Endpoint.DELETE) -> None:
    """Let some milliseconds pass for the limiter of an endpoint."""
    calls, limits, account = KEYS.calls(endpoint), KEYS.limits(endpoint), KEYS("account")
    for call in client.zrange(calls, 0, -1):
        client.zincrby(calls, -ms, call)
    for field in _MOMENTS:
        if client.hexists(account, field):
            client.hincrby(account, field, -int(ms))
    for field, value in client.hgetall(limits).items():
        if field in {"throttled_until", "widened_at"}:
            client.hincrby(limits, field, -int(ms))
        elif field.startswith("window:"):
            limit, at = value.split(" ")
            client.hset(limits, field, f"{limit} {int(at) - int(ms)}")


def pause_of(limiter: Limiter) -> str | None:
    """Return who or what holds the calls back; None if nothing does."""
    pause = limiter.read_pause()
    return pause and pause.by


def take_all(client: Any, limiter: Limiter, most: int = 1000) -> int:
    """Ask for calls, just far enough apart, until one has to wait; return how many were granted."""
    for number in range(most):
        if not limiter.acquire(f"call-{client.incr('numbers')}", 0).granted:
            return number
        let_pass(client, SPREAD_MOST_MS)
    return most
