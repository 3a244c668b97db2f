"""Requests that wait for approval because a guard stopped them."""

from __future__ import annotations

from statistics import median
from typing import NamedTuple, cast

from worker.identity import whoami
from worker.queue.operations import Queue
from worker.times import iso

_MOST = 10_000


class Held(NamedTuple):
    """A request that waits for approval."""

    request_id: str
    source: str
    total: int
    why: str
    reason: str | None
    since: str
    """ISO 8601 in UTC."""
    usual: float | None = None
    """Median size of the last accepted requests of its source; None if none is known."""


class Approvals:
    """The requests of one account that wait for approval. `allow_own`: the requester may approve too."""

    def __init__(self, queue: Queue, *, allow_own: bool = False) -> None:
        self._queue = queue
        self._allow_own = allow_own

    def waiting(self) -> list[Held]:
        """Return the requests that wait for approval, oldest first."""
        redis, keys = self._queue.redis, self._queue.keys
        found = redis.zrange(keys("approvals"), 0, _MOST - 1, withscores=True)
        members = cast("list[tuple[str, float]]", found)
        with redis.pipeline(transaction=False) as pipe:
            for request_id, _ in members:
                pipe.hmget(keys.request(request_id), ["source", "total", "approval", "reason"])
            abouts = pipe.execute()
        usual = self._usual({about[0] or "" for about in abouts})
        return [
            Held(name, source or "", int(total or 0), why or "", reason, iso(int(since)) or "", usual[source or ""])
            for (name, since), (source, total, why, reason) in zip(members, abouts, strict=True)
        ]

    def _usual(self, sources: set[str]) -> dict[str, float | None]:
        """Return the median size of the last accepted requests of each source."""
        names = sorted(sources)
        with self._queue.redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.lrange(self._queue.keys.sizes(name), 0, -1)
            sizes = pipe.execute()
        return {name: median(map(int, of)) if of else None for name, of in zip(names, sizes, strict=True)}

    def approve(self, request_id: str, by: str | None = None, reason: str | None = None) -> str:
        """Approve a request. Returns approved, rejected (already), not_held, own (`by` requested it) or unknown."""
        asked = {"request": request_id, "by": by or whoami(), "allow_own": self._allow_own, "reason": reason}
        return str(self._queue.scripts.run("queue/approve", asked))

    def reject(self, request_id: str, by: str | None = None, reason: str | None = None) -> str:
        """Reject and cancel a request. Returns rejected, not_held or unknown. Safe to repeat."""
        asked = {"request": request_id, "by": by or whoami(), "reason": reason}
        answer = str(self._queue.scripts.run("queue/reject", asked))
        if answer == "rejected":
            self._queue.cancel(request_id, by="")
        return answer

    def file_ids(self, request_id: str, most: int | None = None, page: int = 5000) -> list[str]:
        """Return the file ids of a waiting request, all or the first of them."""
        redis, keys = self._queue.redis, self._queue.keys
        if in_hash := cast("str | None", redis.hget(keys.request(request_id), "ids")):
            return in_hash.split(" ")[:most]
        key, found, start = keys.request(request_id, "waiting"), [], 0
        while (most is None or start < most) and (ids := redis.lrange(key, start, start + page - 1)):
            found += [str(file_id) for file_id in ids]
            start += page
        return found[:most]
