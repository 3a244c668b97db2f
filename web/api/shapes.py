"""What the REST API takes and answers, beside the reports and figures that others see too."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.admin import Entry, RuleReport
from tasks.failures import Failure, FailureGroup
from tasks.search import Trace
from web.api.paging import After, Limit
from worker.reports.report import Report


class Options(BaseModel):
    """What a request says beside its file ids."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    source: str | None = None
    """The service that asks. Default: that of the token, else `http`."""
    reason: str | None = None
    """Why, for the audit trail; at most 500 characters."""
    hold_seconds: float = 0
    """How long the request can be cancelled before anything is deleted."""
    result_ttl_seconds: int | None = None
    """How long the result is kept once the request is final. Default: as the server's settings say."""
    callback: str | None = None
    """URL that gets a webhook once the request is final. Default: that of the source, if it has one."""
    account: str | None = None
    """Account of the accounts file. Default: that of the token, else of the environment."""
    purge: bool | Literal["true", "folder", "wait"] | None = None
    """Whether the cached copies of the deleted files are purged from the CDN: true; folder: also with one wildcard for
    a folder, which covers files that stay; wait: the request is final once its purges have ended."""


class NewRequest(Options):
    """A deletion to enqueue."""

    model_config = ConfigDict(strict=True)

    file_ids: list[str | dict[str, Any]]
    """ImageKit's ids of the files, or objects of the list API, with the URL for a purge. Duplicates count once."""


class RequestFilters(BaseModel):
    """Which requests to list."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    state: list[Literal["QUEUED", "PROGRESS", "SUCCESS", "FAILURE", "REVOKED"]] = []
    """Repeatable."""
    source: str | None = None
    q: Annotated[str | None, Field(max_length=500)] = None
    """Part of the reason, in any case."""
    since: datetime | None = None
    """Enqueued at this time or later."""
    until: datetime | None = None
    """Enqueued before this time."""
    limit: Limit = 50
    after: After = None
    account: str | None = None


class _Page(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    next: str | None
    """The cursor of the next page, for the parameter `after`; null after the last page."""


class RequestPage(_Page):
    """A page of requests. It may hold fewer than `limit`, or none, and yet not be the last."""

    requests: list[Report]
    """Without their lists of ids."""


class AuditPage(_Page):
    """A page of the audit trail, oldest entry first."""

    entries: list[Entry]


class FilePage(_Page):
    """In which requests a file id is or was, newest first. A page may be empty and yet not be the last."""

    file_id: str
    deleted_lately: bool
    """Whether ImageKit has confirmed within KITSWEEP_REMEMBER_SECONDS that it deleted the file."""
    requests: list[Trace]


class FailureFilters(BaseModel):
    """Which failed files."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    error: Annotated[str | None, Field(max_length=500)] = None
    """Part of the error, in any case."""
    source: str | None = None
    since: datetime | None = None
    """Failed at this time or later."""
    until: datetime | None = None
    """Failed before this time."""
    request_id: str | None = None
    """Only of this request."""
    file_id: Annotated[list[str], Field(max_length=100)] = []
    """Only these; repeatable."""
    retried: bool = False
    """Whether to include files that were retried already."""


class FailureList(FailureFilters):
    """Which failed files to list, and how."""

    limit: Limit = 100
    after: After = None
    format: Literal["ndjson", "csv"] | None = None
    """All in one stream. Default: by Accept, else one page as JSON."""


class FailureRetry(FailureFilters):
    """Which failed files to retry."""

    expected: Annotated[int, Field(ge=1)]
    """How many files the filter is meant to match."""


class FailureGroups(BaseModel):
    """Failed files by error and source, the largest group first."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    files: int
    """In all groups."""
    groups: list[FailureGroup]
    """At most 1000 errors are told apart; further ones are counted together."""


class FailurePage(_Page):
    """A page of failed files, those of the newest request first."""

    failures: list[Failure]


class RetriedFailures(BaseModel):
    """What was retried."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    files: int
    requests: int
    """How many requests repeat them: one for each request that they failed in."""
    request_ids: list[str]
    """Of the first 1000 of those requests."""


class HeldRequest(BaseModel):
    """A request that waits for approval."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    request_id: str
    source: str
    total: int
    why: str
    """The guard that holds it, and the value that is beyond it."""
    reason: str | None
    since: str
    usual: float | None
    """Median size of the last accepted requests of its source; null if none is known."""


class HeldRequests(BaseModel):
    """The requests that wait for approval, the oldest first."""

    requests: list[HeldRequest]


class CleanupRules(BaseModel):
    """The cleanup rules, in the order of their file."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    off_by: str | None
    """Who switched cleanup off; null while it is on."""
    rules: list[RuleReport]


class CleanupSwitch(BaseModel):
    """Whether the cleanup rules run."""

    on: bool


class ProblemDetails(BaseModel):
    """An error (RFC 9457): what is wrong, where, and what to do."""

    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] = []
