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
"""Entries that are read in one round trip."""
_CURSOR = re.compile(r"(audit|unfinished|unsuccessful)\.(\d{1,15})-(\d{1,15})")
_CURSOR_RULE = "is not the cursor of a page of this list; start without it"
_ACCEPTED = frozenset({"accepted", "held"})
_UNFINISHED = frozenset({State.QUEUED, State.PROGRESS})
_UNSUCCESSFUL = frozenset({State.FAILURE, State.REVOKED})


class Place(NamedTuple):
    """Where a stream names a request."""

    stream: str
    entry_id: str
    request_id: str
    known: dict[str, str]
    """What the entry says of it: source and reason; empty where it does not say."""

    @property
    def cursor(self) -> str:
        """The place as a text, from which `places` goes on."""
        return f"{self.stream}.{self.entry_id}"


def stream_of(states: frozenset[State]) -> str:
    """Return the shortest stream that has all requests in these states; no states are all."""
    if states and states <= _UNFINISHED:
        return "unfinished"
    return "unsuccessful" if states and states <= _UNSUCCESSFUL else "audit"


def places(
    redis: Redis, keys: Keys, stream: str, after: str | None, since_ms: int = 0
) -> Iterator[tuple[list[Place], str]]:
    """Yield all places in pages, the newest first, from behind the cursor `after` on; with each, where it ends.

    A page of the audit trail may have no places. `since_ms` is where it ends; the other streams are read to their end.
    Raises `InvalidRequest` if `after` is no cursor.
    """
    end, start = _end(stream, after), f"{since_ms}-0" if stream == "audit" else "-"
    while page := cast("list[tuple[str, dict[str, str]]]", redis.xrevrange(keys(stream), end, start, count=AT_ONCE)):
        last = page[-1][0]
        yield [_place(stream, entry_id, fields) for entry_id, fields in page if _is_request(fields)], f"{stream}.{last}"
        end = f"({last}"


def _end(stream: str, after: str | None) -> str:
    if after is None:
        return "+"
    cursor = _CURSOR.fullmatch(after)
    if cursor is None or cursor[1] != stream:
        raise InvalidRequest("after", None, _CURSOR_RULE)
    return f"({cursor[2]}-{cursor[3]}"


def _is_request(fields: dict[str, str]) -> bool:
    return fields.get("event", "accepted") in _ACCEPTED


def _place(stream: str, entry_id: str, fields: dict[str, str]) -> Place:
    known = {"source": fields["source"], **json.loads(fields["detail"])} if "detail" in fields else {}
    return Place(stream, entry_id, fields["request"], known)
