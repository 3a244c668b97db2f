"""Walks through a listing that has neither a cursor nor a total, while files come and go. Pure functions.

Pages overlap by one object, the *anchor*. Where the next page does not start with it, files before it have vanished and
others moved forward, unseen; so the walk steps back until it is sure of having missed none. What is seen twice is
counted once, by whoever collects. A short page proves nothing; the listing ends where nothing follows the anchor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from worker.errors import KitsweepError

PAGE = 1000
"""Objects in a page, the most that the vendor gives."""
MOST_REPEATS = 3


class ListingError(KitsweepError):
    """The listing makes no sense; the text says why."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the walk has come: it is kept in Redis between pages."""

    ask: int = 0
    """`skip` of the next call."""
    anchor: str = ""
    """The last object that was passed; empty at the start."""
    created: float = 0
    """When that object was created (seconds since 1970), 0 if unknown."""
    back: int = 0
    """Steps back in a row."""
    repeats: int = 0
    """Full pages in a row that brought nothing new."""

    def as_json(self) -> str:
        """Return the form in which it is kept."""
        return json.dumps([self.ask, self.anchor, self.created, self.back, self.repeats])

    @classmethod
    def from_json(cls, text: str) -> Cursor:
        """Read what `as_json` wrote."""
        return cls(*json.loads(text))


START = Cursor()
END = "end"
"""Stands in the place of a `Cursor` when the listing has been walked through."""


class Step(NamedTuple):
    """What a page brings."""

    objects: Sequence[Any]
    """Those to look at; some may have been seen before."""
    place: Cursor | None
    """Where to go on; None at the end."""


def step(place: Cursor, objects: Sequence[Any], page: int = PAGE) -> Step:
    """Return what the page at `place` brings. Raises `ListingError` for a listing that leads nowhere."""
    if not place.anchor:
        return Step(objects, _after(place, objects)) if objects else Step((), None)
    names = [identity(item) for item in objects]
    if place.anchor in names:
        found = names.index(place.anchor)
        if found + 1 < len(objects):
            return Step(objects[1:] if found == 0 else objects, _after(place, objects))
        if len(objects) < page:
            return Step(objects[:-1], None)
        return _repeated(place, objects)
    if place.ask == 0 or (objects and 0 < created_at(objects[0]) < place.created):
        return Step(objects, _after(place, objects)) if objects else Step((), None)
    ask = max(0, place.ask - (page - 1) * 2 ** min(place.back, 20))
    return Step((), Cursor(ask, place.anchor, place.created, place.back + 1, place.repeats))


def _after(place: Cursor, objects: Sequence[Any]) -> Cursor:
    last = objects[-1]
    return Cursor(max(0, place.ask + len(objects) - 1), identity(last), created_at(last))


def _repeated(place: Cursor, objects: Sequence[Any]) -> Step:
    if place.repeats >= MOST_REPEATS:
        raise ListingError("the API answers the same page again and again")
    after = _after(place, objects)
    return Step(objects, Cursor(after.ask, after.anchor, after.created, 0, place.repeats + 1))


def identity(item: Any) -> str:
    """Tell one object of a listing from another; the versions of a file share its id."""
    if not isinstance(item, Mapping):
        return repr(item)[:200]
    version = item.get("versionInfo")
    number = version.get("id") if isinstance(version, Mapping) else None
    parts = [item.get("type"), item.get("fileId") or item.get("folderId"), number]
    return " ".join(str(part)[:200] for part in parts)


def created_at(item: Any) -> float:
    """Return when an object was created, in seconds since 1970; 0 if it does not say."""
    text = item.get("createdAt") if isinstance(item, Mapping) else None
    try:
        return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else 0
    except (ValueError, OverflowError):
        return 0
