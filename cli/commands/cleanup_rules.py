"""The commands `cleanup check`, `list`, `history` and `run`: see first, then start."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.common import DONE, INCOMPLETE, WRONG_USE, AsJson, CommandError
from cli.screen.output import clean, columns, counted, data, json_data, moment, number, words

if TYPE_CHECKING:
    from worker.cleanup.listing.matching import Meant
    from worker.cleanup.rules.rule import Rule
    from worker.cleanup.runs.dry_run import Summary
    from worker.cleanup.runs.slice import Cleaner

RuleName = Annotated[str, typer.Argument(metavar="RULE", help="Name of the rule in the rules file.")]
_UNITS = ("B", "KB", "MB", "GB", "TB")


def check(
    file: Annotated[Path | None, typer.Argument(help="Rules file; default: KITSWEEP_CLEANUP_FILE.")] = None,
) -> int:
    """Check the rules file whole, and say each rule in words.

    Exit status: 1 if a rule cannot be used.

    Examples:
      kitsweep cleanup check
      kitsweep cleanup check new-rules.toml
    """
    from config.settings import load_settings  # noqa: PLC0415
    from worker.cleanup.rules.file import RulesError, RulesFile  # noqa: PLC0415

    path = file or Path(load_settings().cleanup_file)
    if not path.exists():
        raise CommandError(f"{path}: there is no such file; cleanup.example.toml is one to copy", INCOMPLETE)
    try:
        rules = RulesFile(path).rules()
    except RulesError as error:
        for line in str(error).splitlines():
            words(clean(line))
        return INCOMPLETE
    for rule in rules.by_name.values():
        data(clean(f"{rule}; {rule.schedule}"))
    words(f"{path}: {counted(len(rules.by_name), 'rule')}, all sound.")
    return DONE


def list_rules(as_json: AsJson = False) -> int:
    """Show each rule, when it runs next, how its last run ended, and its usual number of files.

    Examples:
      kitsweep cleanup list
    """
    cleaner = _cleaner()
    now = datetime.fromtimestamp(cleaner.runs.queue.now_ms() / 1000, UTC)
    listed = [_described(cleaner, rule, now) for rule in cleaner.rules.rules().by_name.values()]
    off = cleaner.runs.off_since()
    if as_json:
        json_data({"off_by": off[0] if off else None, "rules": listed})
        return DONE
    rows = [["RULE", "NEXT RUN", "LAST RUN", "USUAL", "MEANS"]]
    rows += [[_shown(each, name) for name in ("name", "next", "last", "usual", "means")] for each in listed]
    for line in columns(rows, numbers=frozenset({3})):
        data(line)
    if off:
        words(f"Cleanup was switched off by {clean(off[0])}; `kitsweep cleanup on` lets the rules go on.")
    return DONE


def history(rule: RuleName, as_json: AsJson = False) -> int:
    """Show the last runs of a rule, the newest first.

    Examples:
      kitsweep cleanup history old-drafts
    """
    cleaner = _cleaner()
    runs = [{"run": run_id, **cleaner.runs.read(run_id)} for run_id in cleaner.runs.rule_state(rule).history]
    if as_json:
        json_data({"rule": rule, "runs": [_run_json(run) for run in runs]})
        return DONE
    if not runs:
        words(f"Rule {clean(rule)} has not run yet.")
        return DONE
    rows = [["DUE", "OUTCOME", "FILES", "DELETED", "BY", "WHY"], *(_run_row(run) for run in runs)]
    for line in columns(rows, numbers=frozenset({2, 3})):
        data(line)
    return DONE


def run(
    rule: RuleName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go; change nothing.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="With --dry-run: all files that would go, as .csv or JSONL."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Run a rule now, under all its guards, or see what it would delete.

    Examples:
      kitsweep cleanup run old-drafts --dry-run --output drafts.csv
      kitsweep cleanup run old-drafts
    """
    cleaner = _cleaner()
    found = cleaner.rules.rules().by_name.get(rule)
    if found is None:
        names = ", ".join(cleaner.rules.rules().by_name) or "none"
        raise CommandError(f"no rule {clean(rule)} in {cleaner.rules.path}; there are: {names}")
    if dry_run:
        return _see(cleaner, found, output, as_json=as_json)
    if output:
        raise CommandError("--output goes with --dry-run")
    return _start(cleaner, found, as_json=as_json)


def _see(cleaner: Cleaner, rule: Rule, output: Path | None, *, as_json: bool) -> int:
    from worker.cleanup.runs.dry_run import Summary  # noqa: PLC0415
    from worker.cleanup.runs.dry_run import dry_run as look  # noqa: PLC0415

    summary = Summary()
    with _written(output) as write:
        for file in look(cleaner, rule, summary):
            write(file)
    if as_json:
        json_data({"rule": rule.name, **_summary_json(summary)})
        return DONE
    for line in _summary_lines(rule, summary):
        data(line)
    if output:
        words(f"All files that would go: {output}")
    return DONE


