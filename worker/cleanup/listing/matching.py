"""Checks each object that the API returned against the rule's words again: a search index may lie or lag.

What cannot be read is kept. Facts of the objects are from GET /v1/files (IMAGEKIT_API).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from worker.cleanup.rules.rule import Conditions, Keep, Rule
from worker.queue.validation import check_file_id
from worker.times import write_duration


class Match(NamedTuple):
    """A file that the rule means."""

    file_id: str
    size: int
    """Bytes; 0 where the API does not say."""
    created_ms: int
    """0 where the API does not say."""
    path: str
    why: str


class Excluded(NamedTuple):
    """An object that stays, and why."""

    why: str


class _StaysError(Exception):
    """Carries why an object stays."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """Judges objects for one run; `now_ms` is when the run started, so that all its pages mean the same."""

    rule: Rule
    now_ms: int

    def look(self, item: object) -> Match | Excluded:
        """Return whether the rule means this object of a list answer."""
        try:
            return self._meant(item)
        except _StaysError as stays:
            return Excluded(str(stays))

    def _meant(self, item: object) -> Match:
        about = _file(item)
        file_id, path = _id(about), _path(about)
        created = _created(about)
        own, added = _tags(about)
        reasons = [
            *_check_place(self.rule, path),
            *_check_age(self.rule, created, self.now_ms),
            *_check_tags(self.rule, own),
            *_check_type(self.rule, about),
        ]
        _check_keep(self.rule.keep, path, own | added)
        if self.rule.query:
            reasons.append("found by the query")
        return Match(file_id, _size(about), created or 0, path, ", ".join(reasons))


def _file(item: object) -> Mapping[str, Any]:
    if not isinstance(item, Mapping):
        raise _StaysError("not an object")
    if item.get("type") != "file" or "folderId" in item:
        raise _StaysError("not a file but a folder, a version, or of unknown type")
    return item


def _id(about: Mapping[str, Any]) -> str:
    try:
        return check_file_id(about.get("fileId"))
    except ValueError:
        raise _StaysError("its file id cannot be read") from None


def _path(about: Mapping[str, Any]) -> str:
    path = about.get("filePath")
    if not isinstance(path, str) or not path.startswith("/") or len(path) < 2 or path.endswith("/"):
        raise _StaysError("its path cannot be read")
    if "/../" in path or "/./" in path or "//" in path:
        raise _StaysError("its path cannot be read")
    return path


def _created(about: Mapping[str, Any]) -> int | None:
    text = about.get("createdAt")
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return round(moment.timestamp() * 1000)
    except (OverflowError, ValueError):
        return None


def _tags(about: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the file's own tags, and those that an AI added."""
    own = _texts(about.get("tags"))
    added = about.get("AITags")
    if added is not None and not isinstance(added, list):
        raise _StaysError("its tags cannot be read")
    names = [entry.get("name") if isinstance(entry, Mapping) else entry for entry in added or ()]
    return own, _texts(names)


def _texts(values: object) -> frozenset[str]:
    if values is None:
        return frozenset()
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _StaysError("its tags cannot be read")
    return frozenset(values)


def _size(about: Mapping[str, Any]) -> int:
    size = about.get("size")
    usable = isinstance(size, int | float) and not isinstance(size, bool) and 0 <= size < 1 << 50
    return int(size) if usable and size is not None else 0


def _check_place(conditions: Conditions, path: str) -> list[str]:
    if conditions.path is None:
        return []
    folder = path.rpartition("/")[0] + "/"
    if folder != conditions.path and not (conditions.recursive and folder.startswith(conditions.path)):
        raise _StaysError("in another folder")
    return [f"in {conditions.path}"]


def _check_age(conditions: Conditions, created: int | None, now_ms: int) -> list[str]:
    if conditions.older_than is None:
        return []
    if created is None:
        raise _StaysError("its age cannot be read")
    if not created < now_ms - conditions.older_than * 1000:
        raise _StaysError("not old enough")
    return [f"older than {write_duration(conditions.older_than)}"]


def _check_tags(conditions: Conditions, own: frozenset[str]) -> list[str]:
    if not conditions.tags:
        return []
    found = [tag for tag in conditions.tags if tag in own]
    if not found:
        raise _StaysError("without the tag")
    return [f"tagged {found[0]}"]


def _check_type(conditions: Conditions, about: Mapping[str, Any]) -> list[str]:
    if conditions.file_type is None:
        return []
    if about.get("fileType") != conditions.file_type:
        raise _StaysError("of another file type")
    return [f"of type {conditions.file_type}"]


def _check_keep(keep: Keep, path: str, tags: frozenset[str]) -> None:
    folded = {fold(tag) for tag in tags}
    if any(fold(tag) in folded for tag in keep.tags):
        raise _StaysError("kept by its tag")
    place = fold(path)
    if any(lies_in(place, fold(kept)) for kept in keep.paths):
        raise _StaysError("kept by its path")


def lies_in(path: str, kept: str) -> bool:
    """Whether a path is a kept file or folder itself, or lies below it."""
    return path == kept or path.startswith(kept.rstrip("/") + "/")


def fold(text: str) -> str:
    """Make texts alike that people take for the same: case, and how accents are coded."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).strip()
