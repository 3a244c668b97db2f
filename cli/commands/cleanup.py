"""The commands `cleanup …`: check, run and list rules, decide about their requests, switch all rules off."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal

from cli.common import DONE, INCOMPLETE, CommandError
from cli.options import AsJson, RequestId, RuleName
from cli.records import is_csv, opened, write_records
from cli.screen.output import answer, counted, moment, number, say, write, write_json, write_table
from tasks.accounts import settings_of
from tasks.admin import Admin, Match, RuleReport, RulesError, RunReport, Summary, describe_rules
from worker.text import escape
from worker.times import iso


def check(
    file: Annotated[Path | None, typer.Argument(help="Rules file; default: KITSWEEP_CLEANUP_FILE.")] = None,
) -> int:
    """Check the rules file, and describe each rule.

    Exit status: 1 if the file has a mistake.

    Examples:
      kitsweep cleanup check
      kitsweep cleanup check new-rules.toml
    """
    path = file or Path(settings_of().cleanup_file)
    if not path.exists():
        raise CommandError(f"{path}: file not found; copy cleanup.example.toml to start", INCOMPLETE)
    try:
        rules = describe_rules(path)
    except RulesError as error:
        say(*map(escape, str(error).splitlines()))
        return INCOMPLETE
    write(*map(escape, rules))
    say(f"{path}: {counted(len(rules), 'rule')}, no mistakes.")
    return DONE


def list_rules(as_json: AsJson = False) -> None:
    """Show each rule: next run, last run, usual number of files.

    Examples:
      kitsweep cleanup list
    """
    admin = Admin()
    rules, off_by = admin.rules(), admin.off_by()
    if as_json:
        write_json({"off_by": off_by, "rules": rules})
        return
    write_table([["RULE", "NEXT RUN", "LAST RUN", "USUAL", "MEANS"], *map(_rule_row, rules)], numbers={3})
    if off_by:
        say(f"Cleanup was switched off by {escape(off_by)}; `kitsweep cleanup on` lets the rules run again.")


def history(rule: RuleName, as_json: AsJson = False) -> None:
    """Show the last runs of a rule, newest first.

    Examples:
      kitsweep cleanup history old-drafts
    """
    runs = Admin().history(rule)
    if as_json:
        write_json({"rule": rule, "runs": runs})
    elif not runs:
        say(f"Rule {escape(rule)} has not run yet.")
    else:
        write_table([["DUE", "OUTCOME", "FILES", "DELETED", "BY", "WHY"], *map(_run_row, runs)], numbers={2, 3})


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


def held(
    request_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Show the file ids of this request.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the requests that wait for approval, or the file ids of one.

    They come from cleanup rules and from other sources with guards.

    Examples:
      kitsweep cleanup held
      kitsweep cleanup held cleanup:old-drafts:20261123T020000Z > ids.txt
    """
    admin = Admin()
    if request_id is not None:
        write(*map(escape, admin.held_file_ids(request_id)))
        return
    waiting = admin.held()
    if as_json:
        write_json({"held": [each._asdict() for each in waiting]})
        return
    if not waiting:
        say("No request waits for approval.")
        return
    rows = [[escape(each.request_id), number(each.total), moment(each.since), escape(each.why)] for each in waiting]
    write_table([["REQUEST", "FILES", "SINCE", "WHY"], *rows], numbers={1})
    say(f"{counted(len(waiting), 'request')}. Decide with `kitsweep cleanup approve|reject REQUEST`.")


def approve(request_id: RequestId) -> None:
    """Approve a request that waits for approval.

    The audit trail records who approved it, and when. The rest of its undo window still applies. The requester
    cannot approve it, unless KITSWEEP_APPROVE_OWN=true.

    Examples:
      kitsweep cleanup held
      kitsweep cleanup approve cleanup:old-drafts:20261123T020000Z
    """
    Admin().approve(request_id)
    say(f"Request {request_id} is approved.")


def reject(request_id: RequestId) -> None:
    """Reject a request that waits for approval; none of its files is deleted.

    Examples:
      kitsweep cleanup reject cleanup:old-drafts:20261123T020000Z
    """
    Admin().reject(request_id)
    say(f"Request {request_id} is rejected.")


def off(as_json: AsJson = False) -> None:
    """Switch all rules off: none starts, and active runs stop at their next page.

    Requests that were enqueued continue: `kitsweep cancel ID` cancels one of them, `kitsweep pause` pauses all calls.

    Examples:
      kitsweep cleanup off
    """
    Admin().switch_cleanup(on=False)
    answer({"cleanup": "off"}, "Cleanup is off: no rule runs until `kitsweep cleanup on`.", as_json=as_json)


def on(as_json: AsJson = False) -> None:
    """Switch the rules on again; runs missed meanwhile are skipped.

    Examples:
      kitsweep cleanup on
    """
    Admin().switch_cleanup(on=True)
    answer({"cleanup": "on"}, "Cleanup is on.", as_json=as_json)


def _rule_row(rule: RuleReport) -> list[str]:
    last = rule["last"]
    ended = ", ".join(filter(None, [last["outcome"], last["decision"], last["result"]])) if last else ""
    return [
        escape(rule["name"]),
        moment(rule["next"]) if rule["next"] else "disabled",
        f"{ended}, {counted(last['files'], 'file')}" if last else "-",
        "-" if rule["usual"] is None else f"{rule['usual']:g}",
        escape(rule["means"]),
    ]


def _run_row(run: RunReport) -> list[str]:
    decided = f", {run['decision']} by {run['decided_by']}" if run["decision"] else ""
    return [
        moment(run["due"]),
        escape(f"{run['outcome']}{decided}"),
        number(run["files"]),
        number(run["counts"]["deleted"]) if run["counts"] else "-",
        escape(run["by"]),
        escape(run["why"] or ""),
    ]


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
    write(*_summary_lines(means, summary))
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
