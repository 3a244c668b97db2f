"""Pages through a listing that has neither a cursor nor a total, while files come and go. Pure functions.

Pages overlap by one object, the *anchor*. If the next page does not start with it, files before it have been deleted
and others moved forward unseen; so paging steps back until nothing can have been missed. Objects that are seen twice
are counted once by the caller. A short page proves nothing: the listing ends where nothing follows the anchor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from worker.errors import KitsweepError

PAGE = 1000
"""Objects in a page, the most that the API returns."""
MAX_REPEATS = 8
"""Consecutive pages that end with the anchor. Files that appear late cause some; an API that ignores `skip`, all."""


class ListingError(KitsweepError):
    """The listing makes no sense; the text says why."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position in a listing, stored in Redis between pages."""

    skip: int = 0
    """`skip` of the next call."""
    anchor: str = ""
    """The identity of the last object that was passed; empty at the start."""
    created: int = 0
    """When that object was created (milliseconds since 1970), 0 if unknown."""
    back: int = 0
    """Consecutive steps back."""
    repeats: int = 0
    """Consecutive full pages without a new object."""

    def as_json(self) -> str:
        """Return the form in which it is stored in Redis."""
        return json.dumps([self.skip, self.anchor, self.created, self.back, self.repeats])

    @classmethod
    def from_json(cls, text: str) -> Cursor:
        """Read what `as_json` wrote."""
        return cls(*json.loads(text))


START = Cursor()
END = "end"
"""Stored instead of a `Cursor` at the end of the listing."""


class Step(NamedTuple):
    """The result of one page."""

    objects: Sequence[Any]
    """Objects to check; some may have been seen before."""
    cursor: Cursor | None
    """Where to continue; None at the end."""


def step(cursor: Cursor, objects: Sequence[Any], page: int = PAGE) -> Step:
    """Return the result of the page at `cursor`. Raises `ListingError` if the API keeps returning the same page."""
    if not cursor.anchor:
        return Step(objects, _after(cursor, objects)) if objects else Step((), None)
    names = [identity(item) for item in objects]
    if cursor.anchor in names:
        found = names.index(cursor.anchor)
        if found + 1 < len(objects):
            return Step(objects[1:] if found == 0 else objects, _after(cursor, objects))
        if len(objects) < page:
            return Step(objects[:-1], None)
        return _repeated(cursor, objects)
    if cursor.skip == 0 or (objects and 0 < created_ms(objects[0]) < cursor.created):
        return Step(objects, _after(cursor, objects)) if objects else Step((), None)
    skip = max(0, cursor.skip - (page - 1) * 2 ** min(cursor.back, 20))
    return Step((), replace(cursor, skip=skip, back=cursor.back + 1))


def _after(cursor: Cursor, objects: Sequence[Any]) -> Cursor:
    last = objects[-1]
    return Cursor(max(0, cursor.skip + len(objects) - 1), identity(last), created_ms(last))


def _repeated(cursor: Cursor, objects: Sequence[Any]) -> Step:
    if cursor.repeats >= MAX_REPEATS:
        raise ListingError("the API returns the same page again and again")
    return Step(objects, replace(_after(cursor, objects), repeats=cursor.repeats + 1))


def identity(item: Any) -> str:
    """Return the identity of an object in a listing. An id is not enough: the versions of a file share it."""
    if not isinstance(item, Mapping):
        return repr(item)[:200]
    version = item.get("versionInfo")
    number = version.get("id") if isinstance(version, Mapping) else None
    parts = [item.get("type"), item.get("fileId") or item.get("folderId"), number]
    return " ".join(str(part)[:200] for part in parts)


def created_ms(item: Any) -> int:
    """Return when an object was created, in milliseconds since 1970; 0 if unknown."""
    text = item.get("createdAt") if isinstance(item, Mapping) else None
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000) if moment else 0
    except (OverflowError, ValueError):
        return 0
