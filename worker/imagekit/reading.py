"""Reads responses of the API into the classes of `worker.imagekit.answers`. No input raises.

The server is not trusted: types are checked before use, ids that were not sent are dropped, and texts are cleaned
before they reach a log, a report or a terminal.
"""

import json
import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from config.windows import MAX_INTERVAL_MS, MAX_LIMIT, Window
from worker.imagekit.answers import (
    Answer,
    KeyRefused,
    ListAnswer,
    Meta,
    Missing,
    Page,
    PerFile,
    PurgeAccepted,
    PurgeAnswer,
    PurgeStatus,
    Refused,
    Throttled,
    Unanswered,
)
from worker.imagekit.transport import RawAnswer
from worker.text import HIDDEN

MAX_TEXT = 300
"""Longer texts of a server are cut."""

_UNPRINTABLE = re.compile(rf"[\s{HIDDEN}]+")
_PURGE_ID = re.compile(r"[A-Za-z0-9._-]{1,200}")
_NUMBER = re.compile(r"([0-9]{1,12})(\.[0-9]{1,12})?")


def clean(text: str, secrets: Collection[str] = ()) -> str:
    """Return a server's text without secrets and control characters, at most 300 characters long."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = _UNPRINTABLE.sub(" ", text[: 4 * MAX_TEXT]).strip()
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


class AnswerReader:
    """Reads responses; `secrets` that a server echoes are masked in its texts."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        self._secrets = tuple(secrets)

    def __repr__(self) -> str:
        return "AnswerReader()"

    def read_delete(self, raw: RawAnswer, sent: Collection[str]) -> Answer:
        """Return what the response to a bulk delete of the ids `sent` means."""
        meta, body, ids = self.meta(raw), _json_value(raw), frozenset(sent)
        if raw.status in (200, 207):
            return self._per_file(raw, body, ids, meta)
        missing, foreign = _known(_list_or_none(body, "missingFileIds") or (), ids)
        if raw.status == 404 and missing:
            return Missing(missing, meta, foreign)
        return self._not_carried_out(raw, body, meta)

    def read_list(self, raw: RawAnswer) -> ListAnswer:
        """Return what the response to a list call means."""
        meta, body = self.meta(raw), _json_value(raw)
        if raw.status == 200 and isinstance(body, list):
            return Page(tuple(body), meta)
        return self._not_carried_out(raw, body, meta)

    def read_purge(self, raw: RawAnswer) -> PurgeAnswer:
        """Return what the response to a purge call means."""
        meta, body = self.meta(raw), _json_value(raw)
        purge_id = body.get("requestId") if isinstance(body, dict) else None
        if raw.status in (200, 201) and isinstance(purge_id, str) and _PURGE_ID.fullmatch(purge_id):
            return PurgeAccepted(purge_id, meta)
        return self._not_carried_out(raw, body, meta)

    def read_purge_status(self, raw: RawAnswer) -> PurgeAnswer:
        """Return what the response to a question about a purge means."""
        meta, body = self.meta(raw), _json_value(raw)
        status = body.get("status") if isinstance(body, dict) else None
        if raw.status == 200 and status in ("Pending", "Completed"):
            return PurgeStatus(status == "Completed", meta)
        return self._not_carried_out(raw, body, meta)

    def meta(self, raw: RawAnswer) -> Meta:
        """Read the headers that any response may have."""
        header = raw.headers.get
        return Meta(
            status=raw.status,
            request_id=self._clean(header("x-ik-requestId")) or None,
            limits=read_limits(header("X-RateLimit-Limit"), header("X-RateLimit-Interval")),
            reset_ms=read_reset(header("X-RateLimit-Reset")),
            elapsed_ms=raw.elapsed_ms,
            sent_at=raw.sent_at,
        )

    def _per_file(self, raw: RawAnswer, body: object, sent: frozenset[str], meta: Meta) -> Answer:
        listed, entries = _list_or_none(body, "successfullyDeletedFileIds"), _list_or_none(body, "errors")
        # A 207 in which every file failed may leave out the first list. A 200 without it says nothing.
        if listed is None and (raw.status == 200 or entries is None):
            return self._unanswered(raw, body, meta)
        deleted, foreign = _known(listed or (), sent)
        errors, foreign_errors = self._errors(entries or (), sent)
        # An id in both lists may or may not be deleted. It is in neither result, so that it is sent again.
        both = deleted & errors.keys()
        errors = {file_id: error for file_id, error in errors.items() if file_id not in both}
        return PerFile(deleted - both, errors, meta, foreign + foreign_errors)

    def _errors(self, entries: Collection[Any], sent: frozenset[str]) -> tuple[dict[str, str], int]:
        """Return the error of each id, the first of several, and the number of entries for ids that were not sent."""
        errors: dict[str, str] = {}
        pairs = [(entry.get("fileId"), entry.get("error")) for entry in entries if isinstance(entry, dict)]
        known = [(file_id, error) for file_id, error in pairs if isinstance(file_id, str) and file_id in sent]
        for file_id, error in known:
            errors.setdefault(file_id, self._clean(error) or "the API gave no reason")
        return errors, len(entries) - len(known)

    def _not_carried_out(
        self, raw: RawAnswer, body: object, meta: Meta
    ) -> Refused | KeyRefused | Throttled | Unanswered:
        status = raw.status
        if status == 429:
            return Throttled(meta)
        if status in (401, 403):
            return KeyRefused(self._message(body) or f"HTTP {status} without a message", meta)
        if status is not None and _is_refusal(status, body):
            return Refused(self._message(body) or f"HTTP {status} without a message", meta)
        return self._unanswered(raw, body, meta)

    def _unanswered(self, raw: RawAnswer, body: object, meta: Meta) -> Unanswered:
        reason = raw.failure or self._message(body)
        if raw.status is not None:
            reason = f"HTTP {raw.status}: {reason}" if reason else f"HTTP {raw.status}{_remark(raw, body)}"
        return Unanswered(self._clean(reason) or "no response", sent=raw.sent, meta=meta)

    def _message(self, body: object) -> str:
        return self._clean(body.get("message")) if isinstance(body, dict) else ""

    def _clean(self, text: object) -> str:
        return clean(text, self._secrets) if isinstance(text, str) else ""


