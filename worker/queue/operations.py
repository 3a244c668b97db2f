"""The queue: file ids of all requests, from their acceptance to their outcome. All of it is in Redis.

Each method is one Lua operation of the same name, atomic and idempotent. The map of keys is in `worker.store.keys`.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from redis import Redis
from redis.client import Pipeline

from config.settings import Settings
from worker.errors import RequestVanished
from worker.identity import whoami
from worker.queue.claims import Claim, Item, Settlements
from worker.queue.digest import Digest
from worker.states import Doubt, State
from worker.store.keys import Keys
from worker.store.scripts import Scripts

logger = logging.getLogger(__name__)

CHUNK_IDS = 5000
"""File ids that one call of an operation carries at most; a longer request is streamed in such chunks."""

OUTBOX_DELAY_MS = 10_000
"""How long a finished request waits for whoever settled its last item before anybody may publish it."""
LEFT_TO_ALL_MS = 0
"""The same where whoever finishes it does not publish it: the next worker that looks does."""


@dataclass(frozen=True)
class NewRequest:
    """What a producer asks for, apart from the file ids."""

    request_id: str
    source: str
    reason: str | None = None
    hold_seconds: float = 0
    canvas: Mapping[str, Any] | None = None
    """What Celery runs when the request is done."""
    origin: str | None = None
    """Who asks, user or program and host; None: whoever runs this process."""
    digest: Digest | None = None
    """Of its content, where its sender is to be told that an id was used for something else."""
    retry_of: str | None = None
    """The request whose failed ids it repeats."""


class Chunk(NamedTuple):
    """Where a chunk of ids stands in the stream that makes a request."""

    is_first: bool = True
    is_last: bool = True
    stream: str = ""
    """A token: chunks with the same one belong together."""


WHOLE = Chunk()
"""The only chunk of a request."""


class Enqueued(NamedTuple):
    """What `Queue.enqueue` found or did."""

    state: State
    """Of the request, after the call."""
    is_new: bool
    """Whether this call sealed it; false when the request id was there already."""
    total: int
    held: str = ""
    """Why it waits for somebody's approval; empty when it does not."""


class Work(NamedTuple):
    """What there is to do now."""

    claimable: int
    """File ids that a claim could take (counted up to a bound)."""
    groups: int
    """Groups that are due: parked batches, and leases that ran out."""


