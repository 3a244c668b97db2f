"""The purges of one account in Redis. Methods run the Lua operation of the same name, atomic and idempotent."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, cast

from config.settings import Settings
from worker.purge.planner import Purge, PurgeFile
from worker.purge.sending import Taken, Then
from worker.purge.wildcards import folder_of
from worker.queue.operations import OUTBOX_DELAY_MS, Queue
from worker.states import Outcome, PurgeState
from worker.times import month_of

LEASE_SPARE_SECONDS = 10.0
LOCK_MS = 60_000
AT_ONCE = 1000
"""Files in one step."""
MOST_WAITING = 50_000
"""Files that are planned together."""
GATHER_MS = 60_000
"""How long the files of a request wait for its others before they are planned."""
LOOKUP_IDS = 100


class Due(NamedTuple):
    """What there is to do now."""

    lookup: bool
    call: bool
    plan: bool


class Lookup(NamedTuple):
    """Ids of one request whose URLs are looked up."""

    request_id: str
    first: int
    """Position of the first id."""
    after: int
    """Position after the last id; -1 at the end of the request."""
    failures: int
    file_ids: list[str]


class Quota(NamedTuple):
    """Purge calls of a calendar month (UTC)."""

    month: str
    used: int
    limit: int


class Waiting(NamedTuple):
    """Files that can be planned, in the order of their rank."""

    files: list[PurgeFile]
    allowed: set[str]
    """URLs of folders that requests allow to be purged as a whole."""


class Purges:
    """The purges of one account."""

    def __init__(self, queue: Queue, settings: Settings) -> None:
        self.queue = queue
        self._redis, self._keys, self._scripts = queue.redis, queue.keys, queue.scripts
        seconds = settings.http_timeout_seconds + settings.http_connect_timeout_seconds + LEASE_SPARE_SECONDS
        self._lease_ms = int(seconds * 1000)
        self._quota = settings.purge_quota
        self.skips = settings.purge_over_quota == "skip"
        self._window_ms = int(settings.purge_window_seconds * 1000)
        self._keep_ms = settings.result_ttl_seconds * 1000

    def quota(self) -> Quota:
        """Return the purge calls of this month."""
        month = month_of(self.queue.now_ms())
        used = cast("str | None", self._redis.hget(self._keys("purges:quota"), month))
        return Quota(month, int(used or 0), self._quota)

    def look(self) -> Due:
        """Return what there is to do now."""
        args = {**self._month(), "skips": self.skips, "window_ms": self._window_ms}
        return Due(*(flag == 1 for flag in self._scripts.run("purge/look", args)))

    # Planning

    def lock(self) -> str | None:
        """Become the one worker that plans; return the token, None if another one plans."""
        token = uuid.uuid4().hex
        return token if self._scripts.run("purge/lock", {"token": token, "lock_ms": LOCK_MS}) == 1 else None

    def unlock(self, token: str, *, rest: bool) -> None:
        """Let another worker plan; with `rest`, only after the window in which files wait for others."""
        self._scripts.run("purge/unlock", {"token": token, "rest": rest})

    def waiting(self) -> Waiting:
        """Read the files that wait for a purge, except those whose request may soon have more."""
        now, found = self.queue.now_ms(), Waiting([], set())
        for start in range(0, MOST_WAITING, AT_ONCE):
            entries = cast("list[str]", self._redis.zrange(self._keys("purges:waiting"), start, start + AT_ONCE - 1))
            self._read(entries, now, found)
            if len(entries) < AT_ONCE:
                break
        return found

    def _read(self, entries: Sequence[str], now: int, found: Waiting) -> None:
        pairs = [entry.split(" ") for entry in entries]
        requests = list(dict.fromkeys(request for _, request in pairs))
        fields = ["purge", "purge_at", "total", *Outcome]
        with self._redis.pipeline(transaction=False) as pipe:
            for request in requests:
                pipe.hmget(self._keys.request(request), fields)
            for file_id, request in pairs:
                pipe.hget(self._keys.request(request, "purge"), file_id)
            replies = pipe.execute()
        about = dict(zip(requests, replies, strict=False))
        for entry, (_, request), url in zip(entries, pairs, replies[len(requests) :], strict=True):
            purge, since, total, *ended = about[request]
            is_whole = int(total or 0) <= sum(int(count or 0) for count in ended)
            if url and (is_whole or now - int(since or 0) >= GATHER_MS):
                found.files.append(PurgeFile(url, entry))
                if purge == "folder":
                    found.allowed.add(folder_of(url))

    def refused(self) -> set[str]:
        """Return the wildcards that the API has refused."""
        return cast("set[str]", self._redis.smembers(self._keys("purges:refused")))

    def plan(self, lock: str, purge: Purge, state: PurgeState = PurgeState.READY, error: str = "") -> str:
        """Make a purge of waiting files. Returns ok, no_quota, or lost (another worker plans)."""
        # Purges that are planned in the same millisecond are sent in the order of their ids.
        purge_id, reply = f"{time.time_ns():x}-{uuid.uuid4().hex[:8]}", "ok"
        for start in range(0, len(purge.entries), AT_ONCE):
            some = purge.entries[start : start + AT_ONCE]
            args = {
                "token": lock,
                "lock_ms": LOCK_MS,
                "purge": purge_id,
                "url": purge.url,
                "state": state,
                "error": error,
                "files": some,
                "is_last": start + len(some) == len(purge.entries),
                **self._month(),
            }
            reply = str(self._scripts.run("purge/plan", args))
            if reply != "ok":
                break
        return reply

    # Calling

    def take(self) -> Taken | None:
        """Take the purge whose next call is due first, under a lease; None if none is due."""
        token = uuid.uuid4().hex
        reply = self._scripts.run("purge/take", {"token": token, "lease_ms": self._lease_ms, **self._month()})
        if not reply:
            return None
        purge_id, url, state, sent_as, attempts, polls, sent_ago, may_call, error = reply
        return Taken(
            purge_id, token, url, PurgeState(state), sent_as, attempts, polls, int(sent_ago), may_call == "1", error
        )

    def record(self, purge: Taken, then: Then) -> None:
        """Record what came of a call, if this worker still has the purge."""
        self._scripts.run("purge/record", {"purge": purge.purge_id, "token": purge.token, **then._asdict()})

    def end(self, purge: Taken, state: PurgeState, error: str = "") -> Iterator[list[str]]:
        """End a purge; yield the requests that are final with it, in steps of at most `AT_ONCE` files."""
        args = {
            "purge": purge.purge_id,
            "token": purge.token,
            "state": state,
            "error": error,
            "most": AT_ONCE,
            "lease_ms": self._lease_ms,
            "keep_ms": self._keep_ms,
            "result_ttl_ms": self._keep_ms,
            "outbox_delay_ms": OUTBOX_DELAY_MS,
        }
        are_left = True
        while are_left:
            are_left, *final = self._scripts.run("purge/end", args)
            yield final

    # Looking up

    def learn_endpoints(self, endpoints: Iterable[str]) -> None:
        """Remember URL endpoints of the account, seen in a listing."""
        if new := set(endpoints):
            self._redis.sadd(self._keys("purges:endpoints"), *new)

    def endpoints(self) -> set[str]:
        """Return the URL endpoints of the account that are known."""
        return cast("set[str]", self._redis.smembers(self._keys("purges:endpoints")))

    def take_lookups(self) -> list[Lookup]:
        """Take up to 100 ids whose URLs are to be looked up, under a lease."""
        args = {"most": LOOKUP_IDS, "scan": AT_ONCE, "lease_ms": self._lease_ms}
        return [Lookup(*each) for each in self._scripts.run("purge/take_lookups", args)]

    def look_up(self, lookups: Iterable[Lookup], urls: dict[str, str]) -> None:
        """Store the URLs that were found, and let requests into line whose last ids were looked up."""
        done = [
            {
                "request": each.request_id,
                "first": each.first,
                "after": each.after,
                "urls": {file_id: urls[file_id] for file_id in each.file_ids if file_id in urls},
            }
            for each in lookups
        ]
        self._scripts.run("purge/look_up", {"lookups": done})

    def postpone_lookups(self, lookups: Iterable[Lookup], delay_ms: int, *, failed: bool) -> None:
        """Look URLs up again later."""
        requests = [each.request_id for each in lookups]
        self._scripts.run("purge/postpone_lookups", {"requests": requests, "delay_ms": delay_ms, "failed": failed})

    def _month(self) -> dict[str, str | int]:
        return {"month": month_of(self.queue.now_ms()), "quota": self._quota}
