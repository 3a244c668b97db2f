"""The queue of one account: the file ids of all requests, from enqueue to outcome, in Redis.

Methods run the Lua operation of the same name, atomic and idempotent. The map of keys is in `worker.store.keys`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from redis import Redis

from config.settings import Settings
from worker.errors import InvalidRequest
from worker.identity import whoami
from worker.queue.claims import Claim, Settlements, read_claim
from worker.queue.requests import Enqueued, NewRequest, read_enqueued
from worker.queue.validation import Urls
from worker.states import State
from worker.store.keys import Keys
from worker.store.scripts import Scripts, Step

__all__ = ["CHUNK_IDS", "WHOLE", "Chunk", "Enqueued", "NewRequest", "Queue", "Work"]

CHUNK_IDS = 5000
"""Maximum file ids per call; a longer request is streamed in chunks of this size."""

OUTBOX_DELAY_MS = 10_000
"""How long only the worker that settled a request's last item may publish it. Then any worker may."""
LEFT_TO_ALL_MS = 0
"""The same for a caller that does not publish: any worker may at once."""


class Chunk(NamedTuple):
    """The position of a chunk of ids in the stream of a request."""

    is_first: bool = True
    is_last: bool = True
    stream: str = ""
    """Token shared by all chunks of a stream."""


WHOLE = Chunk()
"""The only chunk of a request."""


class Work(NamedTuple):
    """The work that is due now."""

    claimable: int
    """File ids that a claim could take, counted up to a bound."""
    groups: int
    """Groups that are due: parked groups and expired leases."""