class Queue:
    """The file ids of one account that wait for their deletion."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis = redis
        self.keys = Keys(settings.account)
        self.scripts = Scripts(redis, self.keys)
        self._lease_ms = max(1000, int(settings.lease_seconds * 900))
        # Nine tenths: the rest is for noticing, so that a dead worker's items are claimed again within the setting.
        self._batch_size = settings.batch_size
        self._result_ttl_ms = int(settings.result_ttl_seconds * 1000)
        self._remember_ms = max(1000, int(settings.remember_seconds * 1000))
        self._unsealed_ttl_ms = int(settings.unsealed_ttl_seconds * 1000)
        self._guards = settings.guards

    def enqueue(self, request: NewRequest, file_ids: Iterable[str]) -> Enqueued:
        """Accept a request whole, or change nothing when its id was accepted before.

        `file_ids` may be a stream of any length. It is sent in chunks, and nothing is deleted before the last is in.
        Duplicates count once. The same request may be sent again at any time, also by two callers at once: the first
        to send its last chunk makes the request, of what it sent itself.
        """
        stream, token = iter(file_ids), uuid.uuid4().hex
        chunk, is_first = list(islice(stream, CHUNK_IDS)), True
        while True:
            following = list(islice(stream, CHUNK_IDS))
            part = WHOLE if is_first and not following else Chunk(is_first, not following, token)
            reply = self.add_chunk(request, chunk, part)
            if not following or reply.state is not State.OPEN:
                return reply
            chunk, is_first = following, False

    def add_chunk(
        self,
        request: NewRequest,
        file_ids: Iterable[str],
        chunk: Chunk = WHOLE,
        *,
        early_result: tuple[str, str] | None = None,
        pipe: Pipeline | None = None,
    ) -> Enqueued:
        """Add one chunk of a request, at most `CHUNK_IDS` ids; the last one seals it. In a pipe, ignore the answer.

        `early_result`, a key and a value, is written in the same step if the call seals the request.

        Raises `RequestVanished` where what came before is gone.
        """
        key, value = early_result or (None, None)
        reply = self.scripts.run(
            "queue/enqueue",
            {
                **self.described(request),
                **({} if chunk == WHOLE else {**chunk._asdict(), "unsealed_ttl_ms": self._unsealed_ttl_ms}),
                "first_result": value,
            },
            *dict.fromkeys(file_ids),
            pipe=pipe,
            keys=[key] if key else [],
        )
        if pipe is not None:
            return Enqueued(State.OPEN, is_new=False, total=0)
        return read_enqueued(reply, request.request_id, request.source)

    def claim(self, token: str, fewest: int = 1) -> Claim | None:
        """Take up to a batch of items in equal shares of all sources, or a group that is due; None: nothing to do.

        `fewest` is the number of claimable ids below which it is not worth a call yet.
        """
        reply = self.scripts.run(
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
        )
        if not reply:
            return None
        fails, failed_ago, suspect, packed = reply
        items = list(_unpacked(packed))
        return Claim(token, items, int(fails), None if int(failed_ago) < 0 else int(failed_ago), suspect == "1")

    def settle(self, token: str, settlements: Settlements) -> list[str]:
        """Settle items that the token still holds, in one step; return the requests that are final now."""
        finished: list[str] = self.scripts.run(
            "queue/settle",
            {
                "token": token,
                "result_ttl_ms": self._result_ttl_ms,
                "outbox_delay_ms": OUTBOX_DELAY_MS,
                "remember_ms": self._remember_ms,
                **vars(settlements),
            },
        )
        return finished

    def renew(self, tokens: Sequence[str]) -> int:
        """Prolong leases; return how many had not been taken over."""
        return int(self.scripts.run("queue/renew", {"lease_ms": self._lease_ms}, *tokens))

    def cancel(self, request_id: str, by: str | None = None) -> tuple[State, int] | None:
        """Cancel what waits; returns the request's state and the number of items cancelled, None if it is unknown.

        `by` goes to the audit trail; by default whoever runs this process, and nobody when empty.
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

    def described(self, request: NewRequest) -> dict[str, Any]:
        """Return a request as the operations take it; what it does not have is left out."""
        fields = {
            "request": request.request_id,
            "source": request.source,
            "reason": request.reason or None,
            "hold_ms": int(request.hold_seconds * 1000),
            "canvas": json.dumps(request.canvas) if request.canvas else None,
            "origin": whoami() if request.origin is None else request.origin,
            "guard": self._guards.bounds_of(request.source),
            "digest": request.digest.text() if request.digest else None,
            "retry_of": request.retry_of,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def now_ms(self) -> int:
        """Return the time of the Redis server, milliseconds since 1970: the clock of everything in the queue."""
        seconds, micros = self.redis.time()
        return seconds * 1000 + micros // 1000

    def any_gone_id(self) -> str | None:
        """Return a file id that the API said we deleted, if one is remembered."""
        for name in ("gone:0", "gone:1"):
            file_id = self.redis.srandmember(self.keys(name))
            if isinstance(file_id, str):
                return file_id
        return None

    def peek(self, enough: int) -> Work:
        """Return what there is to do now; claimable ids are counted up to `enough`."""
        return Work(*self.scripts.run("queue/peek", {"enough": enough}))


def _unpacked(packed: str) -> Iterator[Item]:
    """Yield the items of a claim from their runs (see `pack_items` in `lua/lib/claims.lua`)."""
    for request_id, attempts, doubt, file_ids in json.loads(packed):
        spent, how_sure = int(attempts), Doubt(doubt)
        for file_id in file_ids:
            yield Item(request_id, file_id, spent, how_sure)


def read_enqueued(reply: Any, request_id: str, source: str) -> Enqueued:
    """Read what the operation `enqueue` answers, and warn of a request that a guard holds."""
    state, is_new, total, held = reply
    if not state:
        raise RequestVanished(request_id)
    if held:
        logger.warning("request %s of source %s is held for approval: %s", request_id, source, held)
    return Enqueued(State(state), is_new == "1", int(total), held)
