"""Reads the failed files of requests that have ended, the newest request first: the dead letters.

The stream `unsuccessful` has the requests, and the list `request:failed:<id>` of each has its files, in groups that
failed together. The hash `request:retried:<id>` has the files that were retried since.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import NamedTuple, cast

from redis import Redis
from typing_extensions import TypedDict

from worker.errors import InvalidRequest
from worker.reports.mentions import mentions
from worker.reports.published import Group
from worker.reports.reader import pages_of, read_group
from worker.states import FINAL_STATES, Outcome
from worker.store.keys import Keys
from worker.times import iso, milliseconds

MOST_GROUPS = 1000
"""Errors that a summary tells apart; further ones are counted together."""
OTHER_ERRORS = "(other errors)"
_STREAM = "unsuccessful"
_FIRST_GROUPS = 10
_SLACK_MS = 1000
"""By how much two times of one script may differ."""
_FIELDS = ("state", "source", "reason", "finished_at", "purge", Outcome.FAILED)
_CURSOR = re.compile(r"(|\d{1,15}-\d{1,15})\.(\d{1,9})\.(\d{1,9})")


@dataclass(frozen=True)
class FailureFilter:
    """Which failed files; what is None or empty excludes none."""

    error: str | None = None
    """Part of the error; case does not matter."""
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """When it failed: at `since` or later, and before `until`."""
    request_id: str | None = None
    file_ids: frozenset[str] = frozenset()
    retried: bool = False
    """Whether to include files that were retried already."""

    def has(self, group: Group) -> bool:
        """Whether files that failed together are wanted."""
        at = group.at_ms
        return (
            (not self.error or self.error.casefold() in group.error.casefold())
            and (self.since is None or milliseconds(self.since) <= at)
            and (self.until is None or at < milliseconds(self.until))
        )


class Failure(TypedDict):
    """A file that could not be deleted."""

    file_id: str
    error: str
    source: str
    request_id: str
    attempts: int
    """API calls that counted as attempts."""
    at: str
    """When it failed, ISO 8601 in UTC."""
    retried_by: str | None
    """The request that repeats it; null if it was not retried."""


class FailureGroup(TypedDict):
    """Failed files of one source with the same error."""

    error: str
    source: str
    files: int
    first_at: str
    last_at: str
    """When the first and the last of them failed, ISO 8601 in UTC."""


class FailurePage(NamedTuple):
    """A page of failed files, the newest request first."""

    failures: list[Failure]
    after: str | None
    """From where the next page goes on; None after the last one."""


class Failing(NamedTuple):
    """A request that has ended with failed files."""

    request_id: str
    source: str
    reason: str | None
    purge: str | None
    """Whether it asked for purge, as a retry of it does."""
    failed: int
    """Number of all its failed files."""
    was_retried: bool
    entry_id: str
    first: list[Group]
    """The first groups of failed files."""


class Failed(NamedTuple):
    """Files of one request that failed together, with their position in the group and the request that retried them."""

    group_index: int
    group: Group
    files: list[tuple[int, str, str | None]]


class FailureReader:
    """The failed files of one account."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    def requests(self, wanted: FailureFilter, entry_id: str = "") -> Iterator[list[Failing]]:
        """Yield the requests that may have wanted files, in pages, from an entry of the stream on."""
        if wanted.request_id is not None:
            yield self._failing([(wanted.request_id, "")], wanted)
            return
        since_ms = milliseconds(wanted.since) if wanted.since else 0
        after = f"{_STREAM}.{entry_id}.1" if entry_id else None
        for page, _ in mentions(self._redis, self._keys, _STREAM, after, since_ms):
            yield self._failing([(each.request_id, each.entry_id) for each in page], wanted)

    def files_of(self, request: Failing, wanted: FailureFilter, first: int = 0) -> Iterator[Failed]:
        """Yield the wanted files of a request, from a group on, in constant memory."""
        for index, group in enumerate(self._groups_of(request)):
            if index >= first and wanted.has(group) and (files := self._wanted_in(request, group, wanted)):
                yield Failed(index, group, files)

    def page(self, wanted: FailureFilter, most: int, after: str | None = None) -> FailurePage:
        """Return up to `most` failed files. Raises `InvalidRequest` if `after` is not what an earlier page returned."""
        entry_id, index, offset = _read_cursor(after)
        found: list[Failure] = []
        for request in chain.from_iterable(self.requests(wanted, entry_id)):
            is_same = request.entry_id == entry_id
            for failed in self.files_of(request, wanted, index if is_same else 0):
                for position, file_id, retried_by in failed.files:
                    if is_same and (failed.group_index, position) < (index, offset):
                        continue
                    if len(found) == most:
                        return FailurePage(found, f"{request.entry_id}.{failed.group_index}.{position}")
                    found.append(_failure(request, failed.group, file_id, retried_by))
        return FailurePage(found, None)

    def _failing(self, named: Sequence[tuple[str, str]], wanted: FailureFilter) -> list[Failing]:
        with self._redis.pipeline(transaction=False) as pipe:
            for request_id, _ in named:
                pipe.hmget(self._keys.request(request_id), _FIELDS)
                pipe.exists(self._keys.request(request_id, "retried"))
                pipe.lrange(self._keys.request(request_id, Outcome.FAILED), 0, _FIRST_GROUPS - 1)
            replies = iter(pipe.execute())
        found = []
        for (request_id, entry_id), about, retried, first in zip(named, replies, replies, replies, strict=True):
            state, source, reason, finished_at, purge, failed = about
            is_right = wanted.source is None or source == wanted.source
            if state in FINAL_STATES and failed and is_right and not _is_earlier(entry_id, finished_at):
                groups = [read_group(text) for text in first]
                found.append(Failing(request_id, source, reason, purge, int(failed), bool(retried), entry_id, groups))
        return found

    def _groups_of(self, request: Failing) -> Iterator[Group]:
        yield from request.first
        if len(request.first) == _FIRST_GROUPS:
            key = self._keys.request(request.request_id, Outcome.FAILED)
            yield from map(read_group, pages_of(self._redis, key, 50, start=_FIRST_GROUPS))

    def _wanted_in(self, request: Failing, group: Group, wanted: FailureFilter) -> list[tuple[int, str, str | None]]:
        by: list[str | None] = [None] * len(group.file_ids)
        if request.was_retried:
            by = cast(
                "list[str | None]", self._redis.hmget(self._keys.request(request.request_id, "retried"), group.file_ids)
            )
        return [
            (position, file_id, retried_by)
            for position, (file_id, retried_by) in enumerate(zip(group.file_ids, by, strict=True))
            if (wanted.retried or retried_by is None) and (not wanted.file_ids or file_id in wanted.file_ids)
        ]


