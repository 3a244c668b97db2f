"""The streams that tell which requests there are, read from their newest entry to their oldest.

No index is kept for this alone but two that are short: the audit trail has every request, `unfinished` those that are
not final, and `unsuccessful` those that failed or were cancelled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple, cast

from redis import Redis

from worker.errors import InvalidRequest
from worker.states import State
from worker.store.keys import Keys

AT_ONCE = 200
"""Entries that are read in one round trip, and mentions in a page."""
_CURSOR = re.compile(r"(audit|unfinished|unsuccessful)\.(\d{1,15}-\d{1,15})\.(\d{1,9})")
_ACCEPTED = frozenset({"accepted", "held"})
_UNFINISHED = frozenset({State.QUEUED, State.PROGRESS})
_UNSUCCESSFUL = frozenset({State.FAILURE, State.REVOKED})
_Page = list[tuple[str, dict[str, str]]]


class Mention(NamedTuple):
    """Where a stream names a request, among others that share the entry."""

    stream: str
    entry_id: str
    number: int
    request_id: str
    known: dict[str, str]
    """What the entry says of it: source and reason; empty if it does not say."""

    @property
    def cursor(self) -> str:
        """The mention as a text, after which `mentions` goes on."""
        return f"{self.stream}.{self.entry_id}.{self.number}"


def stream_of(states: frozenset[State]) -> str:
    """Return the shortest stream that has all requests in these states; no states are all."""
    if states and states <= _UNFINISHED:
        return "unfinished"
    return "unsuccessful" if states and states <= _UNSUCCESSFUL else "audit"


def mentions(
    redis: Redis, keys: Keys, stream: str, after: str | None, since_ms: int = 0
) -> Iterator[tuple[list[Mention], str]]:
    """Yield all mentions in pages, the newest first, after the cursor `after`; with each page, the cursor of its end.

    A page of the audit trail may have no mentions. Mentions before `since_ms` are left out, but for `unfinished`, which
    has no times.
    Raises `InvalidRequest` if `after` is no cursor.
    """
    before, number = _read(stream, after)
    end = (before if number else f"({before}") if before else "+"
    start = "-" if stream == "unfinished" else f"{since_ms}-0"
    while page := cast("_Page", redis.xrevrange(keys(stream), end, start, count=AT_ONCE)):
        found = [mention for entry_id, fields in page for mention in _mentions(stream, entry_id, fields)]
        left = [mention for mention in found if mention.entry_id != before or mention.number < number]
        last = page[-1][0]
        while len(left) > AT_ONCE:
            some, left = left[:AT_ONCE], left[AT_ONCE:]
            yield some, some[-1].cursor
        yield left, f"{stream}.{last}.0"
        end = f"({last}"


def _read(stream: str, after: str | None) -> tuple[str, int]:
    """Return the entry of a cursor, and the number in it."""
    if after is None:
        return "", 0
    cursor = _CURSOR.fullmatch(after)
    if cursor is None or cursor[1] != stream:
        raise InvalidRequest("after", None, "is not the cursor of a page of this list; start without it")
    return cursor[2], int(cursor[3])


def _mentions(stream: str, entry_id: str, fields: dict[str, str]) -> Iterator[Mention]:
    """Yield the requests that share an entry, the last one first."""
    if fields.get("event", "accepted") not in _ACCEPTED:
        return
    known = {"source": fields["source"], **json.loads(fields["detail"])} if "detail" in fields else {}
    request_ids = fields["request"].split(" ")
    for number in reversed(range(len(request_ids))):
        yield Mention(stream, entry_id, number, request_ids[number], known)
