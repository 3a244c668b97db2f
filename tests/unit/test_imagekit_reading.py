"""How each response of the API is read, whatever its bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.windows import Window
from worker.imagekit.answers import Answer, KeyRefused, Missing, PerFile, Refused, Throttled, Unanswered
from worker.imagekit.reading import AnswerReader, clean, read_limits, read_reset
from worker.imagekit.transport import RawAnswer

SENT = ["a1", "b2", "c3"]
READER = AnswerReader(secrets=("private_secret",))


def read(status: int | None, body: Any, **headers: str) -> Answer:
    """Read a response; a body that is not bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return READER.read_delete(RawAnswer(status, names, data), SENT)


def test_200_lists_what_is_gone() -> None:
    """200: listed ids are deleted; of an id that was sent and is not listed, nothing is known."""
    answer = read(200, {"successfullyDeletedFileIds": ["b2", "a1"]})
    assert isinstance(answer, PerFile)
    assert answer == PerFile(frozenset({"a1", "b2"}), {}, answer.meta, 0)


def test_207_has_a_result_for_each_file() -> None:
    """207: `errors` has the reason for each file that was not deleted."""
    faults = [{"fileId": "b2", "error": "locked"}]
    answer = read(207, {"successfullyDeletedFileIds": ["a1"], "errors": faults})
    assert isinstance(answer, PerFile)
    assert answer == PerFile(frozenset({"a1"}), {"b2": "locked"}, answer.meta, 0)


def test_207_without_a_deleted_file_is_read() -> None:
    """207: the list of deleted ids may be left out when every file failed."""
    answer = read(207, {"errors": [{"fileId": i, "error": "locked"} for i in SENT]})
    assert isinstance(answer, PerFile)
    assert not answer.deleted
    assert set(answer.errors) == set(SENT)


def test_ids_that_were_never_sent_are_dropped() -> None:
    """Ids that were not sent and invalid entries are ignored."""
    gone = ["a1", "zz", 7, None, ["b2"], {"fileId": "b2"}, "A1"]
    faults = [{"fileId": "yy", "error": "x"}, {"fileId": 1}, {"error": "x"}, "c3", None]
    answer = read(207, {"successfullyDeletedFileIds": gone, "errors": faults})
    assert isinstance(answer, PerFile)
    assert answer == PerFile(frozenset({"a1"}), {}, answer.meta, 11)


def test_an_id_in_both_lists_is_in_neither() -> None:
    """A contradictory result for a file is no result."""
    faults = [{"fileId": "a1", "error": "x"}]
    answer = read(207, {"successfullyDeletedFileIds": ["a1", "b2"], "errors": faults})
    assert isinstance(answer, PerFile)
    assert answer == PerFile(frozenset({"b2"}), {}, answer.meta, 0)


@pytest.mark.parametrize("reason", [None, 5, "", "  ", ["x"], {"message": "x"}])
def test_errors_without_a_readable_reason_still_count(reason: Any) -> None:
    """The vendor does not document the type of the reason. The file is still known to exist."""
    answer = read(207, {"successfullyDeletedFileIds": [], "errors": [{"fileId": "a1", "error": reason}]})
    assert isinstance(answer, PerFile)
    assert answer.errors == {"a1": "the API gave no reason"}


def test_404_names_what_is_missing() -> None:
    """404: the listed files do not exist, and nothing was deleted."""
    body = {"message": "The requested file(s) does not exist.", "help": "h", "missingFileIds": ["c3", "zz"]}
    answer = read(404, body)
    assert isinstance(answer, Missing)
    assert answer == Missing(frozenset({"c3"}), answer.meta, 1)


@pytest.mark.parametrize("missing", [["zz"], [], None, "a1", [["a1"]], {"a1": 1}])
def test_404_without_a_sent_id_is_a_refusal(missing: Any) -> None:
    """The call was refused as a whole."""
    answer = read(404, {"message": "gone?", "missingFileIds": missing})
    assert isinstance(answer, Refused)
    assert answer.message == "gone?"


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, {"message": "fileIds is empty.", "help": ""}, "fileIds is empty."),
        (400, {}, "HTTP 400 without a message"),
        (404, {"error": "x"}, "HTTP 404 without a message"),
        (413, {"message": "too large"}, "too large"),
        (413, b"<html>Request Entity Too Large</html>", "HTTP 413 without a message"),
        (409, {"message": "conflict"}, "conflict"),
        (422, {"message": "bad id"}, "bad id"),
    ],
)
def test_refused_as_a_whole(status: int, body: Any, message: str) -> None:
    """400, 413 and other 4xx with a message: the API does not say which id is at fault."""
    answer = read(status, body)
    assert isinstance(answer, Refused)
    assert answer.message == message


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"message": "Your account is disabled."}', b"[]"])
def test_key_refused(status: int, body: bytes) -> None:
    """401 and 403 mean that the key was refused, whatever the body."""
    answer = read(status, body)
    assert isinstance(answer, KeyRefused)
    assert answer.message in ("Your account is disabled.", f"HTTP {status} without a message")


