"""Paging through a listing without cursor or total: files that stay are seen, whatever else comes and goes."""

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
    """Page through a library of file numbers; `between` changes it after each page. Returns what was seen."""
    cursor: Cursor | None = START
    seen: list[int] = []
    for turn in range(10_000):
        if cursor is None:
            return seen
        objects = [file(number) for number in library[cursor.skip : cursor.skip + page]]
        shown, cursor = step(cursor, objects, page)
        seen += [int(item["fileId"], 16) for item in shown]
        if between:
            between(turn, library)
    raise AssertionError("paging does not end")


@given(st.integers(0, 60), st.integers(2, 12))
def test_an_unchanged_listing_is_seen_once_in_order(files: int, page: int) -> None:
    """Without changes, every object is seen exactly once."""
    assert walk(list(range(files)), page) == list(range(files))


@given(st.integers(0, 80), st.integers(2, 10), st.lists(st.lists(st.integers(0, 200), max_size=30), max_size=12))
def test_files_that_stay_are_seen_while_others_come_and_go(files: int, page: int, changes: list[list[int]]) -> None:
    """Files are deleted anywhere, the anchor included, and new ones come at the end."""

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
def test_files_that_the_index_shows_late_hide_no_others(files: int, page: int, late: list[int]) -> None:
    """Old files that appear in front move all others back: some are seen twice, none is missed."""

    def between(turn: int, library: list[int]) -> None:
        if turn < len(late) and late[turn] * 2 + 1 not in library:
            library.append(late[turn] * 2 + 1)
            library.sort()

    library = [number * 2 for number in range(files)]
    before = set(library)
    assert before <= set(walk(library, page, between))


def test_a_short_page_is_not_the_end() -> None:
    """A page with fewer objects than asked for proves nothing: paging continues after it."""
    shown, cursor = step(START, [file(1), file(2)], 100)
    assert len(shown) == 2
    assert cursor is not None
    assert cursor.skip == 1
    shown, cursor = step(cursor, [file(2), file(3)], 100)
    assert [item["fileId"] for item in shown] == [file(3)["fileId"]]


def test_the_same_page_again_and_again_is_an_error() -> None:
    """Paging ends if the API ignores `skip`."""
    cursor: Cursor | None = START
    with pytest.raises(ListingError):  # noqa: PT012 - any of the calls may raise
        for _ in range(10):
            assert cursor is not None
            _, cursor = step(cursor, [file(1), file(2)], 2)


@given(st.builds(Cursor, st.integers(0), st.text(), st.floats(allow_nan=False), st.integers(0), st.integers(0)))
def test_a_cursor_survives_json(cursor: Cursor) -> None:
    """What is kept between pages is read back unchanged."""
    assert Cursor.from_json(cursor.as_json()) == cursor


@given(
    st.recursive(st.none() | st.booleans() | st.text(), lambda part: st.lists(part) | st.dictionaries(st.text(), part))
)
def test_any_object_has_an_identity(item: Any) -> None:
    """Whatever the API lists, paging goes on."""
    assert isinstance(identity(item), str)
    step(START, [item], 10)
