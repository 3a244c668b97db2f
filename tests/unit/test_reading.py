"""Files of ids: every format, every mistake with its line, as a stream in constant memory."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.id_files import Form, InputError, read_file_ids
from worker.queue.validation import (
    check_file_id,
    check_hold_seconds,
    check_reason,
    check_request_id,
    check_result_ttl,
    check_source,
)
from worker.text import quote

BOM = b"\xef\xbb\xbf"
A, B, C = "598821f949c0a938d57563bd", "598821f949c0a938d57563be", "x-3"


class Pieces(io.RawIOBase):
    """A pipe that hands out its bytes in the pieces in which they were written."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next piece, whatever size was asked for."""
        return next(self._pieces, b"")


def read(data: bytes | str, form: Form | None = None) -> list[tuple[int, str]]:
    """All ids of a file with their lines."""
    return list(read_file_ids(io.BytesIO(data.encode() if isinstance(data, str) else data), form))


def ids(data: bytes | str, form: Form | None = None) -> list[str]:
    """All ids of a file."""
    return [file_id for _, file_id in read(data, form)]


def fault(data: bytes | str, form: Form | None = None) -> InputError:
    """Read a file up to the error that it ends in."""
    with pytest.raises(InputError) as caught:
        read(data, form)
    return caught.value


FILE = {"type": "file", "fileId": A, "name": "a.jpg", "tags": None, "versionInfo": {"id": "v"}}
OTHER = {"fileId": B, "filePath": '/a "b", \u00e4/\U0001f600.jpg'}
FORMS: dict[str, tuple[Form, str]] = {
    "lines": (Form.LINES, f"{A}\n{B}\n{C}\n"),
    "no last line end": (Form.LINES, f"{A}\n{B}\n{C}"),
    "blanks and comments": (Form.LINES, f"\n  # ids, to go\r\n\t\r\n{A}\r\n  {B}\t\n#{A}\n\n{C}\r\n\n"),
    "csv": (Form.CSV, f"name,fileId,size\na.jpg,{A},1\nb.jpg,{B},2\n\nc.jpg,{C},3\n"),
    "csv of one column": (Form.CSV, f"file_id\r\n{A}\r\n{B}\r\n{C}\r\n"),
    "csv in quotes": (Form.CSV, f'"name","FileId"\n"a, ""b""\nc",{A}\n"b","{B}"\n,{C}\n'),
    "csv with semicolons": (Form.CSV, f"name; file_id ;\nx;{A};\ny; {B} ;\nz;{C}\n"),
    "csv with tabs": (Form.CSV, f"# from the dashboard\nfile_id\tname\n{A}\tx\n{B}\n{C}\tz\t\n"),
    "csv with a type": (Form.CSV, f"type,fileId\nfile,{A}\n,{B}\nimage,{C}\n"),
    "json": (Form.JSON, json.dumps([A, B, C])),
    "json over lines": (Form.JSON, json.dumps([A, B, C], indent=2) + "\n\n"),
    "json of objects": (Form.JSON, json.dumps([FILE, OTHER, {"file_id": C}], indent=1)),
    "json after a comment": (Form.JSON, f"\n# x\n [\r\n'{A}', '{B}' ,'{C}' ]".replace("'", '"')),
    "jsonl": (Form.JSONL, f'"{A}"\n\n "{B}" \n# x\n"{C}"'),
    "jsonl of objects": (Form.JSONL, "\n".join(json.dumps(entry) for entry in (FILE, OTHER, {"file_id": C}))),
}


@pytest.mark.parametrize("mark", [b"", BOM], ids=["", "BOM"])
@pytest.mark.parametrize("named", [False, True], ids=["recognised", "named"])
@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_ids(name: str, mark: bytes, *, named: bool) -> None:
    """Each format is detected and read, in pieces of any size."""
    form, text = FORMS[name]
    wanted = form if named else None
    data = mark + text.encode()
    assert ids(data, wanted) == [A, B, C]
    pipe = Pieces(data[n : n + 1] for n in range(len(data)))
    assert [file_id for _, file_id in read_file_ids(cast("Any", pipe), wanted)] == [A, B, C]


@pytest.mark.parametrize("form", [None, Form.LINES, Form.JSONL])
def test_an_empty_file_has_no_ids(form: Form | None) -> None:
    """An empty file, or one of blank lines and comments, has no ids and is no error."""
    assert ids(b"", form) == ids(b"\n \n# nothing here, yet\n", form) == ids(BOM + b"# x", form) == []


def test_empty_containers_hold_no_ids() -> None:
    """An empty array and a header alone are fine."""
    assert ids(b" [ ] \n") == ids(b"fileId,name\n") == []


