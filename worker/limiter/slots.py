"""The limiter: grants slots for calls to all workers of an account, on the clock of Redis.

A slot is granted now, reserved for a moment ahead, or refused. The limiter never sleeps.
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
from worker.store.scripts import Scripts, Step


class Endpoint(StrEnum):
    """What the API limits separately (ImageKit documentation, "Rate limits")."""

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
    """Why calls pause, shown to people."""
    reset_ms: int | None = None
    """How long a throttle lasts, if the response says so."""
    is_probe: bool = False
    """Whether the call tested an API that had been failing."""
    windows: tuple[Window, ...] = ()
    """The limits that the response announced."""
    call_id: str = ""
    """The id under which its slot was granted."""
    late_ms: int = 0
    """How much later than its slot it was sent."""
    shows_health: bool = False
    """Whether its result counts toward the account's health: it was as likely to succeed as any other call."""
    status: int | None = None
    """HTTP status of the response; None if there was none."""
    elapsed_ms: float = 0.0
    """Duration of the call; 0 if it was not made, because there is no private key."""
    files: int = 0
    """Number of file ids in a bulk call."""


class Slot(NamedTuple):
    """The limiter's reply to a request for a slot."""

    granted: bool
    wait_ms: int
    """Granted: make the call then. Refused: ask again then."""
    is_probe: bool = False
    """Whether the call tests an API that has been failing."""


class Health(NamedTuple):
    """The health of the account: whether its calls succeed."""

    pause_ms: int
    """How long the endpoint is paused from now on; 0 if it is not."""
    success_ago_ms: int | None
    """Since the account's last successful call; None if there was none."""
    is_healthy: bool
    """Whether most calls that count toward health succeed."""

    def succeeded_within(self, ms: int | None) -> bool:
        """Whether any call has succeeded in the last `ms` milliseconds; false when None."""
        return ms is not None and self.success_ago_ms is not None and self.success_ago_ms < ms


class Pause(NamedTuple):
    """Why calls are paused."""

    by: str
    """operator, throttled, trouble (the API does not answer), or key_refused."""
    reason: str
    until_ms: int | None
    """When the next call is made, ms since 1970; None: when an operator resumes."""
    since_ms: int | None
    who: str | None = None
    """Who paused, if an operator did."""


class WindowUse(NamedTuple):
    """One window and the calls in it."""

    limit: int
    interval_ms: int
    calls: int


class Limits(NamedTuple):
    """The limits of an endpoint, and their use."""

    pause_ms: int
    slots: int
    """Calls that could be made within the horizon."""
    margin_ms: float
    """Every window is treated as this much longer than it is."""
    windows: list[WindowUse]


class Limiter:
    """Grants slots for calls to one endpoint."""

    def __init__(self, redis: Redis, settings: Settings, endpoint: Endpoint = Endpoint.DELETE) -> None:
        self._redis = redis
        self._keys = Keys(settings.account)
        self._scripts = Scripts(redis, self._keys)
        self.endpoint = endpoint
        self._share = settings.rate_share
        self._windows = _pairs(settings.rate_limits)

    def acquire(self, call_id: str, horizon_ms: int) -> Slot:
        """Request a slot; one at most `horizon_ms` ahead is reserved under `call_id`."""
        return self._scripts.do(self.acquiring(call_id, horizon_ms))

    def acquiring(self, call_id: str, horizon_ms: int) -> Step[Slot]:
        """Return `acquire` as a step."""
        return Step(
            "limiter/acquire",
            {"endpoint": self.endpoint, "call_id": call_id, **self._settings(horizon_ms)},
            lambda reply: Slot(int(reply[0]) >= 0, abs(int(reply[0])), reply[1] == "1"),
        )

    def give_back(self, call_id: str) -> None:
        """Return the slot of a call that is not made."""
        self._run("give_back", call_id=call_id)

    def record(self, call: Call) -> Health:
        """Record what the response to a call says, for all workers."""
        return self._scripts.do(self.recording(call))

    def recording(self, call: Call) -> Step[Health]:
        """Return `record` as a step."""
        args = {"endpoint": self.endpoint, **vars(call), "windows": _pairs(call.windows)}
        return Step("limiter/record", args, _read_health)

    def read_health(self) -> Health:
        """Return the health of the account, changing nothing."""
        return _read_health(self._run("read_health"))

    def read_limits(self, horizon_ms: int = 0) -> Limits:
        """Return the limits of the endpoint and their use, changing nothing."""
        return self._scripts.do(self.reading_limits(horizon_ms))

    def reading_limits(self, horizon_ms: int = 0) -> Step[Limits]:
        """Return `read_limits` as a step."""
        args = {"endpoint": self.endpoint, **self._settings(horizon_ms)}
        return Step("limiter/read_limits", args, _read_limits)

    def read_pause(self) -> Pause | None:
        """Return why calls are paused and until when; None if they are not."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.hgetall(self._keys("account"))
            pipe.hgetall(self._keys.limits(self.endpoint))
            (seconds, _), account, limits = pipe.execute()
        return pause_of(seconds * 1000, account, limits)

    def _settings(self, horizon_ms: int) -> dict[str, Any]:
        return {"horizon_ms": horizon_ms, "share": self._share, "windows": self._windows}

    def _run(self, operation: str, **args: Any) -> Any:
        return self._scripts.run(f"limiter/{operation}", {"endpoint": self.endpoint, **args})

    def pause(self, reason: str = "", by: str | None = None) -> None:
        """Pause all calls of the account until `resume`, also across restarts. `by` is for the audit trail."""
        self._scripts.run("limiter/pause", {"reason": reason or "paused by an operator", "by": by or whoami()})

    def resume(self, by: str | None = None) -> None:
        """End the operator's pause, and send the next probe of an outage or a refused key at once.

        A throttle announced by the API stays.
        """
        self._scripts.run("limiter/resume", {"by": by or whoami()})

    def probe_soon(self) -> None:
        """Send the next probe of a refused key at once: a worker is starting, perhaps with a new key."""
        account = self._keys("account")
        if self._redis.hget(account, "trouble_kind") == Kind.KEY_REFUSED:
            self._redis.hdel(account, "trouble_until")


def _pairs(windows: Iterable[Window]) -> list[tuple[int, int]]:
    return [(window.limit, window.interval_ms) for window in windows]


def _read_health(reply: tuple[int, int, str]) -> Health:
    pause, ago, healthy = reply
    return Health(int(pause), None if int(ago) < 0 else int(ago), healthy == "1")


def _read_limits(reply: list[Any]) -> Limits:
    pause, slots, margin, *flat = reply
    windows = [WindowUse(int(a), int(b), int(c)) for a, b, c in zip(*[iter(flat)] * 3, strict=True)]
    return Limits(int(pause), int(slots), float(margin), windows)


def pause_of(now: int, account: dict[str, str], limits: dict[str, str]) -> Pause | None:
    """Return why calls are paused, from the hashes `account` and `limits:<endpoint>`; `now` in ms since 1970."""

    def moment(text: str | None) -> int | None:
        return None if text is None else int(text)

    if "paused" in account:
        return Pause("operator", account["paused"], None, moment(account.get("paused_since")), account.get("paused_by"))
    if int(account.get("trouble_level", 0)) > 0:
        until, since = max(now, int(account.get("trouble_until", now))), moment(account.get("trouble_since"))
        return Pause(account.get("trouble_kind", Kind.TROUBLE), account.get("trouble", ""), until, since)
    if (until := int(limits.get("throttled_until", 0))) > now:
        return Pause(Kind.THROTTLED, limits.get("throttle_reason", ""), until, None)
    return None
