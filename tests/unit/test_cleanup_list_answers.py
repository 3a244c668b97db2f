"""Answers to a list call: every one is a member of a closed set, and none raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.windows import Window
from worker.imagekit.answers import KeyRefused, Page, Refused, Throttled, Unanswered
from worker.imagekit.reading import AnswerReader
from worker.imagekit.transport import RawAnswer

READER = AnswerReader(secrets=("private_secret",))
MESSAGE = b'{"message": "no, private_secret"}'


@pytest.mark.parametrize(
    ("status", "body", "ending"),
    [
        (200, b"[]", Page),
        (200, b'[{"fileId": "a"}]', Page),
        (200, b"{}", Unanswered),
        (200, b"", Unanswered),
        (200, b"[1", Unanswered),
        (207, b"[]", Unanswered),
        (302, b"", Unanswered),
        (400, MESSAGE, Refused),
        (400, b"<html>", Unanswered),
        (401, MESSAGE, KeyRefused),
        (403, b"", KeyRefused),
        (404, MESSAGE, Refused),
        (429, b"", Throttled),
        (500, MESSAGE, Unanswered),
        (503, b"", Unanswered),
        (None, b"", Unanswered),
    ],
)
def test_each_answer_has_its_ending(status: int | None, body: bytes, ending: type) -> None:
    """Only a JSON array under 200 is a page; no secret is shown of what the API says."""
    answer = READER.read_list(RawAnswer(status, {}, body))
    assert type(answer) is ending
    assert "private_secret" not in str(answer)


def test_a_page_that_was_cut_is_none() -> None:
    """A body that did not arrive whole is no page, whatever is left of it."""
    assert isinstance(READER.read_list(RawAnswer(200, {}, b"[]", failure="cut")), Unanswered)


def test_the_windows_of_lists_are_learned() -> None:
    """The limits that an answer announces come with it."""
    headers = {"X-RateLimit-Limit": "10", "X-RateLimit-Interval": "1000", "X-RateLimit-Reset": "250"}
    answer = READER.read_list(RawAnswer(429, headers, b""))
    assert (answer.meta.limits, answer.meta.reset_ms) == ((Window(10, 1000),), 250)


@given(st.none() | st.integers(100, 599), st.binary(max_size=60))
def test_no_answer_breaks_the_reader(status: int | None, body: bytes) -> None:
    """Any status with any bytes ends in the set."""
    assert READER.read_list(RawAnswer(status, {}, body)).meta.status == status