def test_duplicates_are_left_to_the_queue() -> None:
    """Ids are read in the order of the file, duplicates included."""
    assert ids(f"{B}\n{A}\n{B}\n") == [B, A, B]


def test_line_numbers_are_those_of_an_editor() -> None:
    """Comments, blank lines, headers and line ends within quotes count."""
    assert [n for n, _ in read(f"# x\n\n{A}\n\n{B}")] == [3, 5]
    assert [n for n, _ in read(f'\nfileId,name\n{A},"x\ny"\n\n{B},z\n')] == [3, 6]
    assert [n for n, _ in read(json.dumps([{"fileId": A}, {"fileId": B}], indent=0))] == [2, 5]
    assert [n for n, _ in read(f'#\n"{A}"\n\n"{B}"')] == [2, 4]


def one(entry: Any) -> str:
    """Write a JSON array with one entry, in its second line."""
    return "[\n" + (entry if isinstance(entry, str) else json.dumps(entry)) + "\n]"


FAULTS: list[tuple[bytes | str, Form | None, int, str]] = [
    (f"{A}\n\nsp ace\n", None, 3, "without spaces"),
    (f"{A}\nbell\x07\n", None, 2, "control"),
    (f"{A}\nhid\u200bden\n", None, 2, "invisible"),
    (f"{A}\n{'x' * 257}\n", None, 2, "257 characters"),
    (f"{A}\rb\n", None, 1, "control"),
    (f"{A}\n".encode() + b"\xff\xfe\n", None, 2, "not UTF-8"),
    (f"{A}\n".encode() + b"abc\xc3", None, 2, "not UTF-8"),
    (f"{A}\n".encode("utf-16"), None, 1, "UTF-16"),
    (f"name,url\na,{A}\n", None, 1, "fileId"),
    (f"# x\nname,url\na,{A}\n", Form.CSV, 2, "fileId"),
    ("", Form.CSV, 1, "fileId"),
    (f"fileId,file_id\n{A},{B}\n", None, 1, "more than one"),
    (f"name,fileId\na,{A}\nb\n", None, 3, "missing in field 2"),
    (f"name,fileId\na,{A}\nb,\n", None, 3, "an empty text"),
    (f"name,fileId\na,b,{A}\n", None, 2, "3 fields, the header 2"),
    (f'fileId,name\n{A},"x\n', None, 2, "quote"),
    (f'fileId,name\n{A},"x"y\n', None, 2, "quote"),
    (f"fileId,type\n{A},file\n{B},folder\n", None, 3, "folder"),
    (f"fileId,type\n{A},file-version\n", None, 2, "all of them"),
    (one({"type": "folder", "folderId": A, "name": "f"}), None, 2, "folder"),
    (one({"folderId": A}), None, 2, "folder"),
    (one({"type": "file-version", "fileId": A}), None, 2, "all of them"),
    (one({"name": "x"}), None, 2, "no fileId"),
    (one({"fileId": None}), None, 2, "not None"),
    (one({"fileId": 5}), None, 2, "not 5"),
    (one({"fileId": [A]}), None, 2, "type list"),
    (one(","), None, 2, "not JSON"),
    (one('""'), None, 2, "an empty text"),
    (one(f'" {A}"'), None, 2, "without spaces"),
    (one('"\\ud800"'), None, 2, "invisible"),
    (one(5), None, 2, "not 5"),
    (one(None), None, 2, "not None"),
    (one([[A]]), None, 2, "type list"),
    (one("NaN"), None, 2, "not nan"),
    (one("9" * 5000), None, 2, "too many digits"),
    (one("[" * 100_000), None, 2, "nested"),
    (one(f'"{A}",'), None, 3, "not JSON"),
    (one(f'"{A}" "{B}"'), None, 2, "found '\"'"),
    (one('{"fileId":\nabc}') + " " * 100, None, 3, "not JSON"),
    (f'["{A}"', None, 1, "cut off"),
    (f'["{A}",', None, 1, "not JSON"),
    (f'["{A}', None, 1, "not JSON"),
    ("[", None, 1, "not JSON"),
    (f'["{A}"]\n["{B}"]', None, 2, "after the end"),
    (f'{{"fileId": "{A}"}}', Form.JSON, 1, "starts with ["),
    ("", Form.JSON, 1, "starts with ["),
    (f'"{A}"\n"{B}\n', None, 2, "not one JSON value"),
    (json.dumps({"fileId": A}, indent=1), None, 1, "not one JSON value"),
    (f'{{"fileId": "{A}"}} x', None, 1, "not one JSON value"),
    ('{"a":' * 100_000, None, 1, "nested"),
    (f'"{A}"\n{A}\n', None, 2, "not one JSON value"),
    ("5\n", Form.JSONL, 1, "not 5"),
    ("x" * 1_200_000, Form.LINES, 1, "longer than"),
    (f'["{A}",\n"{"x" * 1_200_000}', None, 2, "longer than"),
]


