"""The simulator's search language."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.library.records import Record
from simulator.library.search import SearchSyntaxError, parse_search
from simulator.library.units import iso, parse_time

NOW = parse_time("2026-11-23T12:00:00", 0)
DAY = 86_400_000


def record(**fields: object) -> Record:
    """Return a file in /a/b/ that is ten days old, with the given fields."""
    plain = {"type": "file", "id": "1" * 24, "name": "Red-Dress.jpg", "folder": "/a/b/", "size": 2048}
    moments = {"created": NOW - 10 * DAY, "updated": NOW - 5 * DAY}
    custom = {"customMetadata": {"brand": "Nike", "rank": 3, "live": True}}
    return Record(**{**plain, **moments, "tags": ("sale", "summer time"), "extra": custom, **fields})  # type: ignore[arg-type]


def matches(query: str, item: Record) -> bool:
    return parse_search(query, NOW).matches(item)


@pytest.mark.parametrize(
    "query",
    [
        'name = "Red-Dress.jpg"',
        'name:"Red-"',
        'name HAS "dress"',
        'name HAS "JPG red"',
        'name IN ["x", "Red-Dress.jpg"]',
        'name NOT = "red-dress.jpg"',
        'name NOT IN ["x"]',
        'format = "jpg"',
        'type = "file"',
        'type IN ["file", "folder"]',
        'path = "/a/b/"',
        'path = "a/b"',
        'path : "/a/"',
        'path : "/"',
        'path NOT = "/a/"',
        'tags IN ["sale"]',
        'tags IN ["x","summer time"]',
        'tags = "sale"',
        'tags HAS "summer"',
        'tags : "sum"',
        "tags EXISTS",
        'tags NOT IN ["x"]',
        'createdAt < "7d"',
        "createdAt < 7d",
        'createdAt >= "2w"',
        'createdAt > "1m" AND createdAt > "1y"',
        'createdAt < "2026-11-14"',
        "createdAt < 2026-11-14",
        'createdAt = "2026-11-13T12:00:00Z"',
        'createdAt = "2026-11-13T13:00:00+01:00"',
        'updatedAt > "130h"',
        'size <= "1mb"',
        'size = "2kb"',
        "size > 2047",
        "width >= 800",
        '"customMetadata.brand" = "Nike"',
        '"customMetadata.rank" > 2',
        '"customMetadata.live" = true',
        '"customMetadata.gone" NOT EXISTS',
        '(size > 1 AND size < 5) OR name = "Red-Dress.jpg"',
        'size < 5 AND size > 1 OR name = "Red-Dress.jpg"',
        '((tags IN ["sale"]))',
    ],
)
def test_queries_that_match(query: str) -> None:
    """Each operator works on each kind of field."""
    assert matches(query, record())


@pytest.mark.parametrize(
    "query",
    [
        'name = "red-dress.jpg"',
        'name : "Dress"',
        'name HAS "dres"',
        'name NOT IN ["Red-Dress.jpg"]',
        'path = "/a/"',
        'path : "/a/bb/"',
        'path : "/a/b/c/"',
        'tags IN ["Sale"]',
        "tags NOT EXISTS",
        'createdAt < "30d"',
        'createdAt > "2026-11-14"',
        'updatedAt > "5d"',
        "size > 2048",
        "height < 600",
        'size > "1mb" OR size < "1kb"',
        'name : "Red" AND (size > 5000 OR width = 1)',
        '"customMetadata.brand" = "nike"',
        '"customMetadata.brand" > 1',
        '"customMetadata.gone" EXISTS',
    ],
)
def test_queries_that_do_not_match(query: str) -> None:
    """Each operator excludes other files."""
    assert not matches(query, record())


def test_ai_tags_count_as_tags() -> None:
    """`tags IN` also matches automatic tags."""
    assert matches('tags IN ["shoe"]', record(tags=None, ai_tags=("shoe",)))


def test_null_tags_match_only_negations() -> None:
    """A file without tags is never IN a list and always NOT IN it."""
    bare = record(tags=None)
    assert not matches('tags IN ["a"]', bare)
    assert matches('tags NOT IN ["a"]', bare)
    assert matches("tags NOT EXISTS", bare)


def test_and_binds_tighter_than_or() -> None:
    """`a OR b AND c` is `a OR (b AND c)`."""
    assert matches('name : "Red" OR size > 9999 AND size < 0', record())
    assert not matches('(name : "Red" OR size > 9999) AND size < 0', record())


def test_quotes_inside_values_are_escaped() -> None:
    """A backslash escapes the next character."""
    assert matches(r'name = "a\"b\\c"', record(name='a"b\\c'))


def test_quoted_words_are_not_keywords() -> None:
    """A file may have the name of an operator."""
    assert matches('name = "AND"', record(name="AND"))


def test_a_folder_has_no_size() -> None:
    """Comparisons with a missing field match nothing."""
    folder = record(type="folder", width=None, height=None)
    assert not matches("size >= 0", folder)
    assert not matches("width >= 0", folder)


def test_a_search_knows_its_fields() -> None:
    """The fields decide whether older versions can be found."""
    assert parse_search('(type = "file" AND name : "a") OR size > 1', NOW).fields == {"type", "name", "size"}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "name",
        "name =",
        '= "a"',
        'name "a"',
        'name == "a"',
        'name = "a',
        'name = "a" AND',
        'name = "a" name = "b"',
        'name = "a" and size > 1',
        '(name = "a"',
        'name = "a")',
        "()",
        'name IN "a"',
        "name IN []",
        'name IN ["a"',
        'name IN ["a",]',
        'name NOT : "a"',
        'name NOT HAS "a"',
        'NOT name = "a"',
        'name < "a"',
        'colour = "red"',
        'createdAt < "soon"',
        'createdAt < "30x"',
        'createdAt HAS "30d"',
        'size < "big"',
        'size : "1mb"',
        'tags < "a"',
        'path HAS "a"',
        "(" * 1000 + 'name = "a"' + ")" * 1000,
    ],
)
def test_invalid_queries_are_syntax_errors(query: str) -> None:
    """Unknown fields, operators and values that do not fit a field, and bad grammar."""
    with pytest.raises(SearchSyntaxError):
        parse_search(query, NOW)


@given(st.text(alphabet='name=<>:"\\()[], ANDORINTtagsszieHEXIST0d1', max_size=60))
def test_any_text_is_parsed_or_refused(query: str) -> None:
    """No text raises another error."""
    try:
        search = parse_search(query, NOW)
    except SearchSyntaxError:
        return
    assert search.matches(record()) in {True, False}


@given(st.integers(0, 4_102_444_800_000))
def test_formatted_times_can_be_parsed(moment: int) -> None:
    """A date from the API can be used in a query."""
    assert parse_time(iso(moment), 0) == moment
