"""Makes webhooks for tests: requests that are final, and the passing of time."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from redis import Redis

from config.settings import Settings
from tests.unit.support_queue import end_all, ids, must_claim, queue_on, settings_for_tests
from worker.queue.operations import NewRequest, Queue
from worker.states import Outcome
from worker.webhooks.schedule import AttemptResult
from worker.webhooks.store import Taken, Webhook, Webhooks

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef" * 2).decode()
NEW_SECRET = "whsec_" + base64.b64encode(b"fedcba9876543210" * 2).decode()
URL = "https://shop.example/hooks/deleted"
DELIVERED = AttemptResult("delivered", status=200)
GIVEN_UP = AttemptResult("failed", "HTTP 410", 410)


def again_in(delay_ms: int, *, receiver_fails: bool = False) -> AttemptResult:
    """Return a failure after which the webhook is sent again."""
    return AttemptResult(None, "HTTP 503", 503, delay_ms, receiver_fails)


class Hooks:
    """One account's queue and webhooks, with settings under which every local receiver is allowed."""

    def __init__(self, client: Redis, **settings: Any) -> None:
        self.redis: Any = client
        given = {"webhook_secret": SECRET, "webhook_allow": '["127.0.0.0/8", "::1/128"]', **settings}
        self.settings: Settings = settings_for_tests(**given)
        self.queue: Queue = queue_on(client, **given)
        self.store = Webhooks(client, self.settings)

    def finish(self, request_id: str = "r", url: str | None = URL, source: str = "shop", files: int = 1) -> str:
        """Enqueue a request and delete its files; return the id of its webhook, or an empty text."""
        known = set(self.waiting())
        self.queue.enqueue(NewRequest(request_id, source, callback=url), ids(f"{request_id}-", files))
        end_all(self.queue, must_claim(self.queue, f"token-{request_id}"), Outcome.DELETED)
        return next(iter(set(self.waiting()) - known), "")

    def waiting(self) -> list[str]:
        """Return the ids of the webhooks that wait."""
        found: list[str] = self.redis.zrange(self.queue.keys("webhooks:waiting"), 0, -1)
        return found

    def take(self) -> Taken:
        """Take the webhook that is due first, and fail if there is none."""
        taken = self.store.take()
        assert taken is not None, "no webhook was due"
        return taken

    def make_due(self) -> None:
        """Let the delays of all webhooks, and leases, and rests of receivers pass."""
        for webhook_id in self.waiting():
            self.redis.zadd(self.queue.keys("webhooks:waiting"), {webhook_id: 1})
        for receiver, rest in self.redis.hgetall(self.queue.keys("webhooks:resting")).items():
            self.redis.hset(self.queue.keys("webhooks:resting"), receiver, f"1 {rest.split()[1]}")

    def seen(self) -> list[Webhook]:
        """Return all webhooks."""
        return list(self.store.all_in())

    def report(self, webhook_id: str) -> dict[str, Any]:
        """Return the report that a webhook carries, as it is stored."""
        found: dict[str, Any] = json.loads(self.redis.hget(self.queue.keys.webhook(webhook_id), "report"))
        return found

    def stored_texts(self) -> Iterator[str]:
        """Yield everything that is stored, as text."""
        for key in self.redis.keys("*"):
            yield key + _content(self.redis, key)


def _content(client: Any, key: str) -> str:
    match client.type(key):
        case "hash":
            return repr(client.hgetall(key))
        case "zset":
            return repr(client.zrange(key, 0, -1))
        case "list":
            return repr(client.lrange(key, 0, -1))
        case "set":
            return repr(client.smembers(key))
        case "stream":
            return repr(client.xrange(key))
    return repr(client.get(key))