@pytest.mark.parametrize(("data", "form", "line", "words"), FAULTS, ids=range(len(FAULTS)))
def test_errors_name_the_line(data: bytes | str, form: Form | None, line: int, words: str) -> None:
    """The error says what is wrong, and in which line."""
    error = fault(data, form)
    assert (error.line, words in error.problem) == (line, True), str(error)
    assert str(error) == f"line {line}: {error.problem}"
    assert str(error).isprintable()
    assert len(str(error)) < 250


def test_ids_before_a_mistake_are_yielded() -> None:
    """The ids before a mistake are yielded, up to its line."""
    stream = read_file_ids(io.BytesIO(f"{A}\n{B}\n".encode() + b"\xff"))
    assert [next(stream), next(stream)] == [(1, A), (2, B)]
    with pytest.raises(InputError):
        next(stream)


def test_a_slow_pipe_is_read_as_it_comes() -> None:
    """An id is yielded as soon as its line has arrived."""

    def slow() -> Iterator[bytes]:
        yield f"{A}\n{B}\n".encode()
        raise AssertionError("read on, though two ids were there")

    found = read_file_ids(cast("Any", Pieces(slow())))
    assert [next(found), next(found)] == [(1, A), (2, B)]


TOKENS = ["fileId", A, ",", "\n", '"', "[", "]", "{", "}", ":", " ", "#", ";", "\\"]


@pytest.mark.parametrize("form", [None, *Form])
@given(
    data=st.binary(max_size=200)
    | st.text(max_size=100).map(str.encode)
    | st.lists(st.sampled_from(TOKENS)).map(lambda parts: "".join(parts).encode())
)
def test_any_bytes_give_ids_or_our_error(form: Form | None, data: bytes) -> None:
    """No input raises anything else; every id is valid, and line numbers never decrease."""
    found: list[tuple[int, str]] = []
    with contextlib.suppress(InputError):
        found.extend(read_file_ids(io.BytesIO(data), form))
    assert [check_file_id(file_id) for _, file_id in found] == [file_id for _, file_id in found]
    lines = [line for line, _ in found]
    assert lines == sorted(lines)


def test_a_reader_may_be_dropped_after_its_stream_was_closed() -> None:
    """A command that ends early closes the file first; nothing is printed then."""
    stream = io.BytesIO(b"a1\na2\n")
    found = read_file_ids(stream)
    assert next(found) == (1, "a1")
    stream.close()
    found.close()  # type: ignore[attr-defined]


def million_lines(count: int) -> Iterator[bytes]:
    return (f"{n:024x}\n".encode() for n in range(count))


def million_in_json(count: int) -> Iterator[bytes]:
    yield b"["
    for n in range(count):
        yield b'%b{"type":"file","fileId":"%024x","tags":null}' % (b"," if n else b"", n)
    yield b"]"


def million_in_csv(count: int) -> Iterator[bytes]:
    yield b"name,fileId\n"
    yield from (b'"f %d",%024x\n' % (n, n) for n in range(count))


class Gathered(Pieces):
    """A file that is made up while it is read, in whole chunks."""

    def read(self, size: int = -1) -> bytes:
        """Make up at least as much as was asked for."""
        gathered = bytearray()
        while len(gathered) < size and (piece := next(self._pieces, b"")):
            gathered += piece
        return bytes(gathered)


@pytest.mark.parametrize("write", [million_lines, million_in_json, million_in_csv])
def test_memory_is_flat(write: Callable[[int], Iterator[bytes]]) -> None:
    """Peak memory does not grow with the number of ids."""

    def peak(count: int) -> int:
        gc.collect()
        tracemalloc.start()
        try:
            assert sum(1 for _ in read_file_ids(cast("Any", Gathered(write(count))))) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(100_000) < peak(20_000) * 1.2 < 3_000_000


def test_a_million_lines_take_about_a_second() -> None:
    """Reading and checking a million ids is fast (measured: below a second)."""
    data = io.BytesIO(b"".join(million_lines(1_000_000)))
    start = time.process_time()
    assert sum(1 for _ in read_file_ids(data)) == 1_000_000
    assert time.process_time() - start < 5


