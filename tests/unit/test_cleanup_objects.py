"""The check of each listed object on our side: what a rule's plain words exclude stays, whatever the search returns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.library.search import parse_search
from worker.cleanup.listing.matching import Excluded, Match, Matcher
from worker.cleanup.listing.query import quoted, search_base, search_for
from worker.cleanup.rules.fields import check_query
from worker.cleanup.rules.rule import Conditions, Keep, Rule

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
OLD = "2026-01-01T00:00:00.000Z"


def conditions(**fields: Any) -> Conditions:
    """Conditions, unchecked."""
    return Conditions.model_construct(**fields)


def rule(matching: Conditions, keep: Keep | None = None) -> Rule:
    """A rule with these words."""
    return Rule.model_construct(**{**dict(matching), "name": "r", "every": 3600, "keep": keep or Keep()})


def listed(**changes: Any) -> dict[str, Any]:
    """A file as the API lists it."""
    file = {"type": "file", "fileId": "a" * 24, "filePath": "/drafts/x.jpg", "createdAt": OLD, "tags": ["expired"]}
    return {**file, "size": 10, "fileType": "image", "AITags": None, **changes}


def look(matching: Conditions, keep: Keep | None = None, **changes: Any) -> Match | Excluded:
    """Judge one file."""
    return Matcher(rule(matching, keep), NOW_MS).look(listed(**changes))


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
def test_what_cannot_be_read_stays(changes: dict[str, Any]) -> None:
    """An object of another kind, or one whose words cannot be understood, is never deleted."""
    assert isinstance(look(WIDE), Match)
    assert isinstance(look(WIDE, **changes), Excluded)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda part: st.lists(part) | st.dictionaries(st.text(), part),
    )
)
def test_no_object_breaks_the_check(item: Any) -> None:
    """Whatever is listed, the answer is that it stays."""
    assert isinstance(Matcher(rule(WIDE), NOW_MS).look(item), Excluded)


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
def test_the_folder_counts(path: str, recursive: bool, meant: bool) -> None:
    """Without `recursive` only the folder itself; names are compared as they are, and never in part."""
    assert isinstance(look(conditions(path=path, recursive=recursive)), Match) is meant


def test_the_age_counts_to_the_millisecond() -> None:
    """A file that is exactly as old as the bound stays; one that is a millisecond older goes."""
    what = conditions(older_than=DAY_MS // 1000)
    bound = "2027-01-14T08:00:00.000+00:00"
    assert isinstance(look(what, createdAt=bound), Excluded)
    assert isinstance(look(what, createdAt="2027-01-14T07:59:59.999+00:00"), Match)
    assert isinstance(look(what, createdAt="2027-01-14T09:00:00.000+01:00"), Excluded)


@pytest.mark.parametrize(("tags", "meant"), [(["expired"], True), (["Expired"], False), ([], False), (None, False)])
def test_own_tags_count_as_they_are(tags: Any, meant: bool) -> None:
    """Only a tag of the file's own, spelt alike; null is no tag."""
    assert isinstance(look(conditions(tags=("expired", "other")), tags=tags), Match) is meant


def test_a_tag_that_an_ai_added_deletes_nothing() -> None:
    """`tags IN` of the API matches AI tags too; the rule's words do not."""
    assert isinstance(look(conditions(tags=("shoe",)), tags=None, AITags=[{"name": "shoe"}]), Excluded)


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
def test_what_is_kept_stays(keep: Keep, changes: dict[str, Any]) -> None:
    """Tags and paths in `keep` win over everything, in any spelling that people take for the same."""
    assert isinstance(look(WIDE, **changes), Match)
    assert isinstance(look(WIDE, keep, **changes), Excluded)


def test_a_kept_folder_does_not_keep_its_namesakes() -> None:
    """`/drafts` keeps what is in it, and not `/drafts-old`."""
    assert isinstance(look(WIDE, Keep(paths=("/drafts",)), filePath="/drafts-old/x.jpg"), Match)


_NASTY = st.text(st.sampled_from('ab"\\() \u00e4OR[]=:,'), min_size=1, max_size=12)


@given(tags=st.lists(_NASTY, min_size=1, max_size=3), folder=_NASTY, inner=_NASTY)
def test_nothing_escapes_its_quotes(tags: list[str], folder: str, inner: str) -> None:
    """Whatever a rule's words hold, the search can be read, and `type = "file"` stands in it for all."""
    query = f"name = {quoted(inner)}"
    check_query(query)
    search = search_for(
        conditions(query=query, path=f"/{folder}/", recursive=True, older_than=DAY_MS, tags=tuple(tags))
    )
    found = parse_search(search["searchQuery"], NOW_MS)
    assert found.fields == {"type", "name", "path", "createdAt", "tags"}


@given(st.text(st.sampled_from('a "()\\OR'), max_size=14))
def test_a_query_that_reaches_out_of_its_parentheses_is_refused(query: str) -> None:
    """What passes the check is one term, so that it cannot undo what stands beside it."""
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
def test_an_age_is_asked_for_in_whole_units_rounded_down(seconds: int, written: str) -> None:
    """The search may be wider than the rule, never narrower."""
    assert f"createdAt < {written}" in search_for(conditions(older_than=seconds))["searchQuery"]


def test_an_age_below_an_hour_is_left_to_our_own_check() -> None:
    """The search language has no shorter unit."""
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
