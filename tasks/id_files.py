"""Reads file ids from files and pipes, as a stream in constant memory, in four formats.

========  ======================================================================================
lines     one id per line; blank lines and lines that start with # are skipped
csv       a header with a column `fileId` or `file_id`, any other columns, fields in quotes or not
json      one array, of ids or of the objects that ImageKit's list API returns
jsonl     one id in quotes, or one such object, per line
========  ======================================================================================

In every format, blank lines and # comments may precede the content. Text is UTF-8, with or without a byte order mark.
Every mistake raises an `InputError` that names the line.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from itertools import chain, count
from typing import Any, BinaryIO

from worker.errors import KitsweepError
from worker.queue.validation import Urls, check_file_id, is_file_id, keep_url
from worker.text import quote

Numbered = Iterator[tuple[int, str]]
"""Texts, each with the number of its line, counted from 1."""

MAX_PIECE = 1024 * 1024
"""Most characters in a line or JSON element; an object of the list API has some 2000."""
_CHUNK = 64 * 1024
_NEAR_THE_END = 16
"""Characters; longer than any JSON literal or escape that the end of a chunk may cut."""
_ID_NAMES = frozenset({"fileid", "file_id"})
_DELIMITERS = (",", ";", "\t")
_BLANK = " \t\r\n"
_GAP = re.compile(f"[{_BLANK}]*")
_UNDECODED = re.compile("[\udc80-\udcff]")
"""What the error handler `surrogateescape` makes of bytes that are not UTF-8."""
_NOT_UTF8 = "this is not UTF-8 text: save the file as UTF-8 (spreadsheets and PowerShell may write UTF-16)"
_NO_COLUMN = "this looks like CSV, but no column is called fileId or file_id: name the column, or the format"
_IS_FOLDER = "this is a folder: it has no fileId, and the call deletes only files; remove it from the list"
_IS_VERSION = "this is one version of a file, but its id would delete all of them; remove it from the list"


class InputError(KitsweepError, ValueError):
    """A mistake in a file of ids: its line, counted from 1, and what is wrong."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(line, problem)
        self.line = line
        self.problem = problem

    def __str__(self) -> str:
        return f"line {self.line}: {self.problem}"


class Form(StrEnum):
    """Format of a file of ids."""

    LINES = "lines"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


def read_file_ids(stream: BinaryIO, form: Form | None = None, urls: Urls | None = None) -> Numbered:
    """Yield each file id with its line number, in the order of the file, duplicates included.

    URLs of files, in objects and in a column `url`, are put into `urls`, if given. Without a `form`, it is detected
    from the first line of content. Raises `InputError` after the ids that precede the
    mistake.
    """
    text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="\n")
    try:
        lines = _lines(text)
        line, first = next(_contents(lines), (1, ""))
        match form or _detect(line, first.strip(_BLANK)):
            case Form.LINES:
                yield from _read_lines(chain([(line, first)], lines))
            case Form.CSV:
                yield from _read_csv(line, first, lines, urls)
            case Form.JSON:
                yield from _read_json(_JsonText(text.read, line, first), urls)
            case Form.JSONL:
                yield from _read_jsonl(chain([(line, first)], lines), urls)
    finally:
        if not stream.closed:
            text.detach()  # The stream is the caller's to close.


def _lines(text: io.TextIOWrapper) -> Numbered:
    """Yield all lines with their ends, and of a JSON array on a single line at least the beginning."""
    for number in count(1):
        line = text.readline(MAX_PIECE + 1)
        if not line:
            return
        if not line.isascii() and _UNDECODED.search(line):
            raise InputError(number, _NOT_UTF8)
        if len(line) > MAX_PIECE and not line.lstrip(_BLANK).startswith("["):
            raise InputError(number, f"the line is longer than {MAX_PIECE} characters")
        yield number, line


def _contents(lines: Numbered) -> Numbered:
    """Yield the lines that are neither blank nor a comment."""
    return ((number, line) for number, line in lines if line.lstrip(_BLANK)[:1] not in {"", "#"})


def _detect(line: int, first: str) -> Form:
    """Detect the format from the first line of content; refuse CSV that would be taken for lines."""
    if first.startswith("["):
        return Form.JSON
    if first.startswith("{"):
        return Form.JSONL
    if _delimiter(first):
        return Form.CSV
    if first.startswith('"'):
        return Form.JSONL
    if any(delimiter in first for delimiter in _DELIMITERS) and not first.startswith("#"):
        raise InputError(line, _NO_COLUMN)
    return Form.LINES


def _read_lines(lines: Numbered) -> Numbered:
    for number, line in lines:
        file_id = line.strip(_BLANK)
        if file_id and file_id[0] != "#":
            yield number, file_id if is_file_id(file_id) else _checked(file_id, number)


def _read_jsonl(lines: Numbered, urls: Urls | None) -> Numbered:
    for number, line in _contents(lines):
        try:
            value = json.loads(line)
        except RecursionError:
            raise InputError(number, "the JSON is nested too deeply") from None
        except ValueError as error:
            why = error.msg if isinstance(error, json.JSONDecodeError) else "a number with too many digits"
            raise InputError(number, f"not one JSON value on one line ({why})") from None
        yield number, _id_of(value, number, urls)


