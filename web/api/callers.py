"""Who may do what: callers by their scopes; with `delete` alone they see the requests of their own source."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path

from tasks.tokens import Scope
from web.credentials import Caller
from web.permissions import require
from worker.errors import UnknownRequest
from worker.reports.report import Report

RequestId = Annotated[str, Path(pattern=r"^[A-Za-z0-9._:-]{1,128}$", description="The id of the request.")]
Reader = Annotated[Caller, Depends(require(Scope.READ))]
Owner = Annotated[Caller, Depends(require(Scope.READ, Scope.DELETE))]
"""A caller that may see some requests."""
Operator = Annotated[Caller, Depends(require(Scope.OPERATE))]


def visible(report: Report | None, request_id: str, caller: Caller) -> Report:
    """Return a report that the caller may see. Raises `UnknownRequest` for any other."""
    if report is None or not (Scope.READ in caller.scopes or is_own(report, caller)):
        raise UnknownRequest(request_id)
    return report


def is_own(report: Report, caller: Caller) -> bool:
    """Whether the request is of the caller's own source, and the caller may delete."""
    return Scope.DELETE in caller.scopes and caller.source in (None, report["source"])
