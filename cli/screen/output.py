"""What the command line writes: data to standard output, words to standard error.

Ids, reasons and error texts come from outside. Nothing of them reaches a terminal unescaped: every character that
is not printable is written as an escape, and nothing is ever read as Rich's markup.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def clean(text: object) -> str:
    """Return a text in which every character that is not printable is escaped, line ends included."""
    return "".join(char if char.isprintable() else _escaped(char) for char in str(text))


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")


def is_terminal(stream: TextIO) -> bool:
    """Whether a person reads (or types) there; false for a closed stream."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def data(line: str) -> None:
    """Write one line of data."""
    _write(sys.stdout, line)


def words(line: str) -> None:
    """Write one line for people, beside the data."""
    _write(sys.stderr, line)


def _write(stream: TextIO, line: str) -> None:
    # What the encoding of the stream cannot hold is escaped rather than a crash.
    encoding = stream.encoding or "utf-8"
    stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def json_data(value: Mapping[str, Any]) -> None:
    """Write one JSON object: on one line for programs, indented on a terminal. ASCII only."""
    indent = 2 if is_terminal(sys.stdout) else None
    # DEL is the one control character that JSON's own escaping leaves as it is.
    data(json.dumps(value, indent=indent).replace("\x7f", "\\u007f"))


def number(value: int) -> str:
    """Write a count with its thousands apart: 12,300."""
    return f"{value:,}"


def counted(value: int, thing: str) -> str:
    """Write a count of things: 1 file id, 2 file ids."""
    return f"{number(value)} {thing}{'' if value == 1 else 's'}"


def rate(per_second: float) -> str:
    """Write a rate with as many digits as it is worth."""
    return f"{per_second:,.0f}/s" if per_second >= 10 else f"{per_second:.1f}/s"


def duration(seconds: float) -> str:
    """Write a time in its two largest units: 8s, 3m 20s, 2h 10m, 3d 4h."""
    left = max(0, round(seconds))
    parts: list[tuple[int, str]] = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append((count, unit))
    shown = [f"{count}{unit}" for count, unit in parts[:2] if count]
    return " ".join(shown) or "0s"


def moment(iso: str | None, now: str | None = None) -> str:
    """Write a time of Redis' clock as the local one; with `now`, also how far away it is."""
    if iso is None:
        return "-"
    when = datetime.fromisoformat(iso)
    local, today = when.astimezone(), datetime.now().astimezone().date()
    shown = f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M:%S}"
    if now is None:
        return shown
    away = (when - datetime.fromisoformat(now)).total_seconds()
    return f"{shown}, in {duration(away)}" if away >= 0 else f"{shown}, {duration(-away)} ago"


def columns(rows: Sequence[Sequence[str]], *, numbers: frozenset[int] = frozenset()) -> list[str]:
    """Align rows of plain texts as a table, the columns in `numbers` to the right; the last column is ragged."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))] if rows else []
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if at in numbers else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
