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
import json
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import BinaryIO, TextIO

from tasks.text_stream import InputError, JsonCursor, TextInput
from worker.queue.validation import check_file_id, is_file_id
from worker.text import quote

__all__ = ["Form", "Found", "InputError", "read_file_ids"]

Found = Iterator[tuple[int, str]]
"""Line numbers, counted from 1, and the file id in each."""

_ID_NAMES = frozenset({"fileid", "file_id"})
_DELIMITERS = (",", ";", "\t")
_BLANK = " \t\r"
_NO_COLUMN = "this looks like CSV, but no column is called fileId or file_id: name the column, or the format"
_IS_FOLDER = "this is a folder: it has no fileId, and the call deletes only files; remove it from the list"
_IS_VERSION = "this is one version of a file, but its id would delete all of them; remove it from the list"


class Form(StrEnum):
    """Format of a file of ids."""

    LINES = "lines"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


def read_file_ids(stream: BinaryIO | TextIO, form: Form | None = None) -> Found:
    """Yield each file id with its line number, in the order of the file, duplicates included.

    Without a `form`, it is detected from the first line of content. Raises `InputError` after the ids that precede the
    mistake.
    """
    text = TextInput(stream)
    first = text.first_line()
    yield from _READERS[form or _detect(text.line, first)](text)


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


def _read_lines(text: TextInput) -> Found:
    for number, line in text.lines():
        if is_file_id(line) and line[0] != "#":
            yield number, line
            continue
        file_id = line.strip(_BLANK)
        if file_id and not file_id.startswith("#"):
            yield number, _checked(file_id, number)


def _read_jsonl(text: TextInput) -> Found:
    for number, line in text.lines():
        entry = line.strip(_BLANK)
        if entry and not entry.startswith("#"):
            yield number, _id_of(_value(entry, number), number)


def _value(entry: str, line: int) -> object:
    try:
        value: object = json.loads(entry)
    except RecursionError:
        raise InputError(line, "the JSON is nested too deeply") from None
    except ValueError as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else "a number with too many digits"
        raise InputError(line, f"not one JSON value on one line ({why})") from None
    return value


def _read_json(text: TextInput) -> Found:
    cursor = JsonCursor(text)
    if cursor.take() != "[":
        raise InputError(cursor.line, "expected a JSON array, which starts with [")
    mark = cursor.take() if cursor.peek() == "]" else ","
    while mark == ",":
        line, value = cursor.value()
        yield line, _id_of(value, line)
        mark = cursor.take()
    if mark != "]":
        found = f"found {quote(mark)}" if mark else "the file ends here; was it cut off?"
        raise InputError(cursor.line, f"expected , or ] after an element of the array: {found}")
    if cursor.peek():
        raise InputError(cursor.line, "there is text after the end of the array; only one array can be read")


def _read_csv(text: TextInput) -> Found:
    delimiter = _delimiter(text.first_line())
    if delimiter is None:
        raise InputError(text.line, _NO_COLUMN)
    rows = _rows(text, delimiter)
    line, header = next(rows)
    names = [name.strip().lower() for name in header]
    column, *others = [index for index, name in enumerate(names) if name in _ID_NAMES]
    if others:
        raise InputError(line, "more than one column of the CSV header is called fileId or file_id; keep one")
    kind_column = names.index("type") if "type" in names else len(names)
    for line, row in rows:
        _check_length(row, column, len(names), line)
        _check_kind(row[kind_column] if kind_column < len(row) else None, line)
        yield line, _checked(row[column].strip(), line)


def _check_length(row: Sequence[str], column: int, names: int, line: int) -> None:
    """Refuse rows whose fields may not be in their columns."""
    if len(row) <= column:
        raise InputError(line, f"the row has {len(row)} fields; the file id is missing in field {column + 1}")
    if any(row[names:]):
        raise InputError(line, f"the row has {len(row)} fields, the header {names}; is a quote missing?")


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


def _rows(text: TextInput, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield rows that are not blank, with the number of the line in which each starts."""
    before = text.line - 1
    reader = csv.reader((line + "\n" for _, line in text.lines()), delimiter=delimiter, strict=True)
    while True:
        line = before + reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(line, f"not CSV ({error}); is a quote missing?") from None
        if any(field.strip() for field in row):
            yield line, row


def _id_of(value: object, line: int) -> str:
    """Return the id in a JSON element: a string, or an object of the list API."""
    if isinstance(value, str):
        return _checked(value, line)
    if not isinstance(value, dict):
        raise InputError(line, f"expected a file id in quotes or an object with fileId, not {quote(value)}")
    _check_kind("folder" if "folderId" in value else value.get("type"), line)
    for name in ("fileId", "file_id"):
        if name in value:
            return _checked(value[name], line)
    raise InputError(line, "the object has no fileId")


def _check_kind(kind: object, line: int) -> None:
    """Refuse folders and versions, which the list API also returns."""
    if kind == "folder":
        raise InputError(line, _IS_FOLDER)
    if kind == "file-version":
        # Its id is that of the whole file, and the bulk call deletes a file with all its versions.
        raise InputError(line, _IS_VERSION)


def _checked(value: object, line: int) -> str:
    try:
        return check_file_id(value)
    except ValueError as error:
        raise InputError(line, str(error)) from None


_READERS = {Form.LINES: _read_lines, Form.CSV: _read_csv, Form.JSON: _read_json, Form.JSONL: _read_jsonl}