@pytest.mark.parametrize("value", ["a", "A" * 256, "598821f949c0a938d57563bd", "ä/ö?x=1&y", "#", "\U0001f600"])
def test_file_ids(value: str) -> None:
    """The vendor types a file id as any string; printable ones up to 256 characters pass."""
    assert check_file_id(value) is value


BAD_IDS = ["", " ", "a b", " a", "a\n", "a\t", "\x00", "\x1b[2J", "\x7f", "\x9b", "\xa0", "\u2028", "\u3000"]
HIDDEN = ["\u200b", "\u202e", "\u2066", "\ufeff", "\xad", "\ud800", "a" * 257]


@pytest.mark.parametrize("value", [*BAD_IDS, *HIDDEN, None, 5, b"a", ["a"], True, -(10**30)])
def test_no_file_ids(value: Any) -> None:
    """Anything else is refused; the error states the rule and quotes the value safely."""
    with pytest.raises(ValueError, match="a file id is 1 to 256 characters without spaces") as caught:
        check_file_id(value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_sources() -> None:
    """A source is a short name that is safe in a key."""
    assert check_source("catalog-2_x.Y") == "catalog-2_x.Y"
    for value in ["", "a b", "cleanup:x", "ä", "x" * 65, "x\n", "{a}", None, 5]:
        with pytest.raises(ValueError, match="a source is 1 to 64 of the characters"):
            check_source(value)


def test_request_ids() -> None:
    """A request id is a task id of Celery's, or one that the caller chose, safe in a key."""
    assert check_request_id("3e7f6a34-5ddc-4a44-a2b3-f31d0c1a2b44") == "3e7f6a34-5ddc-4a44-a2b3-f31d0c1a2b44"
    assert check_request_id("cleanup:x.1_2") == "cleanup:x.1_2"
    for value in ["", "a b", "a/b", "x" * 129, "x\n", None, 5]:
        with pytest.raises(ValueError, match="a request id is 1 to 128 of the characters"):
            check_request_id(value)


def test_reasons() -> None:
    """A reason is None, or one line of text."""
    assert check_reason(None) is None
    assert check_reason("") == ""
    assert check_reason("user asked: “ä b”" + "x" * 400) == "user asked: “ä b”" + "x" * 400
    for value in ["x" * 501, "a\nb", "\x1b[31m", "\u202e", "\ud800", 5, ["x"]]:
        with pytest.raises(ValueError, match="a reason is a text of at most 500"):
            check_reason(value)


def test_holds() -> None:
    """A hold is a finite number of seconds from 0 to ten years."""
    for hold in (0, 0.5, 86_400, 316_224_000):
        assert check_hold_seconds(hold) == hold
    for value in [-1, -0.001, 316_224_001, float("nan"), float("inf"), 10**400, True, "5", None]:
        with pytest.raises(ValueError, match="a hold is a number of seconds"):
            check_hold_seconds(value)


def test_result_ttls() -> None:
    """A result is kept for a whole number of seconds from a minute to ten years, or as the settings say."""
    for seconds in (None, 60, 315_360_000):
        assert check_result_ttl(seconds) == seconds
    for value in [59, 0, -1, 315_360_001, 86_400.5, 3600.0, True, "3600", [60]]:
        with pytest.raises(ValueError, match="a result is kept for a whole number of seconds from 60 to 315360000"):
            check_result_ttl(value)


@given(st.text() | st.integers() | st.floats() | st.binary() | st.none())
def test_quoted_values_are_harmless(value: object) -> None:
    """A quoted value is one short, printable line."""
    assert quote(value).isprintable()
    assert len(quote(value)) < 100


@pytest.mark.parametrize(
    "text",
    [
        f'[{{"fileId": "{A}", "url": "https://h/a.jpg?updatedAt=1"}}, "{B}"]',
        f'{{"fileId": "{A}", "url": "https://h/a.jpg"}}\n"{B}"\n',
        f"fileId,url\n{A},https://h/a.jpg?x\n{B},\n",
    ],
)
def test_urls_of_files_are_read_if_they_are_wanted(text: str) -> None:
    """In objects of the list API and in a column; a URL that cannot be purged names its line."""
    urls: dict[str, str] = {}
    assert [file_id for _, file_id in read_file_ids(io.BytesIO(text.encode()), urls=urls)] == [A, B]
    assert urls == {A: "https://h/a.jpg"}
    broken = io.BytesIO(text.replace("https://h/a.jpg", "https://h/*").encode())
    with pytest.raises(InputError, match="the URL of a file is"):
        list(read_file_ids(broken, urls=urls))
    broken.seek(0)
    assert len(list(read_file_ids(broken))) == 2
