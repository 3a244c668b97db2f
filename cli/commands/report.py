"""The command `report`: how each file of a request ended, one line per file."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TextIO

import typer

from cli.common import DONE, INCOMPLETE, CommandError, interruptible
from cli.options import RequestId
from cli.screen.output import counted, is_terminal, number, say
from cli.screen.wording import ended
from tasks.client import Client
from worker.reports.report import FileOutcome
from worker.states import Outcome, State
from worker.text import escape


class Format(StrEnum):
    """How a report is written."""

    JSONL = "jsonl"
    CSV = "csv"


def report(
    request_id: RequestId,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="Default: csv for an output file that ends in .csv, else jsonl."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write to this file, completely or not at all; default: standard output."),
    ] = None,
    outcome: Annotated[
        list[Outcome] | None,
        typer.Option(
            "--outcome", metavar="OUTCOME", help=f"Only files with this outcome: {', '.join(Outcome)}; repeatable."
        ),
    ] = None,
) -> int:
    """Write how each file of a request ended.

    One line per file: file_id, outcome, error, attempts, at. Any number of files, in constant memory. `delete`
    reads this format, so failed files can be tried again. Exit status: 1 while some files have no outcome yet.

    Examples:
      kitsweep report $ID --output report.csv
      kitsweep report $ID --outcome failed --outcome not_found
      kitsweep report $ID --outcome failed | kitsweep delete - --form jsonl
    """
    client = Client()
    before = client.status(request_id)
    wanted = frozenset(outcome or Outcome)
    is_csv = form is Format.CSV if form else bool(output and output.suffix.lower() == ".csv")
    entries = (entry for entry in client.outcomes(request_id) if entry.outcome in wanted)
    with interruptible("the report was not finished"), opened(output) as stream:
        count = (_write_csv if is_csv else _write_jsonl)(stream, entries)
    if output:
        say(f"{counted(count, 'line')} written to {escape(output)}.")
    unended = before["total"] - ended(before)
    if before["state"] == State.OPEN or unended:
        of_all = f"{counted(unended, 'file')} of {number(before['total'])}"
        say(f"kitsweep: the request is not done: {of_all} had no outcome.")
        return INCOMPLETE
    return DONE


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


def _write_jsonl(stream: TextIO, entries: Iterable[FileOutcome]) -> int:
    count = 0
    for count, entry in enumerate(entries, 1):  # noqa: B007 - the last count is the number of lines
        # DEL is the one control character that JSON does not escape.
        stream.write(json.dumps(entry._asdict()).replace("\x7f", "\\u007f") + "\n")
    return count


def _write_csv(stream: TextIO, entries: Iterable[FileOutcome]) -> int:
    shown: Callable[[object], object] = escape if is_terminal(stream) else lambda value: value
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(FileOutcome._fields)
    count = 0
    for count, entry in enumerate(entries, 1):  # noqa: B007 - the last count is the number of lines
        rows.writerow([shown(value) for value in entry])
    return count
