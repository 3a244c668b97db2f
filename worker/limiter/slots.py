"""The limiter: who may call the API when, over all workers of an account, on the clock of Redis.

It never sleeps and never spends an attempt: it answers *go*, *go in a moment* (a place is reserved), or *wait*.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from redis import Redis

from config.settings import Settings, Window
from worker.store.keys import Keys
from worker.store.scripts import Scripts

FIRST_MARGIN_MS = 15
"""By how much a window is taken to be longer than it is, before the answers have taught better."""


class Endpoint(StrEnum):
    """The API counts calls by endpoint (IMAGEKIT_API: rate limits)."""

    DELETE = "delete"
    LIST = "list"
    PURGE = "purge"


class Kind(StrEnum):
    """What an answer says of the API as a whole."""

    OK = "ok"
    THROTTLED = "throttled"
    TROUBLE = "trouble"
    KEY_REFUSED = "key_refused"


class Slot(NamedTuple):
    """The answer to a wish for a call."""

    granted: bool
    wait_ms: int
    """If granted: make the call then; else ask again then."""
    probe: bool = False
    """Whether the call tries out an API that has been failing."""


class Learned(NamedTuple):
    """What the limiter knows after an answer."""

    pause_ms: int
    """For which the endpoint is paused from now on; 0 if it is not."""
    success_ago_ms: int | None
    """Since the account's last successful call."""
    is_healthy: bool
    """Whether most calls go well, of those that have no more reason to fail than any other."""

    def succeeded_within(self, ms: int | None) -> bool:
        """Whether any call has succeeded in the last `ms` milliseconds; false when None."""
        return ms is not None and self.success_ago_ms is not None and self.success_ago_ms < ms


class WindowUse(NamedTuple):
    """One window and the calls in it."""

    limit: int
    interval_ms: int
    calls: int


class Limits(NamedTuple):
    """What the limiter knows of an endpoint."""

    pause_ms: int
    paused_by: str
    """operator, throttled, trouble, key_refused, or empty."""
    wait_ms: int
    """Until there is a place for a call."""
    places: int
    """Calls that could be made within the horizon asked for."""
    margin_ms: float
    windows: list[WindowUse]


class Limiter:
    """Permission for calls to one endpoint."""

    def __init__(self, redis: Redis, settings: Settings, endpoint: Endpoint = Endpoint.DELETE) -> None:
        self._redis = redis
        self._keys = Keys(settings.account)
        self._scripts = Scripts(redis, self._keys)
        self.endpoint = endpoint
        self._share = settings.rate_share
        self._windows = [part for window in settings.rate_limits for part in (window.limit, window.interval_ms)]

    def acquire(self, call_id: str, horizon_ms: int) -> Slot:
        """Ask for a call; a place up to `horizon_ms` ahead is reserved under `call_id`."""
        wait, probe = self._scripts.run(
            "limiter/acquire", self.endpoint, call_id, horizon_ms, self._share, FIRST_MARGIN_MS, *self._windows
        )
        return Slot(int(wait) >= 0, abs(int(wait)), probe == "1")

    def give_back(self, call_id: str) -> None:
        """Return the place of a call that was not made."""
        self._scripts.run("limiter/give_back", self.endpoint, call_id)

    def record(  # noqa: PLR0913 - what an answer tells
        self,
        kind: Kind,
        *,
        reason: str = "",
        reset_ms: int | None = None,
        probe: bool = False,
        learned: tuple[Window, ...] = (),
        call_id: str = "",
        late_ms: int = 0,
        shows_health: bool = False,
    ) -> Learned:
        """Learn from an answer of the API to the call that was sent `late_ms` after its slot.

        `shows_health`: the call had no more reason to fail than any other.
        """
        windows = [part for window in learned for part in (window.limit, window.interval_ms)]
        reset = "" if reset_ms is None else reset_ms
        return _read_learned(
            self._scripts.run(
                "limiter/record_answer",
                self.endpoint,
                kind,
                reason,
                reset,
                int(probe),
                FIRST_MARGIN_MS,
                call_id,
                late_ms,
                int(shows_health),
                *windows,
            )
        )

    def success(self) -> Learned:
        """Return when a call last succeeded, without an answer to learn from."""
        return _read_learned(self._scripts.run("limiter/read_success", self.endpoint))

    def look(self, horizon_ms: int = 0) -> Limits:
        """Return what is known, changing nothing."""
        pause, who, wait, places, margin, *flat = self._scripts.run(
            "limiter/read_limits", self.endpoint, horizon_ms, self._share, FIRST_MARGIN_MS, *self._windows
        )
        windows = [WindowUse(int(a), int(b), int(c)) for a, b, c in zip(*[iter(flat)] * 3, strict=True)]
        return Limits(int(pause), who, int(wait), int(places), float(margin), windows)

    def read_account(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return what is noted of the account's pauses, and of this endpoint's throttle."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(self._keys("account"))
            pipe.hgetall(self._keys.limits(self.endpoint))
            account, limits = pipe.execute()
        return account, limits

    def pause(self, reason: str = "") -> None:
        """Stop all calls of the account until `resume`; it survives restarts."""
        seconds, _ = self._redis.time()
        about: dict[str | bytes, str | int] = {
            "paused": reason or "paused by an operator",
            "paused_since": seconds * 1000,
        }
        self._redis.hset(self._keys("account"), mapping=about)  # type: ignore[arg-type]

    def resume(self) -> None:
        """Let calls go out again: ends the operator's pause, and tries at once where an outage or a key is waited for.

        A throttle that the API itself announced stays.
        """
        account = self._keys("account")
        self._redis.hdel(account, "paused", "paused_since", "trouble_until")

    def probe_soon(self) -> None:
        """Let one call try out a key that was refused: it may have been replaced. Called when a worker starts."""
        account = self._keys("account")
        if self._redis.hget(account, "trouble_kind") == Kind.KEY_REFUSED:
            self._redis.hdel(account, "trouble_until")


def _read_learned(reply: tuple[int, int, str]) -> Learned:
    pause, ago, healthy = reply
    return Learned(int(pause), None if int(ago) < 0 else int(ago), healthy == "1")
