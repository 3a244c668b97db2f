"""Every answer to a list call is one of a closed set of types, and none raises."""

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
    ("status", "body", "answer_type"),
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
def test_each_answer_has_its_type(status: int | None, body: bytes, answer_type: type) -> None:
    """Only a JSON array with status 200 is a page; messages of the API show no secret."""
    answer = READER.read_list(RawAnswer(status, {}, body))
    assert type(answer) is answer_type
    assert "private_secret" not in str(answer)


def test_a_truncated_page_is_not_a_page() -> None:
    """A body that did not arrive whole is discarded."""
    assert isinstance(READER.read_list(RawAnswer(200, {}, b"[]", failure="cut")), Unanswered)


def test_the_limits_in_the_headers_are_read() -> None:
    """An answer carries the rate limits that its headers announce."""
    headers = {"X-RateLimit-Limit": "10", "X-RateLimit-Interval": "1000", "X-RateLimit-Reset": "250"}
    answer = READER.read_list(RawAnswer(429, headers, b""))
    assert (answer.meta.limits, answer.meta.reset_ms) == ((Window(10, 1000),), 250)


@given(st.none() | st.integers(100, 599), st.binary(max_size=60))
def test_any_answer_can_be_read(status: int | None, body: bytes) -> None:
    """Any status with any body gives an answer of the set."""
    assert READER.read_list(RawAnswer(status, {}, body)).meta.status == status
