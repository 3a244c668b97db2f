"""The command `check`: whether the settings are right, and Redis and ImageKit can be reached."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from cli.common import DONE, INCOMPLETE
from cli.options import AsJson
from cli.screen.output import is_terminal, write, write_json, write_table
from cli.screen.wording import pause_line
from config.settings import ConfigError, Settings, load_settings
from config.shown import shown
from tasks.checks import Finding, Grade, check_accounts, check_imagekit, check_redis, check_removed_accounts
from tasks.client import Client
from worker.text import escape

IS_OF_ALL_ACCOUNTS = True
_STYLES = {Grade.OK: "32", Grade.REMARK: "36", Grade.WARNING: "33", Grade.FAILED: "1;31"}


def check(as_json: AsJson = False) -> int:
    """Check the settings, Redis and ImageKit.

    Changes nothing. Shows every setting, with secrets hidden. Makes one call to ImageKit per account, which lists
    one file, or without a private key only checks that it can be reached. Exit status: 1 if something must be fixed.

    Examples:
      kitsweep check
      kitsweep check --json | jq '.findings[] | select(.result == "failed")'
    """
    settings: Settings | None = None
    try:
        settings = load_settings()
    except ConfigError as error:
        findings = [Finding("settings", Grade.FAILED, problem) for problem in error.problems]
    else:
        findings = list(_findings(settings))
    has_failed = any(finding.grade is Grade.FAILED for finding in findings)
    if as_json:
        listed = [{"name": name, "result": grade, "detail": detail} for name, grade, detail in findings]
        write_json({"ok": not has_failed, "settings": dict(shown(settings)) if settings else None, "findings": listed})
    else:
        _write(settings, findings)
    return INCOMPLETE if has_failed else DONE


def _findings(settings: Settings) -> Iterator[Finding]:
    yield Finding("settings", Grade.OK, "all are valid")
    accounts, problems = check_accounts(settings)
    yield from problems
    about_redis = list(check_redis(settings))
    yield from about_redis
    if all(finding.grade is not Grade.FAILED for finding in about_redis if finding.name == "redis"):
        yield from _about_work(accounts)
        yield from check_removed_accounts(settings, accounts)
    for name, each in accounts.items():
        yield check_imagekit(each, _named("imagekit", name, accounts))


def _about_work(accounts: Mapping[str, Settings]) -> Iterator[Finding]:
    stats = {name: Client(each).stats() for name, each in accounts.items()}
    workers = max((len(each["workers"]) for each in stats.values()), default=0)
    alive = f"{workers} alive" if workers else "none is alive; start one: celery -A worker.app worker"
    yield Finding("workers", Grade.OK if workers else Grade.REMARK, alive)
    for name, each in stats.items():
        if each["pause"]:
            yield Finding(_named("pause", name, accounts), Grade.REMARK, pause_line(each["pause"], each["now"]))


def _named(what: str, account: str, accounts: Mapping[str, Settings]) -> str:
    return what if len(accounts) == 1 else f"{what} {account}"


def _write(settings: Settings | None, findings: list[Finding]) -> None:
    if settings:
        write_table([(name, escape(text)) for name, text in shown(settings)])
        write("")
    width = max(len(finding.name) for finding in findings)
    has_colours = is_terminal(sys.stdout)
    for name, grade, detail in findings:
        mark = grade.ljust(len(Grade.WARNING))
        mark = f"\x1b[{_STYLES[grade]}m{mark}\x1b[0m" if has_colours else mark
        write(f"{mark}  {name.ljust(width)}  {escape(detail)}")
