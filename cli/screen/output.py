"""Writes data to standard output and messages to standard error.

Ids, reasons and error texts come from outside. Commands escape them (`worker.text.escape`) before they reach a
terminal, and nothing is ever read as Rich's markup.
"""

import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

from worker.times import largest_units

_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def is_terminal(stream: TextIO) -> bool:
    """Return whether the stream is a terminal; false for a closed one."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def write(*lines: str) -> None:
    """Write lines of data to standard output."""
    _write(sys.stdout, lines)


def say(*lines: str) -> None:
    """Write lines for people to standard error."""
    _write(sys.stderr, lines)


def _write(stream: TextIO, lines: Iterable[str]) -> None:
    # Characters that the encoding of the stream lacks are escaped.
    encoding = stream.encoding or "utf-8"
    stream.writelines(line.encode(encoding, "backslashreplace").decode(encoding) + "\n" for line in lines)
    stream.flush()


def write_json(value: Mapping[str, Any]) -> None:
    """Write one JSON object: on one line for programs, indented on a terminal. ASCII only."""
    indent = 2 if is_terminal(sys.stdout) else None
    # DEL is the one control character that JSON's own escaping leaves as it is.
    write(json.dumps(value, indent=indent).replace("\x7f", "\\u007f"))


def answer(value: Mapping[str, Any], line: str, *, as_json: bool) -> None:
    """Write JSON to standard output for programs, or a line to standard error for people."""
    if as_json:
        write_json(value)
    else:
        say(line)


def number(value: int) -> str:
    """Return a count with separated thousands: 12,300."""
    return f"{value:,}"


def counted(value: int, thing: str) -> str:
    """Return a count of things: 1 file id, 2 file ids."""
    return f"{number(value)} {thing}{'' if value == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return a time in its two largest units: 8s, 3m 20s, 2h 10m, 3d 4h."""
    return " ".join(f"{count}{unit}" for count, unit in largest_units(seconds, _UNITS)) or "0s"


def moment(iso: str | None, now: str | None = None) -> str:
    """Return a moment (ISO 8601) in local time; with `now`, also how far away it is."""
    if iso is None:
        return "-"
    when = datetime.fromisoformat(iso)
    local, today = when.astimezone(), datetime.now().astimezone().date()
    shown = f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M:%S}"
    if now is None:
        return shown
    away = (when - datetime.fromisoformat(now)).total_seconds()
    return f"{shown}, in {duration(away)}" if away >= 0 else f"{shown}, {duration(-away)} ago"


def write_table(rows: Sequence[Sequence[str]], *, numbers: Collection[int] = ()) -> None:
    """Write rows of texts aligned as a table, with the columns in `numbers` to the right."""
    write(*columns(rows, numbers=numbers))


def columns(rows: Sequence[Sequence[str]], *, numbers: Collection[int] = ()) -> list[str]:
    """Return rows of texts as the lines of a table, with the columns in `numbers` to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    forms = [f"{'>' if at in numbers else '<'}{width}" for at, width in enumerate(widths)]
    return ["  ".join(map(format, row, forms)).rstrip() for row in rows]
