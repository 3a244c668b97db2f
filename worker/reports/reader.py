"""Reads the report of a request, and streams its outcomes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from redis import Redis

from worker.reports.published import Group, content_in, is_told_by_report, may_name, read_result, told_outcomes
from worker.reports.report import FileOutcome, Report
from worker.states import Outcome, PurgeState, State
from worker.store.keys import Keys
from worker.times import iso

REPORT_IDS = 1000
"""Maximum file ids in each list of a report."""
_GROUPS_AT_ONCE = 10
_PAGE = 50
_LISTED = (Outcome.DELETED, Outcome.NOT_FOUND, Outcome.PRESUMED_DELETED, Outcome.FAILED)

FirstGroups = dict[tuple[str, Outcome], list[Group]]
"""Request id and outcome → the groups in which the first files ended so."""


class Known(NamedTuple):
    """A request."""

    report: Report
    canvas: dict[str, Any] | None = None
    result_ttl_ms: int | None = None
    """How long its result is kept; None: as the settings say."""
    content: str = ""
    """Digest of what was asked for; empty if its caller did not choose the request id."""
    is_told: bool = False
    """Whether its report contains all there is to know."""
    is_stored: bool = True
    """Whether it has other keys than its published result."""


def read_group(text: str) -> Group:
    """Read one entry of an outcome list, as `end_items` in `worker/queue/lua/lib/requests.lua` writes it."""
    at_ms, attempts, error, *file_ids = json.loads(text)
    return Group(int(at_ms), int(attempts), error, file_ids)


def pages_of(redis: Redis, key: str, size: int, start: int = 0) -> Iterator[str]:
    """Yield the elements of a list from `start` on, read in pages of `size`."""
    while page := cast("list[str]", redis.lrange(key, start, start + size - 1)):
        yield from page
        start += size


def queued_report(
    request_id: str, source: str, reason: str | None, total: int, now_ms: int, purge: str | None
) -> Report:
    """Return the report of a request that was just accepted."""
    report = Report(
        request_id=request_id,
        source=source,
        reason=reason,
        state=State.QUEUED.value,
        total=total,
        waiting=total,
        in_flight=0,
        deleted=0,
        not_found=0,
        presumed_deleted=0,
        failed=0,
        cancelled=0,
        successfully_deleted_file_ids=[],
        missing_file_ids=[],
        presumed_deleted_file_ids=[],
        errors=[],
        truncated=False,
        enqueued_at=iso(now_ms),
        finished_at=None,
    )
    if purge:
        set_purge_counts(report, {})
    return report


def set_purge_counts(report: Report, about: Mapping[str, str]) -> None:
    """Set the fields of a report about purges, from those of a request's hash."""
    report["purged"] = int(about.get(PurgeState.PURGED, 0))
    report["purge_pending"] = int(about.get("purge_pending", 0))
    report["purge_failed"] = int(about.get(PurgeState.FAILED, 0))
    report["purge_skipped"] = int(about.get(PurgeState.SKIPPED, 0))


