"""The report of a request and the outcome of each file, as callers see them."""

from __future__ import annotations

from typing import NamedTuple, NotRequired

from typing_extensions import TypedDict

from worker.states import Outcome


class FileError(TypedDict):
    """Why one file id could not be deleted."""

    file_id: str
    error: str


class Report(TypedDict):
    """The report of a request. The counts always add up to `total`. Times are ISO 8601 in UTC."""

    request_id: str
    source: str
    reason: str | None
    state: str
    total: int
    waiting: int
    in_flight: int
    deleted: int
    not_found: int
    presumed_deleted: int
    failed: int
    cancelled: int
    successfully_deleted_file_ids: list[str]
    missing_file_ids: list[str]
    presumed_deleted_file_ids: list[str]
    errors: list[FileError]
    truncated: bool
    enqueued_at: str | None
    finished_at: str | None
    retry_of: NotRequired[str]
    """The request whose failed ids this one repeats."""
    purged: NotRequired[int]
    """Deleted files whose cached copies are purged. Only if the request asks for purge, as the next three."""
    purge_pending: NotRequired[int]
    """Those whose copies are still to be purged."""
    purge_failed: NotRequired[int]
    """Not purged: the URL is not known, or ImageKit refused the purge or did not carry it out."""
    purge_skipped: NotRequired[int]
    """Not purged: the quota of the month was used up, and the settings say not to wait."""


def without_ids(report: Report) -> Report:
    """Return a report with empty lists of ids."""
    return {
        **report,
        "successfully_deleted_file_ids": [],
        "missing_file_ids": [],
        "presumed_deleted_file_ids": [],
        "errors": [],
    }


class FileOutcome(NamedTuple):
    """How one file id of a request ended: one line of `kitsweep report`."""

    file_id: str
    outcome: Outcome
    error: str
    """Why it failed, or a remark; may be empty."""
    attempts: int
    """API calls that counted as attempts, including the last."""
    at: str
    """When it was recorded, ISO 8601 in UTC."""