def _read_json(text: _JsonText, urls: Urls | None) -> Numbered:
    if text.take() != "[":
        raise InputError(text.line, "expected a JSON array, which starts with [")
    mark = text.take() if text.peek() == "]" else ","
    while mark == ",":
        line, value = text.value()
        yield line, _id_of(value, line, urls)
        mark = text.take()
    if mark != "]":
        found = f"found {quote(mark)}" if mark else "the file ends here; was it cut off?"
        raise InputError(text.line, f"expected , or ] after an element of the array: {found}")
    if text.peek():
        raise InputError(text.line, "there is text after the end of the array; only one array can be read")


class _JsonText:
    """Steps through JSON text, one value or character at a time."""

    def __init__(self, read: Callable[[int], str], line: int, start: str) -> None:
        self.line = line
        """Number of the current line."""
        self._read = read
        self._buffer = start
        self._at = 0

    def peek(self) -> str:
        """Skip blanks and return the next character; empty at the end of the text."""
        while True:
            if gap := _GAP.match(self._buffer, self._at):
                self._go_to(gap.end())
            if self._at < len(self._buffer) or not self._grow():
                return self._buffer[self._at : self._at + 1]

    def take(self) -> str:
        """Skip blanks and consume one character; empty at the end of the text."""
        mark = self.peek()
        self._at += len(mark)
        return mark

    def value(self) -> tuple[int, Any]:
        """Skip blanks and consume one value; return the number of its first line, and the value."""
        self.peek()
        line = self.line
        while True:
            try:
                value, end = _DECODE(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if not self._is_cut(error) or not self._grow():
                    at_line = line + self._buffer.count("\n", self._at, error.pos)
                    raise InputError(at_line, f"this is not JSON ({error.msg})") from None
            except (ValueError, RecursionError):
                raise InputError(line, "the JSON is nested too deeply, or has a number with too many digits") from None
            else:
                self._go_to(end)
                return line, value

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Return whether the error may only mean that the rest of the value has not been read yet."""
        length = len(self._buffer)
        if length - self._at > MAX_PIECE:
            raise InputError(self.line, f"an element is longer than {MAX_PIECE} characters")
        return error.msg.startswith("Unterminated") or error.pos >= length - _NEAR_THE_END

    def _go_to(self, end: int) -> None:
        self.line += self._buffer.count("\n", self._at, end)
        self._at = end

    def _grow(self) -> bool:
        """Drop what was consumed, and read more; return False at the end of the text."""
        chunk = self._read(_CHUNK)
        if chunk:
            self._buffer, self._at = self._buffer[self._at :] + chunk, 0
        if not chunk.isascii() and (bad := _UNDECODED.search(self._buffer)):
            raise InputError(self.line + self._buffer.count("\n", 0, bad.start()), _NOT_UTF8)
        return bool(chunk)


def _read_csv(line: int, header: str, lines: Numbered, urls: Urls | None) -> Numbered:
    delimiter = _delimiter(header.strip(_BLANK))
    if delimiter is None:
        raise InputError(line, _NO_COLUMN)
    rows = _rows(line, chain([header], (text for _, text in lines)), delimiter)
    names = [name.strip().lower() for name in next(rows)[1]]
    column, *others = [index for index, name in enumerate(names) if name in _ID_NAMES]
    if others:
        raise InputError(line, "more than one column of the CSV header is called fileId or file_id; keep one")
    for number, row in rows:
        # The fields of a row with fewer or more of them may not be in their columns.
        if len(row) <= column:
            raise InputError(number, f"the row has {len(row)} fields; the file id is missing in field {column + 1}")
        if any(row[len(names) :]):
            raise InputError(number, f"the row has {len(row)} fields, the header {len(names)}; is a quote missing?")
        fields = dict(zip(names, row, strict=False))
        _check_kind(fields.get("type"), number)
        yield number, _checked(row[column].strip(), number, fields.get("url"), urls)


def _rows(first: int, lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield rows that are not blank, with the number of the line in which each starts."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    number = first
    try:
        for row in reader:
            if any(field.strip() for field in row):
                yield number, row
            number = first + reader.line_num
    except csv.Error as error:
        raise InputError(number, f"not CSV ({error}); is a quote missing?") from None


def _delimiter(header: str) -> str | None:
    """Return the delimiter with which a header has a column of file ids; None if there is none."""
    for delimiter in _DELIMITERS:
        try:
            fields = next(csv.reader([header], delimiter=delimiter), [])
        except csv.Error:
            continue
        if any(field.strip().lower() in _ID_NAMES for field in fields):
            return delimiter
    return None


def _id_of(value: object, line: int, urls: Urls | None) -> str:
    """Return the id in a JSON element: a string, or an object of the list API."""
    if isinstance(value, str):
        return _checked(value, line)
    if not isinstance(value, dict):
        raise InputError(line, f"expected a file id in quotes or an object with fileId, not {quote(value)}")
    _check_kind("folder" if "folderId" in value else value.get("type"), line)
    if not value.keys() & {"fileId", "file_id"}:
        raise InputError(line, "the object has no fileId")
    return _checked(value["fileId"] if "fileId" in value else value["file_id"], line, value.get("url"), urls)


def _check_kind(kind: object, line: int) -> None:
    """Refuse folders and versions, which the list API also returns."""
    if kind == "folder":
        raise InputError(line, _IS_FOLDER)
    if kind == "file-version":
        # Its id is that of the whole file, and the bulk call deletes a file with all its versions.
        raise InputError(line, _IS_VERSION)


def _checked(value: object, line: int, url: object = None, urls: Urls | None = None) -> str:
    try:
        file_id = check_file_id(value)
        keep_url(urls, file_id, url)
    except ValueError as error:
        raise InputError(line, str(error)) from None
    return file_id


_DECODE = json.JSONDecoder().raw_decode
