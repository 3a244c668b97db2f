"""The limiter: who may call the API when, over all workers of an account, on the clock of Redis.

It never sleeps and never spends an attempt: a slot is granted now, reserved for a moment ahead, or refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from redis import Redis

from config.settings import Settings, Window
from worker.identity import whoami
from worker.store.keys import Keys
from worker.store.scripts import Scripts


class Endpoint(StrEnum):
    """The API counts calls by endpoint (IMAGEKIT_API: rate limits)."""

    DELETE = "delete"
    LIST = "list"
    PURGE = "purge"


class Kind(StrEnum):
    """What a response says about the API as a whole."""

    OK = "ok"
    THROTTLED = "throttled"
    TROUBLE = "trouble"
    KEY_REFUSED = "key_refused"


@dataclass(frozen=True)
class Call:
    """A call that was made, and what its response says about the API."""

    kind: Kind
    reason: str = ""
    """For people: why calls pause."""
    reset_ms: int | None = None
    """How long a throttle lasts, if the response says so."""
    is_probe: bool = False
    """Whether the call tested an API that had been failing."""
    windows: tuple[Window, ...] = ()
    """The limits that the response announced."""
    call_id: str = ""
    """Under which its slot was granted."""
    late_ms: int = 0
    """By how much it was sent later than its slot."""
    shows_health: bool = False
    """Whether it was as likely to succeed as any other call."""


class Slot(NamedTuple):
    """The limiter's answer to a request for one call."""

    granted: bool
    wait_ms: int
    """Granted: make the call then. Refused: ask again then."""
    is_probe: bool = False
    """Whether the call tests an API that has been failing."""


class Health(NamedTuple):
    """How the account's calls fare."""

    pause_ms: int
    """For which the endpoint is paused from now on; 0 if it is not."""
    success_ago_ms: int | None
    """Since the account's last successful call."""
    is_healthy: bool
    """Whether most calls succeed, of those that are as likely to as any other."""

    def succeeded_within(self, ms: int | None) -> bool:
        """Whether any call has succeeded in the last `ms` milliseconds; false when None."""
        return ms is not None and self.success_ago_ms is not None and self.success_ago_ms < ms


class Pause(NamedTuple):
    """Why no calls go out."""

    by: str
    """operator, throttled, trouble (the API does not answer), or key_refused."""
    reason: str
    until_ms: int | None
    """When the next call goes out, ms since 1970; None: when an operator resumes."""
    since_ms: int | None


class WindowUse(NamedTuple):
    """One window and the calls in it."""

    limit: int
    interval_ms: int
    calls: int


class Limits(NamedTuple):
    """What the limiter knows of an endpoint."""

    pause_ms: int
    slots: int
    """Calls that could be made within the horizon asked for."""
    margin_ms: float
    """By how much windows are taken to be longer than they are."""
    windows: list[WindowUse]


class Limiter:
    """Permission for calls to one endpoint."""

    def __init__(self, redis: Redis, settings: Settings, endpoint: Endpoint = Endpoint.DELETE) -> None:
        self._redis = redis
        self._keys = Keys(settings.account)
        self._scripts = Scripts(redis, self._keys)
        self.endpoint = endpoint
        self._share = settings.rate_share
        self._windows = _pairs(settings.rate_limits)

    def acquire(self, call_id: str, horizon_ms: int) -> Slot:
        """Ask for a slot; one at most `horizon_ms` ahead is reserved under `call_id`."""
        wait, probe = self._run("acquire", call_id=call_id, **self._settings(horizon_ms))
        return Slot(int(wait) >= 0, abs(int(wait)), probe == "1")

    def give_back(self, call_id: str) -> None:
        """Return the slot of a call that was not made."""
        self._run("give_back", call_id=call_id)

    def record(self, call: Call) -> Health:
        """Record what the response to a call says, for all workers."""
        return _read_health(self._run("record", **{**vars(call), "windows": _pairs(call.windows)}))

    def read_health(self) -> Health:
        """Return how the account's calls fare, changing nothing."""
        return _read_health(self._run("read_health"))

    def read_limits(self, horizon_ms: int = 0) -> Limits:
        """Return the limits of the endpoint and what room they leave, changing nothing."""
        pause, slots, margin, *flat = self._run("read_limits", **self._settings(horizon_ms))
        windows = [WindowUse(int(a), int(b), int(c)) for a, b, c in zip(*[iter(flat)] * 3, strict=True)]
        return Limits(int(pause), int(slots), float(margin), windows)

    def read_pause(self) -> Pause | None:
        """Return why no calls go out and until when; None while they do."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.hgetall(self._keys("account"))
            pipe.hgetall(self._keys.limits(self.endpoint))
            (seconds, _), account, limits = pipe.execute()
        return _pause(seconds * 1000, account, limits)

    def _settings(self, horizon_ms: int) -> dict[str, Any]:
        return {"horizon_ms": horizon_ms, "share": self._share, "windows": self._windows}

    def _run(self, operation: str, **args: Any) -> Any:
        return self._scripts.run(f"limiter/{operation}", {"endpoint": self.endpoint, **args})

    def pause(self, reason: str = "", by: str | None = None) -> None:
        """Stop all calls of the account until `resume`; it survives restarts. `by`: for the audit trail."""
        self._scripts.run("limiter/pause", {"reason": reason or "paused by an operator", "by": by or whoami()})

    def resume(self, by: str | None = None) -> None:
        """Let calls go out again: ends the operator's pause, and tries at once where an outage or a key is waited for.

        A throttle that the API itself announced stays.
        """
        self._scripts.run("limiter/resume", {"by": by or whoami()})

    def probe_soon(self) -> None:
        """Let one call try out a key that was refused: it may have been replaced. Called when a worker starts."""
        account = self._keys("account")
        if self._redis.hget(account, "trouble_kind") == Kind.KEY_REFUSED:
            self._redis.hdel(account, "trouble_until")


def _pairs(windows: Iterable[Window]) -> list[tuple[int, int]]:
    return [(window.limit, window.interval_ms) for window in windows]


def _read_health(reply: tuple[int, int, str]) -> Health:
    pause, ago, healthy = reply
    return Health(int(pause), None if int(ago) < 0 else int(ago), healthy == "1")


def _pause(now: int, account: dict[str, str], limits: dict[str, str]) -> Pause | None:
    def moment(text: str | None) -> int | None:
        return None if text is None else int(text)

    if "paused" in account:
        return Pause("operator", account["paused"], None, moment(account.get("paused_since")))
    if int(account.get("trouble_level", 0)) > 0:
        until, since = max(now, int(account.get("trouble_until", now))), moment(account.get("trouble_since"))
        return Pause(account.get("trouble_kind", Kind.TROUBLE), account.get("trouble", ""), until, since)
    if (until := int(limits.get("throttled_until", 0))) > now:
        return Pause(Kind.THROTTLED, limits.get("throttle_reason", ""), until, None)
    return None
