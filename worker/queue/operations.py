"""The queue: file ids of all requests, from their acceptance to their outcome. All of it is in Redis.

Each method is one Lua operation of the same name, atomic and idempotent. The map of keys is in `worker.store.keys`.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from redis import Redis
from redis.client import Pipeline

from config.settings import Settings
from worker.errors import RequestVanished
from worker.identity import whoami
from worker.queue.claims import Claim, Item, Settlements
from worker.states import Doubt, State
from worker.store.keys import Keys
from worker.store.scripts import Scripts

logger = logging.getLogger(__name__)

CHUNK_IDS = 5000
"""File ids that one call of an operation carries at most; a longer request is streamed in such chunks."""

OUTBOX_PATIENCE_MS = 10_000
"""How long a finished request waits for whoever settled its last item before anybody may publish it."""
LEFT_TO_ALL_MS = 0
"""The same where whoever finishes it does not publish it: the next worker that looks does."""


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
    soonest_ms: int | None
    """Until the next retry, hold or group is due."""


class Settled(NamedTuple):
    """What `Queue.settle` did."""

    items: int
    """Items that were recorded or put back."""
    finished: list[str]
    """Ids of the requests that are final now, to be published."""


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

    def enqueue(
        self,
        request_id: str,
        file_ids: Iterable[str],
        *,
        source: str,
        reason: str | None = None,
        hold_seconds: float = 0,
        canvas: dict[str, Any] | None = None,
        origin: str | None = None,
    ) -> Enqueued:
        """Accept a request whole, or change nothing when its id was accepted before.

        `file_ids` may be a stream of any length. It is sent in chunks, and nothing is deleted before the last is in.
        Duplicates count once. The same request may be sent again at any time, also by two callers at once: the first
        to send its last chunk makes the request, of what it sent itself.
        """
        stream, token = iter(file_ids), uuid.uuid4().hex
        chunk = list(islice(stream, CHUNK_IDS))
        first = True
        while True:
            following = list(islice(stream, CHUNK_IDS))
            reply = self.add_chunk(
                request_id,
                chunk,
                source=source,
                reason=reason,
                hold_seconds=hold_seconds,
                canvas=canvas,
                origin=origin,
                is_first=first,
                is_last=not following,
                stream=token,
            )
            if not following or reply.state is not State.OPEN:
                return reply
            chunk, first = following, False

    def add_chunk(  # noqa: PLR0913 - what a request has
        self,
        request_id: str,
        file_ids: Sequence[str],
        *,
        source: str,
        reason: str | None = None,
        hold_seconds: float = 0,
        canvas: dict[str, Any] | None = None,
        origin: str | None = None,
        is_first: bool = True,
        is_last: bool = True,
        stream: str = "",
        early_result: tuple[str, str] | None = None,
        pipe: Pipeline | None = None,
    ) -> Enqueued:
        """Add one chunk of a request, at most `CHUNK_IDS` ids; the last one seals it. In a pipe, ignore the answer.

        Chunks with the same `stream`, a token, belong together.

        `early_result`, a key and a value, is written in the same step if the call seals the request. `origin`
        says who asks, user or program and host; by default whoever runs this process.

        Raises `RequestVanished` where what came before is gone.
        """
        whole = is_first and is_last
        ids = dict.fromkeys(file_ids)
        reply = self.scripts.run(
            "queue/enqueue",
            request_id,
            source,
            reason or "",
            int(hold_seconds * 1000),
            int(is_last),
            "whole" if whole else "first" if is_first else "later",
            self._unsealed_ttl_ms,
            json.dumps(canvas) if canvas else "",
            early_result[1] if early_result else "",
            whoami() if origin is None else origin,
            self.guard_of(source),
            stream,
            *ids,
            pipe=pipe,
            keys=[early_result[0]] if early_result else [],
        )
        if pipe is not None:
            return Enqueued(State.OPEN, is_new=False, total=0)
        return read_enqueued(reply, request_id, source)

    def claim(self, token: str, fewest: int = 1) -> Claim | None:
        """Take up to a batch of items in equal shares of all sources, or a group that is due; None: nothing to do.

        `fewest` is the number of claimable ids below which it is not worth a call yet.
        """
        reply = self.scripts.run(
            "queue/claim",
            token,
            self._batch_size,
            self._lease_ms,
            fewest,
            self._result_ttl_ms,
            LEFT_TO_ALL_MS,
            self._remember_ms,
        )
        if not reply:
            return None
        fails, failed_ago, suspect, packed = reply
        items = list(_unpacked(packed))
        return Claim(token, items, int(fails), None if int(failed_ago) < 0 else int(failed_ago), suspect == "1")

    def settle(self, token: str, settlements: Settlements) -> Settled:
        """Record how the items that the token still holds ended, and put back the others, in one step."""
        items, *finished = self.scripts.run(
            "queue/settle", token, settlements.as_json(), self._result_ttl_ms, OUTBOX_PATIENCE_MS, self._remember_ms
        )
        return Settled(int(items), finished)

    def renew(self, tokens: Sequence[str]) -> int:
        """Prolong leases; returns how many are still held."""
        return int(self.scripts.run("queue/renew", self._lease_ms, *tokens))

    def cancel(self, request_id: str, by: str | None = None) -> tuple[State, int] | None:
        """Cancel what waits; returns the request's state and the number of items cancelled, None if it is unknown.

        `by` goes to the audit trail; by default whoever runs this process, and nobody when empty.
        """
        who = whoami() if by is None else by
        reply = self.scripts.run("queue/cancel", request_id, self._result_ttl_ms, LEFT_TO_ALL_MS, who)
        return (State(reply[0]), int(reply[1])) if reply else None

    def guard_of(self, source: str) -> str:
        """Return the bounds of a source's guard as the operations take them; empty: none."""
        return self._guards.bounds_of(source)

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
        claimable, groups, soonest = self.scripts.run("queue/peek", enough)
        return Work(int(claimable), int(groups), None if int(soonest) < 0 else int(soonest))


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
