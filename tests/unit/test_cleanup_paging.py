"""The walk through a listing without cursor or total: whatever comes and goes, what stays is seen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cleanup.listing.paging import START, Cursor, ListingError, identity, step


def file(number: int) -> dict[str, Any]:
    """A file of a listing; three at a time share a moment of creation."""
    day = number // 3
    return {
        "type": "file",
        "fileId": f"{number:024x}",
        "createdAt": f"20{day // 336:02}-{day // 28 % 12 + 1:02}-{day % 28 + 1:02}T00:00:00.000Z",
    }


def walk(library: list[int], page: int, between: Any = None) -> list[int]:
    """Walk through a library of file numbers; `between` changes it after each page. Returns what was shown."""
    place: Cursor | None = START
    seen: list[int] = []
    for turn in range(10_000):
        if place is None:
            return seen
        objects = [file(number) for number in library[place.ask : place.ask + page]]
        shown, place = step(place, objects, page)
        seen += [int(item["fileId"], 16) for item in shown]
        if between:
            between(turn, library)
    raise AssertionError("the walk does not end")


@given(st.integers(0, 60), st.integers(2, 12))
def test_a_listing_that_stands_still_is_shown_once_each(files: int, page: int) -> None:
    """Without changes, every object is shown exactly once, in order."""
    assert walk(list(range(files)), page) == list(range(files))


@given(st.integers(0, 80), st.integers(2, 10), st.lists(st.lists(st.integers(0, 200), max_size=30), max_size=12))
def test_what_stays_is_seen_though_files_vanish_and_come(files: int, page: int, changes: list[list[int]]) -> None:
    """Files vanish anywhere, also the last one seen, and new ones come at the end: those that stay are all seen."""

    def between(turn: int, library: list[int]) -> None:
        if turn < len(changes):
            for change in changes[turn]:
                if change < len(library):
                    del library[change]
            if library and len(library) < 150:
                library += [max(library) + 1]

    library = list(range(files))
    seen = walk(library, page, between)
    assert {number for number in library if number < files} <= set(seen)


@given(st.integers(1, 60), st.integers(2, 8), st.lists(st.integers(0, 40), max_size=8))
def test_files_that_an_index_shows_late_hide_no_other(files: int, page: int, late: list[int]) -> None:
    """Old files that turn up in front move all others back: some are shown twice, none is missed."""

    def between(turn: int, library: list[int]) -> None:
        if turn < len(late) and late[turn] * 2 + 1 not in library:
            library.append(late[turn] * 2 + 1)
            library.sort()

    library = [number * 2 for number in range(files)]
    before = set(library)
    assert before <= set(walk(library, page, between))


def test_a_short_page_is_not_the_end() -> None:
    """A page with fewer objects than asked for proves nothing: the walk goes on behind it."""
    shown, place = step(START, [file(1), file(2)], 100)
    assert len(shown) == 2
    assert place is not None
    assert place.ask == 1
    shown, place = step(place, [file(2), file(3)], 100)
    assert [item["fileId"] for item in shown] == [file(3)["fileId"]]


def test_the_same_page_for_ever_is_an_error() -> None:
    """An API that ignores `skip` ends the walk."""
    place: Cursor | None = START
    with pytest.raises(ListingError):  # noqa: PT012 - the error comes at one of the turns
        for _ in range(10):
            assert place is not None
            _, place = step(place, [file(1), file(2)], 2)


@given(st.builds(Cursor, st.integers(0), st.text(), st.floats(allow_nan=False), st.integers(0), st.integers(0)))
def test_a_place_is_kept_as_it_is(place: Cursor) -> None:
    """What is written between pages is read back."""
    assert Cursor.from_json(place.as_json()) == place


@given(
    st.recursive(st.none() | st.booleans() | st.text(), lambda part: st.lists(part) | st.dictionaries(st.text(), part))
)
def test_any_object_has_an_identity(item: Any) -> None:
    """Whatever the API lists can be told apart, and never breaks the walk."""
    assert isinstance(identity(item), str)
    step(START, [item], 10)
