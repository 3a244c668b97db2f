"""The command `cleanup run`: show what a rule would delete, or start it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal

from cli.common import CommandError
from cli.options import AsJson, RuleName
from cli.records import is_csv, opened, write_records
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
    files = map(_record, admin.dry_run(rule, summary))
    if output:
        with opened(output) as stream:
            write_records(stream, ("fileId", "path", "bytes", "created", "why"), files, as_csv=is_csv(output))
    for _ in files:
        pass  # Without an output the files are only counted.
    if as_json:
        write_json(
            {
                "rule": rule,
                "files": summary.files,
                "bytes": summary.bytes,
                "kept": dict(summary.excluded),
                "pages": summary.pages,
                "oldest": iso(summary.oldest_ms),
                "newest": iso(summary.newest_ms),
                "first_paths": summary.first_paths,
            }
        )
        return
    for line in _summary_lines(means, summary):
        write(line)
    if output:
        say(f"All files it would delete: {output}")


def _record(file: Match) -> tuple[object, ...]:
    return file.file_id, file.path, file.size, iso(file.created_ms or None), file.why


def _summary_lines(means: str, summary: Summary) -> Iterator[str]:
    yield escape(means)
    yield f"would delete {counted(summary.files, 'file')}, {decimal(summary.bytes)}"
    if summary.files:
        yield f"created from {iso(summary.oldest_ms)} to {iso(summary.newest_ms)}"
    yield from (f"  {escape(path)}" for path in summary.first_paths)
    if summary.files > len(summary.first_paths):
        yield f"  … and {number(summary.files - len(summary.first_paths))} more (--output FILE lists all)"
    yield from (f"keeps {number(count)}: {why}" for why, count in summary.excluded.most_common())