def _is_refusal(status: int, body: object) -> bool:
    if status == 413:
        return True  # sent by a proxy in front of the API, and seldom as JSON
    if status in (408, 425) or not 400 <= status < 500 or not isinstance(body, dict):
        return False  # 408 and 425 are about the connection, not about a file
    return status in (400, 404) or isinstance(body.get("message"), str)


def _remark(raw: RawAnswer, body: object) -> str:
    if raw.status is not None and 300 <= raw.status < 400:
        return ", a redirect, which is not followed"
    if not raw.body:
        return " with an empty body"
    return f" with {'unexpected JSON' if isinstance(body, dict) else 'a body that is not a JSON object'}"


def _json_value(raw: RawAnswer) -> Any:
    """Parse the body. None if it is incomplete, not UTF-8, not JSON, or nested too deep."""
    if raw.failure:
        return None
    try:
        return json.loads(raw.body.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _list_or_none(body: object, key: str) -> list[Any] | None:
    value = body.get(key) if isinstance(body, dict) else None
    return value if isinstance(value, list) else None


def _known(values: Collection[Any], sent: frozenset[str]) -> tuple[frozenset[str], int]:
    """Return the values that were sent, and the number of other values."""
    known = [value for value in values if isinstance(value, str) and value in sent]
    return frozenset(known), len(values) - len(known)


@lru_cache(maxsize=64)
def read_limits(limits: str | None, intervals: str | None) -> tuple[Window, ...]:
    """Return the windows in `X-RateLimit-Limit` (calls) and `X-RateLimit-Interval` (ms), which may be lists.

    Invalid pairs are ignored: zero, negative, no numbers, above a million calls or 31 days. So are lists of different
    length.
    """
    counts, lengths = _numbers(limits), _numbers(intervals)
    if len(counts) != len(lengths):
        return ()
    pairs = zip(counts, lengths, strict=True)
    windows = [Window(n, ms) for n, ms in pairs if n and ms and n <= MAX_LIMIT and ms <= MAX_INTERVAL_MS]
    return tuple(dict.fromkeys(windows))


def read_reset(text: str | None) -> int | None:
    """Return the ms to wait in `X-RateLimit-Reset`, the longest of a list; None if none is valid."""
    waits = [ms for ms in _numbers(text) if ms and ms <= MAX_INTERVAL_MS]
    return max(waits, default=None)


def _numbers(text: str | None) -> list[int | None]:
    """Return the numbers above zero in a comma-separated header, rounded up, and None for each other part."""
    if text is None or len(text) > MAX_TEXT:
        return []
    matches = [_NUMBER.fullmatch(part.strip()) for part in text.split(",")]
    return [(int(m[1]) + (m[2] is not None)) or None if m else None for m in matches]
