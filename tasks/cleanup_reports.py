"""What operators see of cleanup rules and their runs."""

from __future__ import annotations

import json
from typing import Any

from typing_extensions import TypedDict

from worker.times import iso


class RunReport(TypedDict):
    """One run of a cleanup rule. Times are ISO 8601 in UTC."""

    run: str
    due: str | None
    """When it was due; None for a manual run."""
    started_at: str | None
    ended_at: str | None
    by: str | None
    outcome: str
    """How it ended; "running", or "forgotten" once its details have expired."""
    why: str | None
    files: int
    bytes: int
    request: str | None
    decision: str | None
    """approved or rejected, if its request needed approval."""
    decided_by: str | None
    result: str | None
    """Final state of its request."""
    counts: dict[str, int] | None
    """Outcome of its request → files."""
    first_paths: list[str]
    kept: dict[str, int]
    """Why a listed file was not deleted → files."""


class RuleReport(TypedDict):
    """A cleanup rule and its state."""

    name: str
    next: str | None
    """Next due time, ISO 8601; None while the rule is disabled."""
    last: RunReport | None
    usual: float | None
    """Median number of files of its last runs."""
    means: str
    """The rule in words."""


def run_report(run_id: str, about: dict[str, str]) -> RunReport:
    """Return a run, from its stored fields; empty ones are those of a run whose details have expired."""

    def loaded(name: str, default: Any) -> Any:
        return json.loads(about[name]) if name in about else default

    return {
        "run": run_id,
        "due": iso(about.get("due") or None),
        "started_at": iso(about.get("started_at") or None),
        "ended_at": iso(about.get("ended_at") or None),
        "by": about.get("by"),
        "outcome": about.get("outcome") or ("running" if "rule" in about else "forgotten"),
        "why": about.get("why") or about.get("waits_for") or None,
        "files": int(about.get("files", 0)),
        "bytes": int(about.get("bytes", 0)),
        "request": about.get("request"),
        "decision": about.get("decision"),
        "decided_by": about.get("decided_by"),
        "result": about.get("result"),
        "counts": loaded("counts", None),
        "first_paths": loaded("paths", []),
        "kept": loaded("excluded", {}),
    }
