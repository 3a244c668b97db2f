"""The command `cleanup run`: show what a rule would delete, or start it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal

from cli.commands.report import opened
from cli.common import CommandError
from cli.options import AsJson, RuleName
from cli.screen.output import counted, number, say, write, write_json
from tasks.admin import Admin, Match, Summary
from worker.text import escape
from worker.times import iso


def run(
    rule: RuleName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would delete; change nothing.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="With --dry-run: write all files it would delete, as .csv or JSONL."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a rule now, under all its guards, or show what it would delete.

    Examples:
      kitsweep cleanup run old-drafts --dry-run --output drafts.csv
      kitsweep cleanup run old-drafts
    """
    admin = Admin()
    means = admin.in_words(rule)
    if dry_run:
        _preview(admin, rule, means, output, as_json=as_json)
        return
    if output:
        raise CommandError("--output needs --dry-run")
    run_id, request_id = admin.start_run(rule)
    if as_json:
        write_json({"run": run_id, "request": request_id})
    else:
        write(request_id)
        say(f"The run has started; follow it with `kitsweep cleanup history {rule}`.")


def _preview(admin: Admin, rule: str, means: str, output: Path | None, *, as_json: bool) -> None:
    summary = Summary()
    with _writer(output) as write_file:
        for file in admin.dry_run(rule, summary):
            write_file(file)
    if as_json:
        moments = {"oldest": iso(summary.oldest_ms), "newest": iso(summary.newest_ms)}
        counts = {
            "files": summary.files,
            "bytes": summary.bytes,
            "kept": dict(summary.excluded),
            "pages": summary.pages,
        }
        write_json({"rule": rule, **counts, **moments, "first_paths": summary.first_paths})
        return
    for line in _summary_lines(means, summary):
        write(line)
    if output:
        say(f"All files it would delete: {output}")


@contextmanager
def _writer(output: Path | None) -> Iterator[Callable[[Match], object]]:
    """Yield a function that writes one file's line; without an output it writes nothing."""
    if output is None:
        yield lambda _: None
        return
    with opened(output) as stream:
        if output.suffix.lower() == ".csv":
            rows = csv.writer(stream)
            rows.writerow(["fileId", "path", "bytes", "created", "why"])
            yield lambda file: rows.writerow(_columns(file).values())
        else:
            yield lambda file: stream.write(json.dumps(_columns(file)) + "\n")


def _columns(file: Match) -> dict[str, str | int | None]:
    created = iso(file.created_ms or None)
    return {"fileId": file.file_id, "path": file.path, "bytes": file.size, "created": created, "why": file.why}


def _summary_lines(means: str, summary: Summary) -> Iterator[str]:
    yield escape(means)
    yield f"would delete {counted(summary.files, 'file')}, {decimal(summary.bytes)}"
    if summary.files:
        yield f"created from {iso(summary.oldest_ms)} to {iso(summary.newest_ms)}"
    yield from (f"  {escape(path)}" for path in summary.first_paths)
    if summary.files > len(summary.first_paths):
        yield f"  … and {number(summary.files - len(summary.first_paths))} more (--output FILE lists all)"
    yield from (f"keeps {number(count)}: {why}" for why, count in summary.excluded.most_common())
