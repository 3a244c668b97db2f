"""Stores the webhooks of one account in Redis. One sender at a time has a webhook, under a lease.

The operation that makes a request final also queues its webhook (`worker/queue/lua/lib/requests.lua`), so none is lost.
All attempts have the same webhook id.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, NamedTuple, TypedDict, cast

from redis import Redis

from config.settings import Settings
from config.webhooks import masked
from worker.store.keys import Keys
from worker.store.scripts import Scripts
from worker.times import iso
from worker.webhooks.schedule import GIVE_UP_MS, AttemptResult

READY_SECONDS = 10.0
"""How long DNS, TCP and TLS may take together before an attempt is abandoned."""
SPARE_SECONDS = 5.0
"""Part of a lease that is left to record the result."""
_LOOK_AT = 1000
_PAGE = 200


class WebhookState(StrEnum):
    """State of a webhook; each state is a list in Redis."""

    WAITING = "waiting"
    """It is due, is being sent, or waits for its next attempt."""
    FAILED = "failed"
    """All attempts failed, or the receiver or its address was final; it can be sent again."""
    DELIVERED = "delivered"


class Taken(NamedTuple):
    """A webhook that this process has to send now."""

    webhook_id: str
    token: str
    now_ms: int
    url: str
    report: dict[str, Any]
    """Report of the request without file ids; times in ms."""
    attempts: int
    """So far."""


class Webhook(TypedDict):
    """A webhook as operators see it. Times are ISO 8601 in UTC."""

    id: str
    request_id: str
    state: str
    url: str
    """Without user, password and query."""
    attempts: int
    next_at: str | None
    """When it is due, while it waits."""
    last_at: str | None
    """When the last attempt ended."""
    status: int | None
    """HTTP status of the last response, if there was one."""
    error: str
    """Why the last attempt failed; empty if it did not."""


class Webhooks:
    """The webhooks of one account."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._keys = Keys(settings.account)
        self._scripts = Scripts(redis, self._keys)
        self._lease_ms = int((READY_SECONDS + settings.webhook_timeout_seconds + SPARE_SECONDS) * 1000)
        self._keep_ms = int(settings.result_ttl_seconds * 1000)

    def take(self) -> Taken | None:
        """Take the webhook that is due first, under a lease; None if there is nothing to send."""
        token = uuid.uuid4().hex
        reply = self._scripts.run(
            "webhooks/take",
            {
                "token": token,
                "lease_ms": self._lease_ms,
                "most": _LOOK_AT,
                "give_up_ms": GIVE_UP_MS,
                "keep_ms": self._keep_ms,
            },
        )
        if not reply:
            return None
        webhook_id, now_ms, url, report, attempts = reply
        return Taken(webhook_id, token, int(now_ms), url, json.loads(report), int(attempts))

    def record(self, taken: Taken, result: AttemptResult) -> None:
        """Record the result of an attempt. If the lease was taken over, only a delivery is recorded."""
        self._scripts.run(
            "webhooks/record",
            {
                "webhook": taken.webhook_id,
                "token": taken.token,
                "ending": result.ending,
                "delay_ms": result.delay_ms,
                "status": result.status,
                "error": result.error,
                "fails": result.receiver_fails,
                "rest_ms": result.rest_ms,
                "keep_ms": self._keep_ms,
            },
        )

    def send_again(self, webhook_id: str, by: str) -> str:
        """Send a webhook again, or now; return queued, sending (a worker sends it now) or unknown."""
        return str(self._scripts.run("webhooks/send_again", {"webhook": webhook_id, "by": by}))

    def all_in(self, states: Iterable[WebhookState] = WebhookState) -> Iterator[Webhook]:
        """Yield the webhooks in some states, state by state, the newest of each first, in constant memory."""
        for state in states:
            start = 0
            while page := self._page(state, start):
                yield from self._read(state, page)
                start += _PAGE

    def _page(self, state: WebhookState, start: int) -> list[tuple[str, float]]:
        found = self._redis.zrevrange(self._keys(f"webhooks:{state}"), start, start + _PAGE - 1, withscores=True)
        return cast("list[tuple[str, float]]", found)

    def _read(self, state: WebhookState, page: list[tuple[str, float]]) -> Iterator[Webhook]:
        with self._redis.pipeline(transaction=False) as pipe:
            for webhook_id, _ in page:
                pipe.hgetall(self._keys.webhook(webhook_id))
            stored: list[dict[str, str]] = pipe.execute()
        for (webhook_id, at), about in zip(page, stored, strict=True):
            if about:
                yield _as_seen(webhook_id, state, int(at), about)


def _as_seen(webhook_id: str, state: WebhookState, at_ms: int, about: dict[str, str]) -> Webhook:
    return Webhook(
        id=webhook_id,
        request_id=json.loads(about["report"])["request_id"],
        state=state.value,
        url=masked(about["url"]),
        attempts=int(about["attempts"]),
        next_at=iso(at_ms) if state is WebhookState.WAITING else None,
        last_at=iso(about.get("last_at")),
        status=int(about["status"]) if "status" in about else None,
        error=about.get("error", ""),
    )
