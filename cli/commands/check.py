"""The command `check`: whether the settings are right, and everything can be reached."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from cli.checks.findings import Finding, Result
from cli.common import DONE, INCOMPLETE, AsJson, add_command
from cli.screen.output import clean, columns, data, is_terminal, json_data

if TYPE_CHECKING:
    from config.settings import Settings

_STYLES = {Result.OK: "32", Result.REMARK: "36", Result.WARNING: "33", Result.FAILED: "1;31"}


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    add_command(app, check)


def check(as_json: AsJson = False) -> int:
    """Check the settings, Redis and ImageKit.

    Deletes and changes nothing. Shows every setting, secrets hidden. Makes one call to ImageKit, which lists
    one file. Exit status: 1 if something must be mended.

    Examples:
      kitsweep check
      kitsweep check --json | jq '.findings[] | select(.result == "failed")'
    """
    from config.settings import ConfigError, load_settings  # noqa: PLC0415

    settings: Settings | None = None
    try:
        settings = load_settings()
    except ConfigError as error:
        findings = [Finding("settings", Result.FAILED, problem) for problem in error.problems]
    else:
        findings = list(_findings(settings))
    failed = any(finding.result is Result.FAILED for finding in findings)
    if as_json:
        told = [{**finding._asdict(), "result": finding.result.value} for finding in findings]
        json_data({"ok": not failed, "settings": dict(shown(settings)) if settings else None, "findings": told})
    else:
        _write(settings, findings)
    return INCOMPLETE if failed else DONE


def _findings(settings: Settings) -> Iterator[Finding]:
    from cli.checks.imagekit import check_api  # noqa: PLC0415
    from cli.checks.redis import check_redis  # noqa: PLC0415

    yield Finding("settings", Result.OK, "all are valid")
    yield from check_redis(settings)
    yield check_api(settings)


def shown(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield every setting's name in the environment and its value, fit to be shown."""
    from config.problems import written  # noqa: PLC0415
    from config.settings import environment_name  # noqa: PLC0415

    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if name == "private_key":
            text = "set, hidden" if value else "not set"
        elif name == "redis_url":
            parts = settings.redis_parts
            login = "user and password hidden, " if parts.username or parts.password else ""
            text = f"{settings.redis_address} ({login}{parts.scheme})"
        else:
            text = written(value)
        yield environment_name(name), text


def _write(settings: Settings | None, findings: list[Finding]) -> None:
    if settings:
        for line in columns([(name, clean(text)) for name, text in shown(settings)]):
            data(line)
        data("")
    width = max(len(finding.name) for finding in findings)
    colours = is_terminal(sys.stdout)
    for name, result, detail in findings:
        mark = result.value.ljust(len(Result.WARNING))
        mark = f"\x1b[{_STYLES[result]}m{mark}\x1b[0m" if colours else mark
        data(f"{mark}  {name.ljust(width)}  {clean(detail)}")
