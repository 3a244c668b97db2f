"""What producers ask for is checked before anything is sent, and errors name argument, position and rule."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from worker.errors import InvalidRequest
from worker.queue.validation import checked_file_ids, checked_request, checked_stream

MOST = 5


@pytest.mark.parametrize("file_ids", [["a"], ("a", "b"), ["x" * 256], ["ключ", "a/b", "A_-9"], ["a", "a"]])
def test_good_ids_pass_unchanged(file_ids: Any) -> None:
    """Any text without blanks and controls, up to 256 characters, is a file id."""
    assert checked_file_ids(file_ids, MOST) == list(file_ids)


@pytest.mark.parametrize(
    "value", ["", " ", "a b", "a\tb", "a\n", "\x00", "a\x7f", "\u200b", "\ud800", "x" * 257, 5, None, ["a"], b"a", True]
)
def test_a_bad_id_is_named_by_its_position(value: object) -> None:
    """The error names the argument, the position and the rule, and nothing else of the list."""
    with pytest.raises(InvalidRequest) as caught:
        checked_file_ids(["good", value], MOST)
    assert (caught.value.argument, caught.value.position) == ("file_ids", 1)
    assert "256 characters" in caught.value.rule
    assert str(caught.value).startswith("file_ids[1]: ")


@pytest.mark.parametrize("file_ids", ["abc", b"abc", None, 5, {"a": 1}, {"a"}, [], (), ["a"] * (MOST + 1)])
def test_what_is_no_list_of_ids_is_refused_whole(file_ids: object) -> None:
    """Not a list, empty, or too long for one message: the argument is named, and no position."""
    with pytest.raises(InvalidRequest) as caught:
        checked_file_ids(file_ids, MOST)
    assert (caught.value.argument, caught.value.position) == ("file_ids", None)


def test_a_list_that_is_too_long_names_the_setting() -> None:
    """The error says how to raise the limit."""
    with pytest.raises(InvalidRequest, match="KITSWEEP_MAX_REQUEST_IDS"):
        checked_file_ids(["a"] * (MOST + 1), MOST)


def test_a_stream_is_checked_as_it_goes() -> None:
    """What precedes a bad id has passed by then."""
    stream = checked_stream(iter(["a", "b", ""]))
    assert [next(stream), next(stream)] == ["a", "b"]
    with pytest.raises(InvalidRequest):
        next(stream)


def test_a_good_request_passes() -> None:
    """All parts are returned as they were given."""
    asked = checked_request(
        "id-1", "shop.cleanup_2", "why not", 5, 86_400, "https://u:p@shop.example:8443/done?token=1", "folder"
    )
    assert asked == {
        "request_id": "id-1",
        "source": "shop.cleanup_2",
        "reason": "why not",
        "hold_seconds": 5.0,
        "result_ttl_seconds": 86_400,
        "callback": "https://u:p@shop.example:8443/done?token=1",
        "purge": "folder",
    }


BAD_HOLDS: list[object] = [-1, -0.001, float("nan"), float("inf"), "5", None, True, 1e12, []]
BAD_SOURCES: list[object] = ["", "a b", "x" * 65, "ключ", "a:b", "a\n", None, 5, ["s"]]
BAD_REASONS: list[object] = ["a\nb", "\x1b[31m", 5, "x" * 501, []]
BAD_CALLBACKS: list[object] = [
    *("", "shop.example/done", "ftp://shop.example/", "https://", "http:///x", "https://a b/", "https://a/\n", "//a/b"),
    *("http://a\\@b/", "http://ключ.example/", "http://a:0/", "http://a:99999/", "http://[::1", "http://a/#x"),
    *("http://a/" + "x" * 2000, 5, ["http://a/"], True),
]
BAD_TASK_IDS: list[object] = ["", "a b", "a}b{", "x" * 129, None, 5]


@pytest.mark.parametrize(
    ("argument", "changed"),
    [
        *(("source", {"source": value}) for value in BAD_SOURCES),
        *(("reason", {"reason": value}) for value in BAD_REASONS),
        *(("hold_seconds", {"hold_seconds": value}) for value in BAD_HOLDS),
        *(("callback", {"callback": value}) for value in BAD_CALLBACKS),
        *(("purge", {"purge": value}) for value in ("yes", 1, "Folder", ["wait"], "")),
        *(("task id", {"request_id": value}) for value in BAD_TASK_IDS),
    ],
)
def test_a_bad_part_is_named(argument: str, changed: dict[str, object]) -> None:
    """Each argument has its rule, and the error says which was broken."""
    given_parts: dict[str, object] = {"request_id": "id", "source": "s", "reason": None, "hold_seconds": 0}
    with pytest.raises(InvalidRequest) as caught:
        checked_request(**{**given_parts, **changed})
    assert caught.value.argument == argument
    assert "Nothing was enqueued" in str(caught.value)


json_like = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_like, json_like, json_like, json_like, json_like, json_like)
def test_arbitrary_json_ends_in_ids_or_in_our_own_error(
    file_ids: Any, request_id: Any, source: Any, reason: Any, hold: Any, callback: Any
) -> None:
    """Any message raises no exception but `InvalidRequest`, whose text has no control characters."""
    shown: list[str] = []
    for check in (
        lambda: checked_file_ids(file_ids, MOST),
        lambda: checked_request(request_id, source, reason, hold, callback),
    ):
        try:
            check()
        except InvalidRequest as error:
            shown.append(str(error))
    assert all(text.isprintable() for text in shown)


@pytest.mark.parametrize(
    ("url", "known"),
    [
        ("https://ik.imagekit.io/demo/a%20b.jpg?updatedAt=1", "https://ik.imagekit.io/demo/a%20b.jpg"),
        ("http://img.example.com:8080/größen/x#top", "http://img.example.com:8080/größen/x"),
    ],
)
def test_a_file_may_come_with_its_url(url: str, known: str) -> None:
    """As the list API gives it, beside plain ids; query and fragment are dropped, and the first URL of an id counts."""
    urls: dict[str, str] = {}
    files = [{"fileId": "a", "url": url, "name": "x"}, "b", {"fileId": "c"}, {"fileId": "a", "url": "https://h/other"}]
    assert checked_file_ids(files, 10, urls) == ["a", "b", "c", "a"]
    assert urls == {"a": known}


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://h/a", "https://h", "https://h/", "https://h/a/", "https://h/a*", "https://u:p@h/a", "https://h/a b"),
        *("https://h:0/a", "https://[h/a", f"https://h/{'a' * 2001}", "https://h/a\u202eb", "https://?a", "x", 5),
    ],
)
def test_a_url_that_cannot_be_purged_is_refused(url: object) -> None:
    """The error names the position; a wildcard would purge more than the file."""
    with pytest.raises(InvalidRequest, match="the URL of a file") as refused:
        checked_file_ids(["b", {"fileId": "a", "url": url}], 10, {})
    assert refused.value.position == 1
