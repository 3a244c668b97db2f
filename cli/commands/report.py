"""The command `report`: every file of a request, one line each."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from cli.common import DONE, INCOMPLETE, CommandError, RequestId, add_command, checked_id, interruptible, open_client
from cli.screen.output import clean, counted, is_terminal, number, words
from cli.screen.wording import ended
from worker.states import Outcome

if TYPE_CHECKING:
    from worker.reports.report import FileOutcome

_OUTCOME_HELP = f"Only files that ended so: {', '.join(Outcome)}; may be repeated."
FIELDS = ("file_id", "outcome", "error", "attempts", "at")


class Format(StrEnum):
    """How a report is written."""

    JSONL = "jsonl"
    CSV = "csv"


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    add_command(app, report)


def report(
    request_id: RequestId,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="Default: csv for an output file that ends in .csv, else jsonl."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write to this file, whole or not at all; default: standard output."),
    ] = None,
    outcome: Annotated[list[Outcome] | None, typer.Option("--outcome", metavar="OUTCOME", help=_OUTCOME_HELP)] = None,
) -> int:
    """Write how each file of a request ended.

    One line a file: file_id, outcome, error, attempts, at. Any number of files, in constant memory. `delete`
    reads what this writes, so failed files can be tried again. Exit status: 1 while some files have no outcome
    yet.

    Examples:
      kitsweep report $ID --output report.csv
      kitsweep report $ID --outcome failed --outcome not_found
      kitsweep report $ID --outcome failed | kitsweep delete - --form jsonl
    """
    client = open_client()
    before = client.status(checked_id(request_id))
    wanted = frozenset(outcome or Outcome)
    write = _WRITERS[form or _form_of(output)]
    with interruptible("the report was not written to its end"), opened(output) as stream:
        written = write(stream, (entry for entry in client.outcomes(request_id) if entry.outcome in wanted))
    if output:
        words(f"{counted(written, 'line')} written to {clean(output)}.")
    unended = before["total"] - ended(before)
    if before["state"] == "OPEN" or unended:
        of_all = f"{counted(unended, 'file')} of {number(before['total'])}"
        words(f"kitsweep: the request is not done: {of_all} had no outcome.")
        return INCOMPLETE
    return DONE


def _form_of(output: Path | None) -> Format:
    return Format.CSV if output and output.suffix.lower() == ".csv" else Format.JSONL


@contextmanager
def opened(output: Path | None) -> Iterator[TextIO]:
    """Yield where to write; a file appears under its name only when it is whole."""
    if output is None or str(output) == "-":
        yield sys.stdout
        return
    # A device or a pipe is written to, never replaced.
    in_place = output.exists() and not output.is_file()
    path = output if in_place else output.with_name(f".{output.name}.part")
    try:
        with path.open("w", encoding="utf-8", newline="") as stream:
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
        stream.write(json.dumps(entry._asdict()).replace("\x7f", "\\u007f") + "\n")
    return count


def _write_csv(stream: TextIO, entries: Iterable[FileOutcome]) -> int:
    shown: Callable[[object], object] = clean if is_terminal(stream) else lambda value: value
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(FIELDS)
    count = 0
    for count, entry in enumerate(entries, 1):  # noqa: B007 - the last count is the number of lines
        rows.writerow([shown(value) for value in entry])
    return count


_WRITERS = {Format.JSONL: _write_jsonl, Format.CSV: _write_csv}
