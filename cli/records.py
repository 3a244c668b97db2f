"""Writes records to a file or to standard output, as JSONL or CSV, in constant memory."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from cli.common import CommandError
from cli.screen.output import is_terminal
from worker.text import escape


@contextmanager
def opened(output: Path | None) -> Iterator[TextIO]:
    """Yield the stream to write to; a file appears under its name only when it is complete."""
    if output is None or str(output) == "-":
        yield sys.stdout
        return
    # A device or a pipe is written to, never replaced.
    in_place = output.exists() and not output.is_file()
    path = output if in_place else output.with_name(f".{output.name}.part")
    try:
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            yield stream
        if not in_place:
            path.replace(output)
    except OSError as error:
        raise CommandError(f"{output}: {error.strerror or error}") from None
    finally:
        if not in_place:
            path.unlink(missing_ok=True)


def is_csv(output: Path | None) -> bool:
    """Return whether the name of a file asks for CSV."""
    return output is not None and output.suffix.lower() == ".csv"


def write_records(stream: TextIO, names: Sequence[str], records: Iterable[Sequence[object]], *, as_csv: bool) -> int:
    """Write one line for each record, after a header in CSV; return the number of records."""
    rows = csv.writer(stream, lineterminator="\n")
    if as_csv:
        rows.writerow(names)
    shows_plainly = not is_terminal(stream)
    count = 0
    for count, record in enumerate(records, 1):  # noqa: B007 - the last count is the number of records
        if as_csv:
            rows.writerow(record if shows_plainly else map(escape, record))
        else:
            # DEL is the one control character that JSON does not escape.
            stream.write(json.dumps(dict(zip(names, record, strict=True))).replace("\x7f", "\\u007f") + "\n")
    return count
