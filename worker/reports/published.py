"""Finished requests that are stored only as their published result, which saves half the memory of a small one.

Their other keys are deleted when the result is written. These are requests without callbacks that ended as SUCCESS, all
items at the same time and at the first attempt, so that the report contains all there is to know.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, cast

from worker.reports.report import FileOutcome, Report
from worker.states import Outcome, State
from worker.store.keys import DEFAULT_ACCOUNT

_ORDINARY = frozenset(
    {
        "source",
        "reason",
        "state",
        "total",
        "in_flight",
        "enqueued_at",
        "finished_at",
        "sequence",
        "origin",
        "hold_until",
        "result_ttl_ms",
        "traceparent",
        "retry_of",
        "content",
    }
) | frozenset(Outcome)
"""Fields of a request's hash that are in its report or beside it, or that do not matter once it is final."""


class Group(NamedTuple):
    """Items of a request that ended together."""

    at_ms: int
    attempts: int
    error: str
    file_ids: list[str]


def may_name(text: str, file_id: str) -> bool:
    """Return whether JSON can have a file id in it; quick, and true where it cannot know."""
    return file_id in text or not file_id.isalnum()


def is_told_by_report(about: Mapping[str, str], groups: Iterable[Group]) -> bool:
    """Return whether the report of a request contains everything in its hash and in the groups of its items."""
    if about["state"] != State.SUCCESS or not about.keys() <= _ORDINARY:
        return False
    plain = [group for group in groups if group[:3] == (int(about["finished_at"]), 1, "")]
    return sum(len(group.file_ids) for group in plain) == int(about["total"])


def read_result(text: str | None, request_id: str, account: str) -> Report | None:
    """Return the report in a result of the backend; None if there is none, or if another application wrote it."""
    if not text or not text.startswith('{"status":"SUCCESS"'):
        return None
    meta = json.loads(text)
    report, owner = meta.get("result"), meta.get("account", DEFAULT_ACCOUNT)
    if owner != account or not isinstance(report, dict) or report.get("request_id") != request_id:
        return None
    return cast("Report", report)


def content_in(text: str | None) -> str:
    """Return the digest of content that is stored beside a report; empty if there is none."""
    return str(json.loads(text or "{}").get("content", ""))


def told_outcomes(report: Report) -> Iterator[FileOutcome]:
    """Yield the outcome of each file in the report of such a request."""
    lists = {
        Outcome.DELETED: report["successfully_deleted_file_ids"],
        Outcome.NOT_FOUND: report["missing_file_ids"],
        Outcome.PRESUMED_DELETED: report["presumed_deleted_file_ids"],
    }
    for outcome, file_ids in lists.items():
        for file_id in file_ids:
            yield FileOutcome(file_id, outcome, error="", attempts=1, at=report["finished_at"] or "")
