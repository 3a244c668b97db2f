"""The contract of a report, in one place: its keys, its types, and that its counts add up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

KEYS = frozenset(
    {
        "request_id",
        "source",
        "reason",
        "state",
        "total",
        "waiting",
        "in_flight",
        "deleted",
        "not_found",
        "presumed_deleted",
        "failed",
        "cancelled",
        "successfully_deleted_file_ids",
        "missing_file_ids",
        "presumed_deleted_file_ids",
        "errors",
        "truncated",
        "enqueued_at",
        "finished_at",
    }
)
PURGE_KEYS = frozenset({"purged", "purge_pending", "purge_failed", "purge_skipped"})
"""Only in the reports of requests that ask for purge, all of them."""
COUNTS = ("waiting", "in_flight", "deleted", "not_found", "presumed_deleted", "failed", "cancelled")
LISTS = {
    "deleted": "successfully_deleted_file_ids",
    "not_found": "missing_file_ids",
    "presumed_deleted": "presumed_deleted_file_ids",
    "failed": "errors",
}
MOST_LISTED = 1000


def check_report(report: Mapping[str, Any], request_id: str) -> None:
    """Raise `AssertionError` for a report that is not what callers are promised."""
    assert report.keys() - KEYS in (set(), PURGE_KEYS)
    assert report.keys() >= KEYS
    assert report["request_id"] == request_id
    assert sum(report[name] for name in COUNTS) == report["total"], report
    for count, name in LISTS.items():
        assert len(report[name]) == min(MOST_LISTED, report[count]), (name, report)
    assert report["truncated"] is any(report[count] > MOST_LISTED for count in LISTS)
    assert all(entry.keys() == {"file_id", "error"} for entry in report["errors"])
    check_time(report["enqueued_at"])
    if report["state"] in {"SUCCESS", "FAILURE", "REVOKED"}:
        check_time(report["finished_at"])
        assert report["finished_at"] >= report["enqueued_at"]
        assert report["waiting"] == report["in_flight"] == 0
    else:
        assert report["finished_at"] is None


def check_time(text: str) -> None:
    """Raise unless the text is a time in ISO 8601, in UTC."""
    assert datetime.fromisoformat(text).utcoffset() == timedelta(0)