@pytest.mark.parametrize("body", [b"", b"slow down", b'{"message": "slow down"}'])
def test_throttled(body: bytes) -> None:
    """The status is enough; the wait is in milliseconds."""
    answer = read(429, body, X_RateLimit_Limit="5", X_RateLimit_Interval="1000", X_RateLimit_Reset="733")
    assert isinstance(answer, Throttled)
    assert (answer.meta.reset_ms, answer.meta.limits) == (733, (Window(5, 1000),))


NOT_AN_OBJECT = [
    b"",
    b"<html><body>It works</body></html>",
    b'["a1"]',
    b'"a1"',
    b"7",
    b"null",
    b'{"successfullyDeletedFileIds": ["a1"',
    b'{"successfullyDeletedFileIds": ["a1"]} x',
    b'{"successfullyDeletedFileIds": ["\xff"]}',
    b'{"successfullyDeletedFileIds": ["a1"], "n": NaN}',
    b'{"successfullyDeletedFileIds": ["a1"], "n": ' + b"9" * 5000 + b"}",
    b'{"a":' * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    '{"successfullyDeletedFileIds": ["a1"]}'.encode("utf-16"),
]


@pytest.mark.parametrize("status", [200, 207, 400, 404, 410])
@pytest.mark.parametrize("body", NOT_AN_OBJECT, ids=range(len(NOT_AN_OBJECT)))
def test_a_body_that_is_not_a_json_object_is_unanswered(status: int, body: bytes) -> None:
    """Its effect is unknown."""
    answer = read(status, body)
    assert isinstance(answer, Unanswered)
    assert answer.sent


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {}),
        (200, {"message": "ok"}),
        (200, {"successfullyDeletedFileIds": None}),
        (200, {"successfullyDeletedFileIds": {"a1": True}}),
        (200, {"successfullyDeletedFileIds": "a1"}),
        (200, {"errors": [{"fileId": "a1", "error": "x"}]}),
        (207, {}),
        (207, {"errors": "a1"}),
    ],
)
def test_unexpected_json_is_unanswered(status: int, body: Any) -> None:
    """200 and 207 without their lists do not say what was done."""
    assert isinstance(read(status, body), Unanswered)


STRANGE = [100, 101, 103, 201, 204, 206, 300, 301, 302, 304, 308, 408, 425, 500, 502, 503, 504, 600, 999]


@pytest.mark.parametrize("status", STRANGE)
def test_other_statuses_are_unanswered(status: int) -> None:
    """Interim, other 2xx, redirects, 408, 425 and 5xx are ambiguous, whatever the body looks like."""
    answer = read(status, {"successfullyDeletedFileIds": SENT, "message": "fine"})
    assert isinstance(answer, Unanswered)
    assert answer.sent
    assert answer.reason == f"HTTP {status}: fine"


def test_a_byte_order_mark_is_ignored() -> None:
    """Some servers send one before JSON."""
    assert isinstance(read(200, b'\xef\xbb\xbf{"successfullyDeletedFileIds": ["a1"]}'), PerFile)


def test_a_failure_before_the_body_ended() -> None:
    """A 200 with an incomplete body is unanswered; for other statuses the status is enough."""
    cut = "no complete response (IncompleteRead)"

    def read_cut(status: int) -> Answer:
        return READER.read_delete(RawAnswer(status, {}, b"", cut), SENT)

    unanswered = read_cut(200)
    assert isinstance(unanswered, Unanswered)
    assert unanswered.reason == f"HTTP 200: {cut}"
    kinds = {status: type(read_cut(status)) for status in (401, 404, 413, 429)}
    assert kinds == {401: KeyRefused, 404: Unanswered, 413: Refused, 429: Throttled}


@pytest.mark.parametrize("sent", [True, False])
def test_no_status_at_all(*, sent: bool) -> None:
    """The answer says whether the call can have reached the server."""
    answer = READER.read_delete(RawAnswer(None, {}, b"", "no connection", sent=sent), SENT)
    assert isinstance(answer, Unanswered)
    assert (answer.sent, answer.reason, answer.meta.status) == (sent, "no connection", None)


