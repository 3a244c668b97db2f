"""Cleanup rules: what they do, when, and what they did; dry runs, and the switch that stops them all."""

from __future__ import annotations

import time
from dataclasses import dataclass

from starlette.responses import Response

from tasks.admin import Admin, Match, RulesError, Summary
from tasks.tokens import Scope
from web.dashboard.visits import Visit, back_to, route
from web.problems import Problem

MOST_FILES = 200
DRY_RUN_SECONDS = 20.0
"""How long a dry run lists. A larger one ends early: `kitsweep cleanup run RULE --dry-run` lists to the end."""


@dataclass(frozen=True)
class DryRun:
    """What a rule would delete."""

    summary: Summary
    files: list[Match]
    is_complete: bool


async def listed(visit: Visit) -> Response:
    """List the rules."""
    try:
        rules, problem = await visit.run(visit.admin.rules), ""
    except RulesError as error:
        rules, problem = [], str(error)
    off_by = await visit.run(visit.admin.off_by)
    return await visit.page("cleanup.html", rules=rules, problem=problem, off_by=off_by)


async def shown(visit: Visit) -> Response:
    """Show one rule and its last runs."""
    return await _shown(visit)


async def dry_run(visit: Visit) -> Response:
    """List what a rule would delete now."""
    name = visit.request.path_params["rule"]
    done = await visit.context.long_calls.run(lambda: _dry_run(visit.admin, name))
    return await _shown(visit, done)


async def ask_switch(visit: Visit) -> Response:
    """Ask whether to switch cleanup on or off."""
    return await visit.page("cleanup_switch.html", to=_to(visit), off_by=await visit.run(visit.admin.off_by))


async def switch(visit: Visit) -> Response:
    """Switch cleanup on or off."""
    await visit.run(visit.admin.switch_cleanup, on=_to(visit) == "on", by=visit.by)
    return back_to(visit.request, "/cleanup", f"cleanup-{_to(visit)}")


def _to(visit: Visit) -> str:
    return visit.request.url.path.rpartition("/")[2]


async def _shown(visit: Visit, dry: DryRun | None = None) -> Response:
    name = visit.request.path_params["rule"]
    rules = {rule["name"]: rule for rule in await visit.run(visit.admin.rules)}
    if name not in rules:
        raise Problem(404, f"There is no rule {name}.")
    history = await visit.run(visit.admin.history, name)
    return await visit.page("rule.html", rule=rules[name], history=history, dry=dry)


def _dry_run(admin: Admin, rule: str) -> DryRun:
    summary, files, give_up = Summary(), list[Match](), time.monotonic() + DRY_RUN_SECONDS
    for match in admin.dry_run(rule, summary):
        if len(files) < MOST_FILES:
            files.append(match)
        if time.monotonic() > give_up:
            return DryRun(summary, files, is_complete=False)
    return DryRun(summary, files, is_complete=True)


ROUTES = [
    route("/cleanup", listed),
    *(route(f"/cleanup/{to}", ask_switch, Scope.OPERATE) for to in ("on", "off")),
    *(route(f"/cleanup/{to}", switch, Scope.OPERATE, methods=("POST",)) for to in ("on", "off")),
    route("/cleanup/rules/{rule}", shown),
    route("/cleanup/rules/{rule}", dry_run, Scope.OPERATE, methods=("POST",)),
]
