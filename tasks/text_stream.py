"""Text that arrives in pieces, decoded, with line numbers, in constant memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, TextIO

from worker.errors import KitsweepError

CHUNK = 64 * 1024
"""Bytes or characters to read at once."""
MAX_PIECE = 1024 * 1024
"""Most characters in a line or JSON element; an object of the list API has some 2000."""

_GAP = re.compile(r"[ \t\r\n]*")
_NEAR_THE_END = 16
"""Characters; longer than any JSON literal or escape that the end of a chunk may cut."""
_NOT_UTF8 = "this is not UTF-8 text: save the file as UTF-8 (spreadsheets and PowerShell may write UTF-16)"


class InputError(KitsweepError, ValueError):
    """A mistake in a file of ids: its line, counted from 1, and what is wrong."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(line, problem)
        self.line = line
        self.problem = problem

    def __str__(self) -> str:
        return f"line {self.line}: {self.problem}"


class TextInput:
    """The part of a stream that was read and not consumed yet."""

    def __init__(self, stream: BinaryIO | TextIO) -> None:
        self._chunks = _chunks(stream)
        self.buffer = ""
        self.line = 1
        """Number of the buffer's first line."""

    def grow(self) -> bool:
        """Read more into the buffer; return False at the end of the stream."""
        chunk = next(self._chunks, "")
        self.buffer += chunk
        return bool(chunk)

    def drop(self, length: int) -> None:
        """Consume so many characters of the buffer."""
        self.line += self.buffer.count("\n", 0, length)
        self.buffer = self.buffer[length:]

    def first_line(self) -> str:
        """Consume leading blank lines and # comments; return the next line, stripped, or the start of it."""
        while True:
            end = self.buffer.find("\n")
            if end < 0 and len(self.buffer) < CHUNK and self.grow():
                continue
            line = (self.buffer if end < 0 else self.buffer[:end]).strip(" \t\r")
            if end < 0 or (line and not line.startswith("#")):
                return line
            self.drop(end + 1)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Consume and yield all lines, without their ends, each with its number."""
        number = self.line
        while True:
            *lines, self.buffer = self.buffer.split("\n")
            yield from enumerate(lines, number)
            number += len(lines)
            if len(self.buffer) > MAX_PIECE:
                raise InputError(number, f"the line is longer than {MAX_PIECE} characters")
            if not self.grow():
                break
        if self.buffer:
            yield number, self.buffer


class JsonCursor:
    """Steps through JSON text, one value or character at a time."""

    def __init__(self, text: TextInput) -> None:
        self._text = text
        self._decode = json.JSONDecoder().raw_decode
        self._at = 0
        self._counted = 0
        self._line = text.line

    @property
    def line(self) -> int:
        """Number of the current line."""
        self._line += self._text.buffer.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def peek(self) -> str:
        """Skip blanks and return the next character; empty at the end of the text."""
        while True:
            if gap := _GAP.match(self._text.buffer, self._at):
                self._at = gap.end()
            if self._at < len(self._text.buffer):
                return self._text.buffer[self._at]
            if not self._grow():
                return ""

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
                value, end = self._decode(self._text.buffer, self._at)
            except json.JSONDecodeError as error:
                if not self._is_cut(error) or not self._grow():
                    place = self._line + self._text.buffer.count("\n", self._at, error.pos)
                    raise InputError(place, f"this is not JSON ({error.msg})") from None
            except (ValueError, RecursionError):
                raise InputError(line, "the JSON is nested too deeply, or has a number with too many digits") from None
            else:
                self._at = end
                return line, value

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Return whether the error may only mean that the rest of the value has not been read yet."""
        length = len(self._text.buffer)
        if length - self._at > MAX_PIECE:
            raise InputError(self._line, f"an element is longer than {MAX_PIECE} characters")
        return error.msg.startswith("Unterminated") or error.pos >= length - _NEAR_THE_END

    def _grow(self) -> bool:
        """Drop what was consumed, and read more."""
        self._line = self.line
        self._text.buffer = self._text.buffer[self._at :]
        self._at = self._counted = 0
        return self._text.grow()


def _chunks(stream: BinaryIO | TextIO) -> Iterator[str]:
    """Yield the stream's text in pieces that are not empty, without a byte order mark."""
    line = 1
    mark = "\ufeff"
    for text in _decoded(stream):
        if text is None:
            raise InputError(line, _NOT_UTF8)
        line += text.count("\n")
        if piece := text.removeprefix(mark):
            yield piece
        mark = "" if text else mark


def _decoded(stream: BinaryIO | TextIO) -> Iterator[str | None]:
    """Yield the stream's text up to its end; or up to a byte that is not UTF-8, and then None."""
    read = getattr(stream, "read1", stream.read)  # read1 does not wait for a whole chunk from a slow pipe
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while data := read(CHUNK):
            yield data if isinstance(data, str) else decoder.decode(data)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        yield error.object[: error.start].decode("utf-8", "ignore")
        yield None