class Summary:
    """Counts failed files by error and source, in bounded memory."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], tuple[int, int, int]] = {}
        self.files = 0

    def add(self, request: Failing, failed: Failed) -> None:
        """Count files that failed together."""
        self.files += len(failed.files)
        name = failed.group.error, request.source
        if name not in self._groups and len(self._groups) >= MOST_GROUPS:
            name = OTHER_ERRORS, ""
        at = failed.group.at_ms
        files, first, last = self._groups.get(name, (0, at, at))
        self._groups[name] = files + len(failed.files), min(first, at), max(last, at)

    def groups(self) -> list[FailureGroup]:
        """Return the groups, the largest first."""
        found = [
            FailureGroup(error=error, source=source, files=files, first_at=iso(first) or "", last_at=iso(last) or "")
            for (error, source), (files, first, last) in self._groups.items()
        ]
        return sorted(found, key=lambda group: (-group["files"], group["source"], group["error"]))


def _failure(request: Failing, group: Group, file_id: str, retried_by: str | None) -> Failure:
    return Failure(
        file_id=file_id,
        error=group.error,
        source=request.source,
        request_id=request.request_id,
        attempts=group.attempts,
        at=iso(group.at_ms) or "",
        retried_by=retried_by,
    )


def _is_earlier(entry_id: str, finished_at: str | None) -> bool:
    """Whether an entry is of an earlier request with the same id, which has expired."""
    return bool(entry_id) and int(entry_id.partition("-")[0]) + _SLACK_MS < int(finished_at or 0)


def _read_cursor(after: str | None) -> tuple[str, int, int]:
    """Return entry, group and position from where a page goes on."""
    if after is None:
        return "", 0, 0
    cursor = _CURSOR.fullmatch(after)
    if cursor is None:
        raise InvalidRequest("after", None, "is not the cursor of a page of this list; start without it")
    return cursor[1], int(cursor[2]), int(cursor[3])
