"""The commands `cleanup check`, `list` and `history`: the rules and their runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.common import DONE, INCOMPLETE, CommandError
from cli.options import AsJson, RuleName
from cli.screen.output import counted, moment, number, say, write, write_json, write_table
from config.settings import load_settings
from tasks.admin import Admin, RuleReport, RulesError, RunReport, describe_rules
from worker.text import escape


def check(
    file: Annotated[Path | None, typer.Argument(help="Rules file; default: KITSWEEP_CLEANUP_FILE.")] = None,
) -> int:
    """Check the rules file, and describe each rule.

    Exit status: 1 if the file has a mistake.

    Examples:
      kitsweep cleanup check
      kitsweep cleanup check new-rules.toml
    """
    path = file or Path(load_settings().cleanup_file)
    if not path.exists():
        raise CommandError(f"{path}: file not found; copy cleanup.example.toml to start", INCOMPLETE)
    try:
        rules = describe_rules(path)
    except RulesError as error:
        for line in str(error).splitlines():
            say(escape(line))
        return INCOMPLETE
    for line in rules:
        write(escape(line))
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
