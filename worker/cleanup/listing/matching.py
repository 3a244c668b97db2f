"""Checks each listed object against the rule again: the API's search index may be wrong or out of date.

An object that cannot be understood is not deleted. The form of objects is documented under GET /v1/files.
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
    """A file that the rule matches."""

    file_id: str
    size: int
    """Bytes; 0 if the API does not say."""
    created_ms: int
    """0 if the API does not say."""
    path: str
    why: str


class Excluded(NamedTuple):
    """An object that is not deleted, and why."""

    why: str


class _ExcludedError(Exception):
    """Carries why an object is not deleted."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """Matches objects for one run; `now_ms` is when the run started, so that ages are the same on all its pages."""

    rule: Rule
    now_ms: int

    def match(self, item: object) -> Match | Excluded:
        """Return whether the rule matches this object of a list answer."""
        try:
            return self._match(item)
        except _ExcludedError as excluded:
            return Excluded(str(excluded))

    def _match(self, item: object) -> Match:
        file = _file(item)
        file_id, path, created = _id(file), _path(file), _created(file)
        own_tags, ai_tags = _tags(file)
        reasons = [
            *_check_folder(self.rule, path),
            *_check_age(self.rule, created, self.now_ms),
            *_check_tags(self.rule, own_tags),
            *_check_type(self.rule, file),
        ]
        _check_keep(self.rule.keep, path, own_tags | ai_tags)
        if self.rule.query:
            reasons.append("found by the query")
        return Match(file_id, _size(file), created or 0, path, ", ".join(reasons))


def _file(item: object) -> Mapping[str, Any]:
    if not isinstance(item, Mapping):
        raise _ExcludedError("not an object")
    if item.get("type") != "file" or "folderId" in item:
        raise _ExcludedError("a folder, a version or of unknown type")
    return item


def _id(file: Mapping[str, Any]) -> str:
    try:
        return check_file_id(file.get("fileId"))
    except ValueError:
        raise _ExcludedError("invalid file id") from None


def _path(file: Mapping[str, Any]) -> str:
    path = file.get("filePath")
    if not isinstance(path, str) or not path.startswith("/") or len(path) < 2 or path.endswith("/"):
        raise _ExcludedError("invalid path")
    if "/../" in path or "/./" in path or "//" in path:
        raise _ExcludedError("invalid path")
    return path


def _created(file: Mapping[str, Any]) -> int | None:
    text = file.get("createdAt")
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        if moment is None:
            return None
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (OverflowError, ValueError):
        return None


def _tags(file: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the file's own tags, and those that an AI added."""
    added = file.get("AITags")
    if added is not None and not isinstance(added, list):
        raise _ExcludedError("invalid tags")
    names = [entry.get("name") if isinstance(entry, Mapping) else entry for entry in added or ()]
    return _texts(file.get("tags")), _texts(names)


def _texts(values: object) -> frozenset[str]:
    if values is None:
        return frozenset()
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _ExcludedError("invalid tags")
    return frozenset(values)


def _size(file: Mapping[str, Any]) -> int:
    size = file.get("size")
    usable = isinstance(size, int | float) and not isinstance(size, bool) and 0 <= size < 1 << 50
    return int(size) if usable and size is not None else 0


def _check_folder(conditions: Conditions, path: str) -> list[str]:
    if conditions.path is None:
        return []
    folder = path.rpartition("/")[0] + "/"
    if folder != conditions.path and not (conditions.recursive and folder.startswith(conditions.path)):
        raise _ExcludedError("in another folder")
    return [f"in {conditions.path}"]


def _check_age(conditions: Conditions, created: int | None, now_ms: int) -> list[str]:
    if conditions.older_than is None:
        return []
    if created is None:
        raise _ExcludedError("unknown age")
    if not created < now_ms - conditions.older_than * 1000:
        raise _ExcludedError("not old enough")
    return [f"older than {write_duration(conditions.older_than)}"]


def _check_tags(conditions: Conditions, own_tags: frozenset[str]) -> list[str]:
    if not conditions.tags:
        return []
    found = [tag for tag in conditions.tags if tag in own_tags]
    if not found:
        raise _ExcludedError("without the tag")
    return [f"tagged {found[0]}"]


def _check_type(conditions: Conditions, file: Mapping[str, Any]) -> list[str]:
    if conditions.file_type is None:
        return []
    if file.get("fileType") != conditions.file_type:
        raise _ExcludedError("of another file type")
    return [f"of type {conditions.file_type}"]


def _check_keep(keep: Keep, path: str, tags: frozenset[str]) -> None:
    folded = {fold(tag) for tag in tags}
    if any(fold(tag) in folded for tag in keep.tags):
        raise _ExcludedError("kept by its tag")
    if any(lies_in(fold(path), fold(kept)) for kept in keep.paths):
        raise _ExcludedError("kept by its path")


def lies_in(path: str, kept: str) -> bool:
    """Whether a path is a file or folder to keep, or is below one."""
    return path == kept or path.startswith(kept.rstrip("/") + "/")


def fold(text: str) -> str:
    """Fold case and the encoding of accents, so that texts that look the same are equal."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).strip()