def test_texts_of_the_server_are_cleaned_and_cut() -> None:
    """Control characters, line ends, bidirectional overrides and secrets are removed; 300 characters remain."""
    answer = read(400, {"message": "\x1b[31mred\r\nline \u202e private_secret\ud800 \x00" + "x" * 1000})
    assert isinstance(answer, Refused)
    assert answer.message.startswith("[31mred line *** xxx")
    assert len(answer.message) == 300
    answer.message.encode()
    faults = [{"fileId": "a1", "error": "\x9b2Jprivate_secret"}]
    listed = read(207, {"errors": faults}, x_ik_requestId="r\x1b1")
    assert isinstance(listed, PerFile)
    assert (listed.errors, listed.meta.request_id) == ({"a1": "2J***"}, "r 1")


@pytest.mark.parametrize(
    ("limits", "intervals", "windows"),
    [
        ("5", "1000", [Window(5, 1000)]),
        (" 100 , 1000", "1000,900000", [Window(100, 1000), Window(1000, 900_000)]),
        ("5, 5", "1000, 1000", [Window(5, 1000)]),
        ("0, 10", "1000, 2000", [Window(10, 2000)]),
        ("5, x", "1000, 2000", [Window(5, 1000)]),
        ("1000000", "2678400000", [Window(1_000_000, 2_678_400_000)]),
        ("1000001", "1000", []),
        ("5", "2678400001", []),
        ("5", None, []),
        (None, "1000", []),
        ("5, 10", "1000", []),
        ("", "", []),
        ("-5", "1000", []),
        ("5", "0", []),
        ("five", "1000", []),
        ("5e3", "1000", []),
        ("\u0665", "1000", []),
        ("NaN", "Infinity", []),
        ("9" * 400, "1000", []),
    ],
)
def test_limits(limits: str | None, intervals: str | None, windows: list[Window]) -> None:
    """`X-RateLimit-Limit` and `-Interval` are read in pairs; invalid ones are ignored."""
    assert list(read_limits(limits, intervals)) == windows


@pytest.mark.parametrize(
    ("text", "reset_ms"),
    [
        ("733", 733),
        ("733.2", 734),
        ("10, 900000", 900_000),
        ("10, soon", 10),
        ("2678400000", 2_678_400_000),
        ("2678400001", None),
        ("1700000000000", None),
        ("0", None),
        ("-1", None),
        ("", None),
        ("soon", None),
        (None, None),
        ("9" * 400, None),
    ],
)
def test_reset(text: str | None, reset_ms: int | None) -> None:
    """`X-RateLimit-Reset` is in ms, at most 31 days; the longest of a list is used."""
    assert read_reset(text) == reset_ms


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(SENT),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
KEYS = ["successfullyDeletedFileIds", "errors", "missingFileIds", "message", "help"]
ENTRIES = st.lists(st.fixed_dictionaries({}, optional={"fileId": JSON, "error": JSON}) | JSON, max_size=5)
BODIES = (
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.sampled_from(KEYS), ENTRIES | JSON).map(lambda value: json.dumps(value).encode())
)
STATUSES = st.none() | st.sampled_from([200, 207, 400, 401, 404, 413, 429, 500]) | st.integers(-1, 1000)
HEADERS = st.dictionaries(
    st.sampled_from(["X-RateLimit-Limit", "X-RateLimit-Interval", "X-RateLimit-Reset", "x-ik-requestId"]),
    st.text(max_size=12) | st.lists(st.integers(-1, 10**10)).map(lambda numbers: str(numbers)[1:-1]),
)


@given(status=STATUSES, body=BODIES, headers=HEADERS, failure=st.none() | st.text(max_size=5))
def test_any_answer_is_read(status: int | None, body: bytes, headers: dict[str, str], failure: str | None) -> None:
    """No status, header or body raises, and no id is returned that was not sent."""
    answer = READER.read_delete(RawAnswer(status, headers, body, failure), SENT)
    assert isinstance(answer, Answer)
    if isinstance(answer, PerFile):
        assert status in (200, 207)
        assert answer.deleted <= set(SENT)
        assert answer.errors.keys() <= set(SENT) - answer.deleted
    if isinstance(answer, Missing):
        assert status == 404
        assert set() < answer.file_ids <= set(SENT)


@given(st.text())
def test_cleaned_texts_can_go_anywhere(text: str) -> None:
    """A cleaned text is one printable line that can be encoded in UTF-8."""
    cleaned = clean(text)
    assert len(cleaned) <= 300
    cleaned.encode()
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in cleaned)
