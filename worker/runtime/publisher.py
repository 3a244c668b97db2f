"""Publishes reports to the Celery result backend, where callers poll.

A final request stays in the outbox until it is published; after a crash in between it is published again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import cache
from typing import Any, cast

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from worker.errors import DeletionIncomplete, RequestCancelled
from worker.reports.reader import Known, Reports
from worker.reports.report import Report
from worker.runtime.canvas import body_is_promised, run_canvas
from worker.states import Outcome, State
from worker.store.keys import DEFAULT_ACCOUNT, Keys
from worker.store.scripts import Scripts

logger = logging.getLogger(__name__)

_AT_ONCE = 100
_TAKE_FOR_MS = 10_000
_PURGING_MS = 40 * 86_400_000
"""How long a result is kept whose purges may wait for the next month; it is published again when they end."""
_write_json = json.JSONEncoder(separators=(",", ":")).encode


def result_of(report: Report) -> Any:
    """Return what a caller finds as the result: the report, or an exception whose argument is the report."""
    if report["state"] == State.FAILURE:
        return DeletionIncomplete(dict(report))
    if report["state"] == State.REVOKED:
        return RequestCancelled(dict(report))
    return dict(report)


class Publisher:
    """Writes reports as Celery results. An earlier state never replaces a final one."""

    def __init__(self, app: Celery, redis: Redis, keys: Keys, result_ttl_seconds: float) -> None:
        self._app = app
        self._redis = redis
        self._keys = keys
        self._scripts = Scripts(redis, keys)
        self._reports = Reports(redis, keys)
        self._ttl_ms = int(result_ttl_seconds * 1000)

    @property
    def _backend(self) -> Any:
        return self._app.backend

    def publish(self, request_ids: Sequence[str]) -> None:
        """Publish the reports of final requests, dispatch their callbacks, and remove them from the outbox.

        Only for the process that made them final or took them from the outbox, so that callbacks run once.
        """
        for start in range(0, len(request_ids), _AT_ONCE):
            self._dispatch_callbacks(self._publish_some(request_ids[start : start + _AT_ONCE]))

    def publish_reports(self, request_ids: Sequence[str]) -> None:
        """Publish reports, final or not. Final requests that have callbacks stay in the outbox for a worker."""
        for start in range(0, len(request_ids), _AT_ONCE):
            self._publish_some(request_ids[start : start + _AT_ONCE])

    def publish_left_over(self) -> int:
        """Publish finished requests that a worker died before publishing; return how many."""
        left_over = self._scripts.run("runtime/take_unpublished", {"most": _AT_ONCE, "take_for_ms": _TAKE_FOR_MS})
        self.publish(left_over)
        return len(left_over)

    def publish_progress(self) -> int:
        """Publish the reports of unfinished requests that changed; return how many."""
        changed: list[str] = self._redis.spop(self._keys("changed"), _AT_ONCE)  # type: ignore[assignment]
        self.publish_reports(changed)
        return len(changed)

    def publish_purges(self) -> int:
        """Publish the reports of requests whose purges went on; return how many."""
        found = self._redis.zrange(self._keys("purges:changed"), 0, _AT_ONCE - 1, withscores=True)
        changed = cast("list[tuple[str, float]]", found)
        if changed:
            self.publish_reports([request_id for request_id, _ in changed])
            self._scripts.run("purge/published", {"changes": changed})
        return len(changed)

    def first_result(self, report: Report) -> str:
        """Return the result that a new request has in the backend, for `Queue.enqueue_many`."""
        return self._encode(report, self._meta(report["state"]))

    def _publish_some(self, request_ids: Sequence[str]) -> list[Known]:
        known = self._reports.read_all(request_ids)
        found = {each.report["request_id"]: each for each in known if each and each.is_stored}
        meta_of = cache(self._meta)
        with self._redis.pipeline(transaction=False) as pipe:
            # Those that have expired, and those that were published before.
            if done := [request_id for request_id in request_ids if request_id not in found]:
                pipe.zrem(self._keys("outbox"), *done)
            for each in found.values():
                self._add(pipe, each, meta_of(each.report["state"]))
            pipe.execute()
        return list(found.values())

    def _dispatch_callbacks(self, found: Sequence[Known]) -> None:
        for each in found:
            if each.canvas and _is_final(each.report):
                self._dispatch_callbacks_of(each.report, each.canvas, self._ttl_of(each))

    def _dispatch_callbacks_of(self, report: Report, canvas: dict[str, Any], ttl_ms: int) -> None:
        # The report is published by now; the request leaves the outbox once its callbacks are dispatched.
        try:
            run_canvas(self._app, canvas, report["request_id"], result_of(report), report["state"])
            # Celery has written the result of a failure anew.
            self._redis.pexpire(self._keys.result(report["request_id"]), ttl_ms)
        except (RedisError, OperationalError, OSError):
            raise
        except Exception:
            # Must not keep others from being published. This request stays in the outbox until it expires.
            logger.exception(
                "request %s: could not dispatch its callbacks, retrying later",
                report["request_id"],
                extra={"request_id": report["request_id"]},
            )
        else:
            if not body_is_promised(self._app, canvas):
                self._redis.zrem(self._keys("outbox"), report["request_id"])

    def _ttl_of(self, known: Known) -> int:
        ttl_ms = known.result_ttl_ms or self._ttl_ms
        return max(ttl_ms, _PURGING_MS) if known.report.get("purge_pending") else ttl_ms

    def _add(self, pipe: Pipeline, known: Known, meta: dict[str, Any]) -> None:
        report = known.report
        about = {
            "request": report["request_id"],
            "is_final": _is_final(report),
            "ttl_ms": self._ttl_of(known),
            "is_last": not known.canvas,
            "forget": [each for each in Outcome if report[each.value]] if known.is_told else None,
        }
        if known.is_told and known.content:
            meta = {**meta, "content": known.content}
        self._scripts.run("runtime/publish", about, self._encode(report, meta), pipe=pipe)

    def _meta(self, state: str) -> dict[str, Any]:
        """Return what Celery stores with a result in this state, the same for all results published together.

        Empty members are omitted: Celery reads them with a default.
        """
        meta: dict[str, Any] = self._backend._get_result_meta("", state, None, None)  # noqa: SLF001 - its own format
        owner = {} if self._keys.account == DEFAULT_ACCOUNT else {"account": self._keys.account}
        return {name: value for name, value in meta.items() if value is not None} | owner

    def _encode(self, report: Report, meta: dict[str, Any]) -> str:
        result = self._backend.encode_result(result_of(report), report["state"])
        return _write_json({**meta, "result": result, "task_id": report["request_id"]})


def _is_final(report: Report) -> bool:
    return State(report["state"]).is_final
