"""GET /v1/files: the records that match a list call, sorted, one page at a time."""

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from simulator.json_value import Json
from simulator.library.fields import Test
from simulator.library.files import MediaLibrary
from simulator.library.records import Record, folder_path
from simulator.library.search import SearchSyntaxError, parse_search

_SORT_KEYS = {
    "NAME": "name",
    "CREATED": "created",
    "UPDATED": "updated",
    "SIZE": "size",
    "HEIGHT": "height",
    "WIDTH": "width",
}
_TYPES = {"file": {"file"}, "file-version": {"file-version"}, "folder": {"folder"}, "all": {"file", "folder"}}
_FILE_TYPES = {"all", "image", "non-image"}
MAX_LIMIT = 1000


class BadParameterError(ValueError):
    """A parameter that the API answers with 400. The argument is its name."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A parsed list call. `key` is the same for all pages of one search."""

    limit: int
    skip: int
    sort: str
    path: str | None
    file_type: str
    types: frozenset[str]
    test: Test
    key: tuple[tuple[str, str], ...]

    @property
    def depends_on_time(self) -> bool:
        """Whether the results may change with time, because the search has ages in it."""
        return any(name == "searchQuery" and "edAt" in text for name, text in self.key)


def read_listing(parameters: Mapping[str, str], now_ms: int) -> Listing:
    """Parse the query of a list call. Raises BadParameterError."""
    query = parameters.get("searchQuery", "")
    types, test = _searched(query, now_ms) if query else _filtered(parameters)
    path = parameters.get("path")
    return Listing(
        limit=_number(parameters, "limit", MAX_LIMIT, 1, MAX_LIMIT),
        skip=_number(parameters, "skip", 0, 0, 1 << 62),
        sort=_sort(parameters.get("sort", "ASC_CREATED")),
        path=None if path is None else folder_path(path),
        file_type=_choice(parameters, "fileType", _FILE_TYPES, "all"),
        types=frozenset(types),
        test=test,
        key=tuple(sorted((name, text) for name, text in parameters.items() if name not in {"limit", "skip"})),
    )


def _searched(query: str, now_ms: int) -> tuple[set[str], Test]:
    """Parse a `searchQuery`. The parameters `type`, `tags` and `name` are ignored beside it.

    Older versions are found only if the query has a `type`.
    """
    try:
        search = parse_search(query, now_ms)
    except SearchSyntaxError as error:
        raise BadParameterError("searchQuery") from error
    return ({"file", "file-version", "folder"} if "type" in search.fields else _TYPES["all"]), search.matches


def _filtered(parameters: Mapping[str, str]) -> tuple[set[str], Test]:
    types = _TYPES[_choice(parameters, "type", set(_TYPES), "file")]
    name = parameters.get("name")
    tags = {tag.strip() for tag in parameters.get("tags", "").split(",") if tag.strip()}

    def test(record: Record) -> bool:
        named = name is None or record.name == name
        return named and (not tags or not tags.isdisjoint((record.tags or ()) + record.ai_tags))

    return types, test


def _number(parameters: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = parameters.get(name, str(default))
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise BadParameterError(name)
    return int(text)


def _choice(parameters: Mapping[str, str], name: str, choices: set[str], default: str) -> str:
    value = parameters.get(name, default)
    if value not in choices:
        raise BadParameterError(name)
    return value


def _sort(value: str) -> str:
    direction, _, key = value.partition("_")
    if direction not in {"ASC", "DESC"} or key not in {*_SORT_KEYS, "RELEVANCE"}:
        raise BadParameterError("sort")
    return value


class Lister:
    """Lists the files of a library, and caches the last result for the next page.

    `strays` are objects added to every result, as an index that lags behind would.
    """

    def __init__(self, library: MediaLibrary) -> None:
        self.strays: list[dict[str, Json]] = []
        self._library = library
        self._last: tuple[object, list[Record]] | None = None

    def page(self, listing: Listing, rng: random.Random | None) -> list[dict[str, Json]]:
        """Return the objects of one page as JSON. With `rng`, objects with equal sort keys are shuffled."""
        found: list[Record | dict[str, Json]] = [*self._found(listing, rng), *self.strays]
        page = found[listing.skip : listing.skip + listing.limit]
        return [item.as_json() if isinstance(item, Record) else item for item in page]

    def _found(self, listing: Listing, rng: random.Random | None) -> list[Record]:
        key = (self._library.revision, listing.key)
        if self._last and self._last[0] == key and not listing.depends_on_time and rng is None:
            return self._last[1]
        found = list(_matching(listing, self._library.records()))
        if rng is not None:
            rng.shuffle(found)
        if not listing.sort.endswith("RELEVANCE"):
            _sort_records(found, listing.sort)
        self._last = (key, found)
        return found


def _matching(listing: Listing, records: Iterable[Record]) -> Iterator[Record]:
    versions = "file-version" in listing.types
    for record in records:
        if listing.path is not None and record.folder != listing.path:
            continue
        if listing.file_type != "all" and (record.type == "folder" or record.file_type != listing.file_type):
            continue
        for shown in (record, *record.older_versions()) if versions else (record,):
            if shown.type in listing.types and listing.test(shown):
                yield shown


def _sort_records(records: list[Record], sort: str) -> None:
    direction, _, key = sort.partition("_")
    attribute = _SORT_KEYS[key]
    records.sort(
        key=lambda record: getattr(record, attribute) or ("" if key == "NAME" else 0),
        reverse=direction == "DESC",
    )
