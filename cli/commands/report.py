"""The command `report`: how each file of a request ended, one line per file."""

import json
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from cli.common import DONE, INCOMPLETE, CommandError, interruptible
from cli.options import RequestId
from cli.records import is_csv, opened, write_records
from cli.screen.output import counted, number, say
from cli.screen.wording import ended
from tasks.certificates import CertificateInvalid, Certificates, page, verified
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
    certificate: Annotated[
        bool, typer.Option("--certificate", help="Write a signed certificate of erasure instead, as JSON lines.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="With --certificate -o: also a page to print.")
    ] = None,
) -> int:
    """Write how each file of a request ended.

    One line per file: file_id, outcome, error, attempts, at. Any number of files, in constant memory. `delete`
    reads this format, so failed files can be retried. Exit status: 1 while some files have no outcome yet.

    With --certificate, write a signed certificate of erasure of a final request instead, which `verify` checks.

    Examples:
      kitsweep report $ID --output report.csv
      kitsweep report $ID --outcome failed --outcome not_found
      kitsweep report $ID --outcome failed | kitsweep delete - --form jsonl
      kitsweep report $ID --certificate --output certificate.jsonl --html certificate.html
    """
    if certificate:
        if form or outcome:
            raise CommandError("a certificate has all outcomes, as JSON lines: leave out --format and --outcome")
        return _certify(request_id, output, html)
    if html:
        raise CommandError("--html needs --certificate")
    client = Client()
    before = client.status(request_id)
    wanted = frozenset(outcome or Outcome)
    as_csv = form is Format.CSV if form else is_csv(output)
    entries = (entry for entry in client.outcomes(request_id) if entry.outcome in wanted)
    with interruptible("the report was not finished"), opened(output) as stream:
        count = write_records(stream, FileOutcome._fields, entries, as_csv=as_csv)
    if output:
        say(f"{counted(count, 'line')} written to {escape(output)}.")
    unended = before["total"] - ended(before)
    if before["state"] == State.OPEN or unended:
        of_all = f"{counted(unended, 'file')} of {number(before['total'])}"
        say(f"kitsweep: the request is not done: {of_all} had no outcome.")
        return INCOMPLETE
    return DONE


def _certify(request_id: str, output: Path | None, html: Path | None) -> int:
    """Write a certificate, and a page of it."""
    if html and (output is None or str(output) == "-"):
        raise CommandError("--html needs --output: the page is made of the certificate in that file")
    lines = Certificates().lines(request_id)
    with interruptible("the certificate was not finished"), opened(output) as stream:
        try:
            stream.writelines(lines)
        except CertificateInvalid as error:
            raise CommandError(f"no certificate: {error}", INCOMPLETE) from None
    if output and html:
        _write_page(output, html)
    return DONE


def _write_page(certificate: Path, html: Path) -> None:
    with certificate.open("rb") as lines:
        found = verified(lines)
    with certificate.open("rb") as lines, opened(html) as stream:
        files = (json.loads(line) for line in islice(lines, 1, 1 + found.request["total"]))
        stream.writelines(page(found.request, found.seal, files))
