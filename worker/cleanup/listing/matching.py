"""Checks each listed object against the rule again: the API's search index may be wrong or out of date.

An object that cannot be understood is not deleted. The form of objects is documented under GET /v1/files.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from worker.cleanup.listing.paging import created_ms
from worker.cleanup.rules.rule import Conditions, Keep, Rule
from worker.queue.validation import check_file_url, is_file_id
from worker.times import write_duration

_PATH = re.compile(r"(/[^/]+)+")


class Match(NamedTuple):
    """A file that the rule matches."""

    file_id: str
    size: int
    """Bytes; 0 if the API does not say."""
    created_ms: int
    """0 if the API does not say."""
    path: str
    why: str
    url: str = ""
    """Without query; empty if the API shows no usable one."""


class Excluded(Exception):
    """An object is not deleted; the text says why."""

    @property
    def why(self) -> str:
        """Why the object is not deleted."""
        return str(self)


def _require(holds: object, otherwise: str) -> None:
    if not holds:
        raise Excluded(otherwise)


@dataclass(frozen=True, slots=True)
class Matcher:
    """Matches objects for one run; `now_ms` is when the run started, so that ages are the same on all its pages."""

    rule: Rule
    now_ms: int

    def match(self, item: object) -> Match | Excluded:
        """Return whether the rule matches this object of a list answer."""
        try:
            return self._match(item)
        except Excluded as excluded:
            return excluded

    def _match(self, item: object) -> Match:
        if not isinstance(item, Mapping):
            raise Excluded("not an object")
        _require(item.get("type") == "file" and "folderId" not in item, "a folder, a version or of unknown type")
        file_id, path, created = _id(item), _path(item), created_ms(item)
        own_tags, ai_tags = _tags(item)
        reasons = list(_reasons(self.rule, path, created, own_tags, item.get("fileType"), self.now_ms))
        _check_keep(self.rule.keep, path, own_tags | ai_tags)
        return Match(file_id, _size(item), created, path, ", ".join(reasons), _url(item))


def _id(file: Mapping[str, Any]) -> str:
    _require(is_file_id(file_id := file.get("fileId")), "invalid file id")
    return str(file_id)


def _path(file: Mapping[str, Any]) -> str:
    path = file.get("filePath")
    if not isinstance(path, str) or not _PATH.fullmatch(path) or {".", ".."} & {*path.split("/")[:-1]}:
        raise Excluded("invalid path")
    return path


def _tags(file: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the file's own tags, and those that an AI added."""
    added = file.get("AITags")
    _require(added is None or isinstance(added, list), "invalid tags")
    names = [entry.get("name") if isinstance(entry, Mapping) else entry for entry in added or ()]
    return _texts(file.get("tags")), _texts(names)


def _texts(values: object) -> frozenset[str]:
    if values is None:
        return frozenset()
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise Excluded("invalid tags")
    return frozenset(values)


def _size(file: Mapping[str, Any]) -> int:
    size = file.get("size")
    usable = isinstance(size, int | float) and not isinstance(size, bool) and 0 <= size < 1 << 50
    return int(size) if usable and size is not None else 0


def _url(file: Mapping[str, Any]) -> str:
    try:
        return check_file_url(file.get("url"))
    except ValueError:
        return ""


def _reasons(
    rule: Conditions, path: str, created: int, tags: frozenset[str], file_type: object, now_ms: int
) -> Iterator[str]:
    """Yield how the file meets each condition of the rule. Raises `Excluded` for one that it does not meet."""
    if rule.path is not None:
        folder = path.rpartition("/")[0] + "/"
        _require(folder == rule.path or (rule.recursive and folder.startswith(rule.path)), "in another folder")
        yield f"in {rule.path}"
    if rule.older_than is not None:
        _require(created, "unknown age")
        _require(created < now_ms - rule.older_than * 1000, "not old enough")
        yield f"older than {write_duration(rule.older_than)}"
    if rule.tags:
        found = [tag for tag in rule.tags if tag in tags]
        _require(found, "without the tag")
        yield f"tagged {found[0]}"
    if rule.file_type is not None:
        _require(file_type == rule.file_type, "of another file type")
        yield f"of type {rule.file_type}"
    if rule.query:
        yield "found by the query"


def _check_keep(keep: Keep, path: str, tags: frozenset[str]) -> None:
    folded = {fold(tag) for tag in tags}
    _require(not any(fold(tag) in folded for tag in keep.tags), "kept by its tag")
    _require(not any(lies_in(fold(path), fold(kept)) for kept in keep.paths), "kept by its path")


def lies_in(path: str, kept: str) -> bool:
    """Whether a path is a file or folder to keep, or is below one."""
    return path == kept or path.startswith(kept.rstrip("/") + "/")


def fold(text: str) -> str:
    """Fold case and the encoding of accents, so that texts that look the same are equal."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).strip()
