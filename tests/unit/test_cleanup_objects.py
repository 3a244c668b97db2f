"""The check of each listed object: what a rule excludes is not deleted, whatever the search returns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.library.search import parse_search
from worker.cleanup.listing.matching import Excluded, Match, Matcher
from worker.cleanup.listing.query import search_base, search_for
from worker.cleanup.rules.fields import check_query
from worker.cleanup.rules.rule import Conditions, Keep, Rule
from worker.text import quoted_for_search

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
OLD = "2026-01-01T00:00:00.000Z"


def conditions(**fields: Any) -> Conditions:
    """Conditions, unchecked."""
    return Conditions.model_construct(**fields)


def rule(matching: Conditions, keep: Keep | None = None) -> Rule:
    """A rule with these conditions."""
    return Rule.model_construct(**{**dict(matching), "name": "r", "every": 3600, "keep": keep or Keep()})


def listed(**changes: Any) -> dict[str, Any]:
    """A file as the API lists it."""
    file = {"type": "file", "fileId": "a" * 24, "filePath": "/drafts/x.jpg", "createdAt": OLD, "tags": ["expired"]}
    return {**file, "size": 10, "fileType": "image", "AITags": None, **changes}


def match(matching: Conditions, keep: Keep | None = None, **changes: Any) -> Match | Excluded:
    """Match one file."""
    return Matcher(rule(matching, keep), NOW_MS).match(listed(**changes))


WIDE = conditions(path="/", recursive=True, older_than=DAY_MS // 1000)


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "file-version"},
        {"type": "folder"},
        {"type": None},
        {"folderId": "b"},
        {"fileId": None},
        {"fileId": ""},
        {"fileId": "a b"},
        {"fileId": 7},
        {"filePath": None},
        {"filePath": "x.jpg"},
        {"filePath": "/drafts/"},
        {"filePath": "/drafts/../x.jpg"},
        {"filePath": "//x.jpg"},
        {"tags": "expired"},
        {"tags": [1]},
        {"AITags": "shoe"},
        {"AITags": [{"name": None}]},
        {"createdAt": None},
        {"createdAt": "yesterday"},
        {"createdAt": 5},
    ],
)
def test_an_object_that_cannot_be_understood_is_excluded(changes: dict[str, Any]) -> None:
    """Objects of other types, and those with invalid fields, are never deleted."""
    assert isinstance(match(WIDE), Match)
    assert isinstance(match(WIDE, **changes), Excluded)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda part: st.lists(part) | st.dictionaries(st.text(), part),
    )
)
def test_any_object_can_be_checked(item: Any) -> None:
    """Whatever the API lists, the check raises nothing, and excludes it."""
    assert isinstance(Matcher(rule(WIDE), NOW_MS).match(item), Excluded)


@pytest.mark.parametrize(
    ("path", "recursive", "meant"),
    [
        ("/drafts/", False, True),
        ("/", True, True),
        ("/", False, False),
        ("/draft/", True, False),
        ("/Drafts/", True, False),
        ("/drafts/x.jpg/", True, False),
    ],
)
def test_the_folder_must_match(path: str, recursive: bool, meant: bool) -> None:
    """Without `recursive` only the folder itself matches; names are compared whole and with their case."""
    assert isinstance(match(conditions(path=path, recursive=recursive)), Match) is meant


def test_the_age_is_exact_to_the_millisecond() -> None:
    """A file that is exactly as old as the limit is excluded; one that is a millisecond older matches."""
    what = conditions(older_than=DAY_MS // 1000)
    bound = "2027-01-14T08:00:00.000+00:00"
    assert isinstance(match(what, createdAt=bound), Excluded)
    assert isinstance(match(what, createdAt="2027-01-14T07:59:59.999+00:00"), Match)
    assert isinstance(match(what, createdAt="2027-01-14T09:00:00.000+01:00"), Excluded)


@pytest.mark.parametrize(("tags", "meant"), [(["expired"], True), (["Expired"], False), ([], False), (None, False)])
def test_own_tags_must_match_exactly(tags: Any, meant: bool) -> None:
    """Only a tag of the file itself matches, with its case; null means no tags."""
    assert isinstance(match(conditions(tags=("expired", "other")), tags=tags), Match) is meant


def test_a_tag_that_an_ai_added_does_not_match() -> None:
    """`tags IN` of the API matches AI tags too; the rule does not."""
    assert isinstance(match(conditions(tags=("shoe",)), tags=None, AITags=[{"name": "shoe"}]), Excluded)


@pytest.mark.parametrize(
    ("keep", "changes"),
    [
        (Keep(tags=("KEEP",)), {"tags": ["expired", "keep"]}),
        (Keep(tags=("keep",)), {"AITags": [{"name": "Keep"}]}),
        (Keep(tags=("straße",)), {"tags": ["STRASSE"]}),
        (Keep(tags=("caf\u00e9",)), {"tags": ["cafe\u0301"]}),
        (Keep(paths=("/drafts",)), {}),
        (Keep(paths=("/drafts/",)), {}),
        (Keep(paths=("/DRAFTS/X.jpg",)), {}),
        (Keep(paths=("/",)), {}),
    ],
)
def test_keep_wins(keep: Keep, changes: dict[str, Any]) -> None:
    """Tags and paths in `keep` win over all conditions, in any case and encoding of accents."""
    assert isinstance(match(WIDE, **changes), Match)
    assert isinstance(match(WIDE, keep, **changes), Excluded)


def test_a_kept_folder_does_not_keep_folders_with_its_prefix() -> None:
    """`/drafts` keeps what is in it, but not `/drafts-old`."""
    assert isinstance(match(WIDE, Keep(paths=("/drafts",)), filePath="/drafts-old/x.jpg"), Match)


_NASTY = st.text(st.sampled_from('ab"\\() \u00e4OR[]=:,'), min_size=1, max_size=12)


@given(tags=st.lists(_NASTY, min_size=1, max_size=3), folder=_NASTY, inner=_NASTY)
def test_no_value_escapes_its_quotes(tags: list[str], folder: str, inner: str) -> None:
    """Whatever the values hold, the search is valid and has exactly the expected fields."""
    query = f"name = {quoted_for_search(inner)}"
    check_query(query)
    search = search_for(
        conditions(query=query, path=f"/{folder}/", recursive=True, older_than=DAY_MS, tags=tuple(tags))
    )
    found = parse_search(search["searchQuery"], NOW_MS)
    assert found.fields == {"type", "name", "path", "createdAt", "tags"}


@given(st.text(st.sampled_from('a "()\\OR'), max_size=14))
def test_a_query_that_leaves_its_parentheses_is_refused(query: str) -> None:
    """A query that passes is one term, so it cannot undo the conditions beside it."""
    try:
        check_query(query)
    except ValueError:
        return
    depth, quote, skip = 0, False, False
    for character in f"({query})"[:-1]:
        if skip:
            skip = False
        elif quote:
            skip, quote = character == "\\", character != '"'
        else:
            quote = character == '"'
            depth += (character == "(") - (character == ")")
        assert depth >= 1
    assert (depth, quote) == (1, False)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (30 * 86_400, '"30d"'),
        (36 * 3600, '"36h"'),
        (90 * 60, '"1h"'),
        (25 * 3600 + 59, '"25h"'),
        (14 * 86_400, '"14d"'),
    ],
)
def test_an_age_is_searched_in_whole_units_rounded_down(seconds: int, written: str) -> None:
    """The search may match more than the rule, never less."""
    assert f"createdAt < {written}" in search_for(conditions(older_than=seconds))["searchQuery"]


def test_an_age_below_an_hour_is_not_searched() -> None:
    """The search language has no shorter unit; our own check covers it."""
    assert search_for(conditions(older_than=1800))["searchQuery"] == 'type = "file"'


def test_the_whole_search() -> None:
    """All parts are joined by AND, oldest first, with the file type as a parameter beside it."""
    what = conditions(query='size > "1mb" OR x = "y"', path="/a/", older_than=86_400, tags=("t",), file_type="image")
    assert search_for(what) == {
        "searchQuery": 'type = "file" AND path = "/a/" AND createdAt < "1d" AND tags IN ["t"]'
        ' AND (size > "1mb" OR x = "y")',
        "sort": "ASC_CREATED",
        "fileType": "image",
    }
    assert search_base(what.model_copy(update={"recursive": True}))["searchQuery"] == 'type = "file" AND path : "/a/"'