class Queue:
    """The queue of one account."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis = redis
        self.keys, self.home_keys = Keys(settings.account), Keys(settings.home_account)
        self.scripts = Scripts(redis, self.keys)
        self._lease_ms = max(1000, int(settings.lease_seconds * 900))
        # Nine tenths: the rest is for polling, so that a dead worker's items are claimed again within the setting.
        self._batch_size = settings.batch_size
        self._result_ttl_ms = int(settings.result_ttl_seconds * 1000)
        self._remember_ms = max(1000, int(settings.remember_seconds * 1000))
        self._unsealed_ttl_ms = int(settings.unsealed_ttl_seconds * 1000)
        self._guards = settings.guards
        self._ttl_by_source = settings.result_ttl_by_source.root
        self._callbacks = settings.callbacks
        self.purge_quota = settings.purge_quota
        self.callback_problem = settings.callback_problem

    def enqueue(self, request: NewRequest, file_ids: Iterable[str], urls: Urls | None = None) -> Enqueued:
        """Enqueue a request; change nothing if its id is known.

        `file_ids` may be a stream of any length. It is sent in chunks, and nothing is deleted before the last one is
        stored. Duplicates count once. Repeating a call is safe, also concurrently: the first stream that ends makes the
        request, from its own ids. `urls` is filled by the stream, and emptied here.
        """
        stream, token = iter(file_ids), uuid.uuid4().hex
        chunk, is_first = list(islice(stream, CHUNK_IDS)), True
        while True:
            following = list(islice(stream, CHUNK_IDS))
            part = WHOLE if is_first and not following else Chunk(is_first, not following, token)
            reply = self.add_chunk(request, chunk, part, _taken(urls, chunk))
            if not following or reply.state is not State.OPEN:
                return reply
            chunk, is_first = following, False

    def add_chunk(
        self,
        request: NewRequest,
        file_ids: Iterable[str],
        chunk: Chunk = WHOLE,
        urls: Urls | None = None,
    ) -> Enqueued:
        """Add one chunk of at most `CHUNK_IDS` ids, with URLs of some, to a request; the last one seals it.

        Raises `RequestVanished` if the earlier chunks are gone.
        """
        reply = self.scripts.run(
            "queue/enqueue",
            {
                **self.described(request, urls=urls),
                **({} if chunk == WHOLE else {**chunk._asdict(), "unsealed_ttl_ms": self._unsealed_ttl_ms}),
            },
            *dict.fromkeys(file_ids),
        )
        return read_enqueued(request, *reply)

    def enqueue_many(
        self,
        requests: Sequence[tuple[NewRequest, list[str]]],
        first_results: Iterable[str],
        urls: Urls | None = None,
    ) -> list[Enqueued]:
        """Accept requests with their distinct file ids, at most `CHUNK_IDS` in all, in one step.

        The first result of each is written where Celery's callers look, unless its id was accepted before. `urls` are
        those of their files, and are emptied.
        """
        asked = [self.described(request, file_ids, _taken(urls, file_ids)) for request, file_ids in requests]
        replies = self.scripts.run("queue/enqueue_many", {"requests": asked}, *first_results)
        return [read_enqueued(request, *reply) for (request, _), reply in zip(requests, replies, strict=True)]

    def claim(self, token: str, fewest: int = 1) -> Claim | None:
        """Claim up to a batch of items, in equal shares from all sources, or a due group; None if there are none.

        `fewest` is the smallest number of fresh ids worth a call.
        """
        return self.scripts.do(self.claiming(token, fewest))

    def claiming(self, token: str, fewest: int) -> Step[Claim | None]:
        """Return `claim` as a step."""
        return Step(
            "queue/claim",
            {
                "token": token,
                "size": self._batch_size,
                "lease_ms": self._lease_ms,
                "fewest": fewest,
                "result_ttl_ms": self._result_ttl_ms,
                "outbox_delay_ms": LEFT_TO_ALL_MS,
                "remember_ms": self._remember_ms,
            },
            lambda reply: read_claim(token, *reply) if reply else None,
        )

    def settle(self, token: str, settlements: Settlements) -> list[str]:
        """Settle items that the token still holds, in one step; return the requests that are final now."""
        return self.scripts.do(self.settling(token, settlements))

    def settling(self, token: str, settlements: Settlements) -> Step[list[str]]:
        """Return `settle` as a step."""
        return Step(
            "queue/settle",
            {
                "token": token,
                "result_ttl_ms": self._result_ttl_ms,
                "outbox_delay_ms": OUTBOX_DELAY_MS,
                "remember_ms": self._remember_ms,
                **vars(settlements),
            },
            list,
        )

    def renew(self, tokens: Sequence[str]) -> int:
        """Renew leases; return how many had not been taken over."""
        return int(self.scripts.run("queue/renew", {"lease_ms": self._lease_ms}, *tokens))

    def cancel(self, request_id: str, by: str | None = None) -> tuple[State, int] | None:
        """Cancel the waiting items of a request; return its state and their number, None if it is unknown.

        `by` is recorded in the audit trail; None is the user of this process, and an empty text records nothing.
        """
        reply = self.scripts.run(
            "queue/cancel",
            {
                "request": request_id,
                "by": (whoami() if by is None else by) or None,
                "result_ttl_ms": self._result_ttl_ms,
                "outbox_delay_ms": LEFT_TO_ALL_MS,
            },
        )
        return (State(reply[0]), int(reply[1])) if reply else None

    def described(
        self, request: NewRequest, file_ids: list[str] | None = None, urls: Urls | None = None
    ) -> dict[str, Any]:
        """Return a request as an argument of the operations, with its file ids if they are part of it.

        Raises `InvalidRequest` if its callback is not usable.
        """
        if request.callback and (problem := self.callback_problem(request.callback)):
            raise InvalidRequest("callback", None, problem)
        ttl_seconds = request.result_ttl_seconds or self._ttl_by_source.get(request.source)
        fields = {
            "request": request.request_id,
            "source": request.source,
            "reason": request.reason or None,
            "hold_ms": int(request.hold_seconds * 1000),
            "canvas": json.dumps(request.canvas) if request.canvas else None,
            "origin": whoami() if request.origin is None else request.origin,
            "result_ttl_ms": ttl_seconds and ttl_seconds * 1000,
            "guard": self._guards.bounds_of(request.source),
            "content": request.digest.text() if request.digest else None,
            "retry_of": request.retry_of,
            "traceparent": request.traceparent,
            "callback": request.callback or self._callbacks.url_of(request.source),
            "file_ids": file_ids,
            **(request.purging(urls or None) if request.purge else {}),
        }
        return {name: value for name, value in fields.items() if value is not None}

    def now_ms(self) -> int:
        """Return the time of the Redis server, milliseconds since 1970. All times in the queue are from this clock."""
        seconds, micros = self.redis.time()
        return seconds * 1000 + micros // 1000

    def count_waiting(self) -> int:
        """Return how many ids wait or are in flight."""
        counts = [*self.redis.hvals(self.keys("waiting")), *self.redis.hvals(self.keys("in_flight"))]
        return sum(map(int, counts))

    def gone(self, file_ids: Sequence[str]) -> set[str]:
        """Return those of the file ids that we have deleted, as far as it is remembered."""
        if not file_ids:
            return set()
        with self.redis.pipeline(transaction=False) as pipe:
            for name in ("gone:0", "gone:1"):
                pipe.smismember(self.keys(name), list(file_ids))
            older, newer = pipe.execute()
        return {file_id for file_id, *gone in zip(file_ids, older, newer, strict=True) if any(gone)}

    def any_gone_id(self) -> str | None:
        """Return the id of a file that we have deleted; None if none is remembered."""
        for name in ("gone:0", "gone:1"):
            file_id = self.redis.srandmember(self.keys(name))
            if isinstance(file_id, str):
                return file_id
        return None

    def peek(self, enough: int) -> Work:
        """Return the work that is due now; claimable ids are counted up to `enough`."""
        return self.scripts.do(self.peeking(enough))

    def peeking(self, enough: int) -> Step[Work]:
        """Return `peek` as a step."""
        return Step("queue/peek", {"enough": enough}, lambda reply: Work(*reply))


def _taken(urls: Urls | None, chunk: Iterable[str]) -> Urls | None:
    """Take the URLs of a chunk's ids out of `urls`."""
    return {file_id: urls.pop(file_id) for file_id in chunk if file_id in urls} if urls else None