class Reports:
    """Reads the requests of one account."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    def read(self, request_ids: Sequence[str], *, with_ids: bool = True) -> list[Report | None]:
        """Return the reports of several requests, in a few round trips; None for an unknown one."""
        return [known and known.report for known in self.read_all(request_ids, with_ids=with_ids)]

    def read_all(self, request_ids: Sequence[str], *, with_ids: bool = True) -> list[Known | None]:
        """Return the reports, with the Celery canvas that follows each request."""
        with self._redis.pipeline(transaction=False) as pipe:
            for request_id in request_ids:
                pipe.hgetall(self._keys.request(request_id))
            abouts = dict(zip(request_ids, cast("list[dict[str, str]]", pipe.execute()), strict=True))
        first = self._first_groups(abouts) if with_ids else {}
        # Its publisher may remove a request's keys between our round trips.
        removed = {request_id for (request_id, _), groups in first.items() if not groups}
        stored = {
            each: self._known(each, about, first) for each, about in abouts.items() if about and each not in removed
        }
        found = {**stored, **self.published([each for each in abouts if each not in stored])}
        return [found.get(request_id) for request_id in request_ids]

    def published(self, request_ids: Sequence[str], file_id: str = "") -> dict[str, Known]:
        """Return those requests whose published result contains all there is to know, and may name a file id."""
        if not request_ids:
            return {}
        texts = cast("list[str | None]", self._redis.mget(map(self._keys.result, request_ids)))
        read = {
            each: read_result(text, each, self._keys.account)
            for each, text in zip(request_ids, texts, strict=True)
            if text and may_name(text, file_id)
        }
        return {each: Known(report, is_told=True, is_stored=False) for each, report in read.items() if report}

    def content_of(self, request_id: str) -> str:
        """Return the digest of what a request asks for; empty if there is none, or the request is unknown."""
        stored = cast("str | None", self._redis.hget(self._keys.request(request_id), "content"))
        return stored or content_in(cast("str | None", self._redis.get(self._keys.result(request_id))))

    def outcomes(self, request_id: str, wanted: Collection[Outcome] = tuple(Outcome)) -> Iterator[FileOutcome]:
        """Yield each file id that has one of the wanted outcomes, in constant memory."""
        known = self.read_all([request_id])[0]
        if known and known.is_told:
            yield from (entry for entry in told_outcomes(known.report) if entry.outcome in wanted)
            return
        for outcome in wanted:
            for group in self._groups(request_id, outcome):
                at = iso(group.at_ms) or ""
                for file_id in group.file_ids:
                    yield FileOutcome(file_id, outcome, group.error, group.attempts, at)
        if Outcome.CANCELLED not in wanted:
            return
        withdrawn_at = iso(self._redis.hget(self._keys.request(request_id), "withdrawn_at")) or ""  # type: ignore[arg-type]
        for file_id in pages_of(self._redis, self._keys.request(request_id, "withdrawn"), 5000):
            yield FileOutcome(file_id, Outcome.CANCELLED, "", 0, withdrawn_at)

    def _groups(self, request_id: str, outcome: Outcome) -> Iterator[Group]:
        for text in pages_of(self._redis, self._keys.request(request_id, outcome), _PAGE):
            yield read_group(text)

    def _first_groups(self, abouts: Mapping[str, dict[str, str]]) -> FirstGroups:
        wanted = [
            (request_id, outcome)
            for request_id, about in abouts.items()
            for outcome in _LISTED
            if int(about.get(outcome, 0)) > 0
        ]
        if not wanted:
            return {}
        with self._redis.pipeline(transaction=False) as pipe:
            for request_id, outcome in wanted:
                pipe.lrange(self._keys.request(request_id, outcome), 0, _GROUPS_AT_ONCE - 1)
            read = [[read_group(text) for text in texts] for texts in pipe.execute()]
        return dict(zip(wanted, read, strict=True))

    def _listed(self, request_id: str, outcome: Outcome, count: int, first: FirstGroups) -> list[tuple[str, str]]:
        """Return up to REPORT_IDS pairs of file id and error."""
        pairs: list[tuple[str, str]] = []
        if count == 0 or (request_id, outcome) not in first:
            return pairs
        limit = min(count, REPORT_IDS)
        groups: Iterable[Group] = first[request_id, outcome]
        if sum(len(group.file_ids) for group in groups) < limit:
            groups = self._groups(request_id, outcome)
        for group in groups:
            pairs += [(file_id, group.error) for file_id in group.file_ids[: limit - len(pairs)]]
            if len(pairs) >= limit:
                break
        return pairs

    def _known(self, request_id: str, about: dict[str, str], first: FirstGroups) -> Known:
        groups = [group for outcome in _LISTED for group in first.get((request_id, outcome), ())]
        canvas, ttl_ms = (json.loads(about.get(name, "null")) for name in ("canvas", "result_ttl_ms"))
        is_told = is_told_by_report(about, groups)
        return Known(self._report(request_id, about, first), canvas, ttl_ms, about.get("content", ""), is_told)

    def _report(self, request_id: str, about: dict[str, str], first: FirstGroups) -> Report:
        counts = {outcome: int(about.get(outcome, 0)) for outcome in Outcome}
        lists = {outcome: self._listed(request_id, outcome, counts[outcome], first) for outcome in _LISTED}
        total, in_flight = int(about.get("total", 0)), int(about.get("in_flight", 0))
        ended = sum(counts.values())
        state = State(about["state"])
        # The counter exists from the first claim on, also when all items are waiting again.
        if state is State.QUEUED and ("in_flight" in about or ended):
            state = State.PROGRESS
        report = Report(
            request_id=request_id,
            source=about.get("source", ""),
            reason=about.get("reason"),
            state=state.value,
            total=total,
            waiting=total - in_flight - ended,
            in_flight=in_flight,
            deleted=counts[Outcome.DELETED],
            not_found=counts[Outcome.NOT_FOUND],
            presumed_deleted=counts[Outcome.PRESUMED_DELETED],
            failed=counts[Outcome.FAILED],
            cancelled=counts[Outcome.CANCELLED],
            successfully_deleted_file_ids=[file_id for file_id, _ in lists[Outcome.DELETED]],
            missing_file_ids=[file_id for file_id, _ in lists[Outcome.NOT_FOUND]],
            presumed_deleted_file_ids=[file_id for file_id, _ in lists[Outcome.PRESUMED_DELETED]],
            errors=[{"file_id": file_id, "error": error} for file_id, error in lists[Outcome.FAILED]],
            truncated=any(counts[outcome] > REPORT_IDS for outcome in _LISTED),
            enqueued_at=iso(about.get("enqueued_at")),
            finished_at=iso(about.get("finished_at")),
        )
        if "purge" in about:
            set_purge_counts(report, about)
        if "retry_of" in about:
            report["retry_of"] = about["retry_of"]
        return report
