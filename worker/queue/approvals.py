"""Requests that wait for approval because a guard stopped them."""

from __future__ import annotations

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
        return [
            Held(request_id, about[0] or "", int(about[1] or 0), about[2] or "", about[3], iso(int(since)) or "")
            for (request_id, since), about in zip(members, abouts, strict=True)
        ]

    def approve(self, request_id: str, by: str | None = None) -> str:
        """Approve a request. Returns approved, rejected (already), not_held, own (`by` requested it) or unknown."""
        asked = {"request": request_id, "by": by or whoami(), "allow_own": self._allow_own}
        return str(self._queue.scripts.run("queue/approve", asked))

    def reject(self, request_id: str, by: str | None = None) -> str:
        """Reject and cancel a request. Returns rejected, not_held or unknown. Safe to repeat."""
        answer = str(self._queue.scripts.run("queue/reject", {"request": request_id, "by": by or whoami()}))
        if answer == "rejected":
            self._queue.cancel(request_id, by="")
        return answer

    def file_ids(self, request_id: str, page: int = 5000) -> list[str]:
        """Return all file ids of a waiting request."""
        redis, keys = self._queue.redis, self._queue.keys
        if in_hash := cast("str | None", redis.hget(keys.request(request_id), "ids")):
            return in_hash.split(" ")
        key, found, start = keys.request(request_id, "waiting"), [], 0
        while ids := redis.lrange(key, start, start + page - 1):
            found += [str(file_id) for file_id in ids]
            start += page
        return found