def _start(cleaner: Cleaner, rule: Rule, *, as_json: bool) -> int:
    from worker.app import app  # noqa: PLC0415
    from worker.cleanup.runs.store import request_of, run_id_by_hand  # noqa: PLC0415
    from worker.identity import whoami  # noqa: PLC0415
    from worker.runtime.wakeups import wake  # noqa: PLC0415

    run_id = run_id_by_hand(rule.name, datetime.now(UTC))
    verdict = cleaner.runs.start(rule, run_id, whoami(), None)
    if verdict != "started":
        why = {
            "off": "cleanup is switched off; see `kitsweep cleanup on`",
            "busy": "it runs already",
            "undecided": "the request of an earlier run is not done; see `kitsweep cleanup held`",
        }
        raise CommandError(f"rule {rule.name} does not start: {why.get(verdict, verdict)}", INCOMPLETE)
    wake(app, run_id)
    if as_json:
        json_data({"run": run_id, "request": request_of(run_id)})
    else:
        data(request_of(run_id))
        words(f"The run has started; see `kitsweep cleanup history {rule.name}`.")
    return DONE


@contextmanager
def _written(output: Path | None) -> Iterator[Callable[[Meant], None]]:
    """Give what writes one file's line; without an output, nothing is written."""
    if output is None:
        yield lambda _: None
        return
    try:
        with output.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            if output.suffix.lower() == ".csv":
                table = csv.writer(stream)
                table.writerow(["fileId", "path", "bytes", "created", "why"])
                yield lambda file: table.writerow([file.file_id, file.path, file.size, _iso(file.created_ms), file.why])
            else:
                yield lambda file: print(json.dumps(_file_json(file)), file=stream)
    except OSError as error:
        raise CommandError(f"{output}: {error.strerror or error}", WRONG_USE) from None


def _file_json(file: Meant) -> dict[str, Any]:
    created = _iso(file.created_ms)
    return {"fileId": file.file_id, "path": file.path, "bytes": file.size, "created": created, "why": file.why}


def _summary_json(summary: Summary) -> dict[str, Any]:
    return {
        "files": summary.files,
        "bytes": summary.bytes,
        "oldest": _iso(summary.oldest_ms),
        "newest": _iso(summary.newest_ms),
        "first_paths": summary.first_paths,
        "kept": dict(summary.kept),
        "pages": summary.pages,
    }


def _summary_lines(rule: Rule, summary: Summary) -> Iterator[str]:
    yield clean(f"{rule}")
    yield f"would delete {counted(summary.files, 'file')}, {_bytes(summary.bytes)}"
    if summary.files:
        yield f"created from {_iso(summary.oldest_ms)} to {_iso(summary.newest_ms)}"
    yield from (f"  {clean(path)}" for path in summary.first_paths)
    if summary.files > len(summary.first_paths):
        yield f"  … and {number(summary.files - len(summary.first_paths))} more (--output FILE lists all)"
    yield from (f"stays: {number(count)} {why}" for why, count in summary.kept.most_common())


def _described(cleaner: Cleaner, rule: Rule, now: datetime) -> dict[str, Any]:
    state = cleaner.runs.rule_state(rule.name, most=1)
    last = {"run": state.history[0], **cleaner.runs.read(state.history[0])} if state.history else None
    return {
        "name": rule.name,
        "next": rule.schedule.next_after(now).isoformat() if rule.enabled else None,
        "last": _run_json(last) if last else None,
        "usual": statistics.median(state.sizes) if state.sizes else None,
        "means": str(rule).removeprefix(f"{rule.name}: "),
    }


def _shown(rule: Mapping[str, Any], name: str) -> str:
    value = rule[name]
    if name == "next":
        return moment(value) if value else "disabled"
    if name == "last":
        ended = ", ".join(filter(None, [value["outcome"], value["decision"], value["result"]])) if value else ""
        return f"{ended}, {counted(value['files'], 'file')}" if value else "-"
    if name == "usual":
        return "-" if value is None else f"{value:g}"
    return clean(value)


def _run_json(run: Mapping[str, str]) -> dict[str, Any]:
    return {
        "run": run["run"],
        "due": _iso(run.get("due")),
        "started_at": _iso(run.get("started_at")),
        "ended_at": _iso(run.get("ended_at")),
        "by": run.get("by"),
        "outcome": run.get("outcome") or ("running" if "rule" in run else "forgotten"),
        "why": run.get("why") or run.get("waits_for") or None,
        "files": int(run.get("files", 0)),
        "bytes": int(run.get("bytes", 0)),
        "request": run.get("request"),
        "decision": run.get("decision"),
        "decided_by": run.get("decided_by"),
        "result": run.get("result"),
        "counts": json.loads(run["counts"]) if "counts" in run else None,
        "first_paths": json.loads(run["paths"]) if "paths" in run else [],
        "kept": json.loads(run["excluded"]) if "excluded" in run else {},
    }


def _run_row(run: Mapping[str, str]) -> list[str]:
    about = _run_json(run)
    decided = f", {about['decision']} by {about['decided_by']}" if about["decision"] else ""
    deleted = number(about["counts"]["deleted"]) if about["counts"] else "-"
    outcome = clean(f"{about['outcome']}{decided}")
    return [
        moment(about["due"]),
        outcome,
        number(about["files"]),
        deleted,
        clean(about["by"]),
        clean(about["why"] or ""),
    ]


def _cleaner() -> Cleaner:
    from config.settings import load_settings  # noqa: PLC0415

    load_settings()
    from worker import account as engine  # noqa: PLC0415

    return engine.cleaner()


def _iso(ms: str | int | None) -> str | None:
    from worker.times import iso  # noqa: PLC0415

    return iso(ms) if ms else None


def _bytes(value: float) -> str:
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the last unit has no end")
