"""Reads what came back from the API into the closed set of `worker.imagekit.answers`; no input makes it raise.

Everything here treats the server's bytes as unknown: shapes are checked before they are used, ids that were
never sent are dropped, and texts are cleaned before they reach a log, a report or a terminal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
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
    Refused,
    Throttled,
    Unanswered,
)
from worker.imagekit.transport import RawAnswer
from worker.text import HIDDEN

MAX_TEXT = 300
"""Characters of a server's text that are kept."""

_UNPRINTABLE = re.compile(rf"[\s{HIDDEN}]+")
_NUMBER = re.compile(r"([0-9]{1,12})(\.[0-9]{1,12})?")


def clean(text: str, secrets: Collection[str] = ()) -> str:
    """Make a server's text fit to be shown: no secrets, no control characters, at most 300 characters."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = _UNPRINTABLE.sub(" ", text[: 4 * MAX_TEXT]).strip()
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


class AnswerReader:
    """Reads answers to the bulk delete call; `secrets` that a server echoes are hidden in its texts."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        self._secrets = tuple(secrets)

    def __repr__(self) -> str:
        return "AnswerReader()"

    def read_delete(self, raw: RawAnswer, sent: Collection[str]) -> Answer:
        """Tell what the answer to a bulk delete of the ids `sent` means."""
        meta = self.meta(raw)
        status = raw.status
        if status in (200, 207):
            return self._listed(raw, frozenset(sent), meta)
        if status == 429:
            return Throttled(meta)
        if status in (401, 403):
            return KeyRefused(self._message(_json_object(raw), status), meta)
        if status is not None and 400 <= status < 500:
            return self._refusal(raw, status, frozenset(sent), meta)
        return self._unanswered(raw, meta)

    def read_list(self, raw: RawAnswer) -> ListAnswer:
        """Tell what the answer to a list call means. Nothing was changed by it, whatever it is."""
        meta = self.meta(raw)
        status = raw.status
        if status == 200 and not raw.failure:
            found = _json_value(raw)
            return Page(tuple(found), meta) if isinstance(found, list) else self._unanswered(raw, meta)
        if status == 429:
            return Throttled(meta)
        body = _json_object(raw)
        if status in (401, 403):
            return KeyRefused(self._message(body, status), meta)
        if status is not None and 400 <= status < 500 and self._is_refusal(status, body):
            return Refused(self._message(body, status), meta)
        return self._unanswered(raw, meta)

    def meta(self, raw: RawAnswer) -> Meta:
        """Read the headers that any answer may carry."""
        header = raw.headers.get
        request_id = header("x-ik-requestId")
        return Meta(
            status=raw.status,
            request_id=clean(request_id, self._secrets) or None if request_id else None,
            limits=read_limits(header("X-RateLimit-Limit"), header("X-RateLimit-Interval")),
            reset_ms=read_reset(header("X-RateLimit-Reset")),
            elapsed_ms=raw.elapsed_ms,
            sent_at=raw.sent_at,
        )

    def _listed(self, raw: RawAnswer, sent: frozenset[str], meta: Meta) -> Answer:
        body = _json_object(raw)
        gone, faults = _list_or_none(body, "successfullyDeletedFileIds"), _list_or_none(body, "errors")
        # A 207 in which every file failed might leave the first list out; a 200 without it says nothing.
        if gone is None and (raw.status == 200 or faults is None):
            return self._unanswered(raw, meta)
        deleted, foreign = _known(gone or (), sent)
        errors, foreign_errors = self._errors(faults or (), sent)
        # Of an id in both lists nothing is known. Calling it deleted might be untrue, and so might its error;
        # it is left out of both, so that it is asked for again.
        both = deleted & errors.keys()
        kept = {file_id: error for file_id, error in errors.items() if file_id not in both}
        return PerFile(deleted - both, kept, meta, foreign + foreign_errors)

    def _errors(self, entries: Collection[Any], sent: frozenset[str]) -> tuple[dict[str, str], int]:
        """Read the `errors` of a 207; of several for one id the first counts."""
        errors: dict[str, str] = {}
        foreign = 0
        for entry in entries:
            file_id = entry.get("fileId") if isinstance(entry, dict) else None
            if not isinstance(file_id, str) or file_id not in sent:
                foreign += 1
                continue
            reason = entry.get("error")
            text = clean(reason, self._secrets) if isinstance(reason, str) else ""
            errors.setdefault(file_id, text or "the API gave no reason")
        return errors, foreign

    def _refusal(self, raw: RawAnswer, status: int, sent: frozenset[str], meta: Meta) -> Answer:
        body = _json_object(raw)
        if status == 404:
            missing, foreign = _known(_list_or_none(body, "missingFileIds") or (), sent)
            if missing:
                return Missing(missing, meta, foreign)
        if self._is_refusal(status, body):
            return Refused(self._message(body, status), meta)
        return self._unanswered(raw, meta)

    @staticmethod
    def _is_refusal(status: int, body: Mapping[str, Any] | None) -> bool:
        if status == 413:
            return True  # told by whatever stands in front of the API, and seldom in JSON
        if status in (408, 425):
            return False  # "too slow" and "too early" are the line's fault, never a file's
        if body is None:
            return False
        return status in (400, 404) or isinstance(body.get("message"), str)

    def _unanswered(self, raw: RawAnswer, meta: Meta) -> Unanswered:
        if raw.status is None:
            return Unanswered(clean(raw.failure or "no answer", self._secrets), sent=raw.sent, meta=meta)
        if raw.failure:
            return Unanswered(clean(f"HTTP {raw.status}: {raw.failure}", self._secrets), meta=meta)
        message = (_json_object(raw) or {}).get("message")
        if isinstance(message, str):
            return Unanswered(clean(f"HTTP {raw.status}: {message}", self._secrets), meta=meta)
        return Unanswered(f"HTTP {raw.status}{_remark(raw)}", meta=meta)

    def _message(self, body: Mapping[str, Any] | None, status: int) -> str:
        message = (body or {}).get("message")
        text = clean(message, self._secrets) if isinstance(message, str) else ""
        return text or f"HTTP {status} without a message"


def _remark(raw: RawAnswer) -> str:
    if raw.status is not None and 300 <= raw.status < 400:
        return ", a redirect, which is not followed"
    if not raw.body:
        return " with an empty body"
    kind = "JSON of another shape" if _json_object(raw) is not None else "a body that is no JSON object"
    return f" with {kind}"


def _json_object(raw: RawAnswer) -> dict[str, Any] | None:
    """Read the body as one JSON object; None if it is none."""
    value = _json_value(raw)
    return value if isinstance(value, dict) else None


def _json_value(raw: RawAnswer) -> Any:
    """Read the body as JSON; None if it is not UTF-8, not JSON, or nested too deep."""
    try:
        return json.loads(raw.body.decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _list_or_none(body: Mapping[str, Any] | None, key: str) -> list[Any] | None:
    value = body.get(key) if body else None
    return value if isinstance(value, list) else None


def _known(values: Collection[Any], sent: frozenset[str]) -> tuple[frozenset[str], int]:
    """Those of `values` that were sent, and how many entries are anything else."""
    known = [value for value in values if isinstance(value, str) and value in sent]
    return frozenset(known), len(values) - len(known)


@lru_cache(maxsize=64)
def read_limits(limits: str | None, intervals: str | None) -> tuple[Window, ...]:
    """Windows from `X-RateLimit-Limit` (calls) and `X-RateLimit-Interval` (ms), in pairs if several.

    What makes no sense is left out: zero, negative, not a number, beyond a million calls or 31 days, unequal
    in number.
    """
    counts, lengths = _numbers(limits), _numbers(intervals)
    if len(counts) != len(lengths):
        return ()
    pairs = zip(counts, lengths, strict=True)
    windows = [Window(n, ms) for n, ms in pairs if n and ms and n <= MAX_LIMIT and ms <= MAX_INTERVAL_MS]
    return tuple(dict.fromkeys(windows))


def read_reset(text: str | None) -> int | None:
    """Milliseconds to wait from `X-RateLimit-Reset`, the longest of several; None if none makes sense."""
    waits = [ms for ms in _numbers(text) if ms and ms <= MAX_INTERVAL_MS]
    return max(waits, default=None)


def _numbers(text: str | None) -> list[int | None]:
    """Whole numbers above zero from a comma-separated header, fractions rounded up; None for what is none."""
    if text is None or len(text) > MAX_TEXT:
        return []
    matches = [_NUMBER.fullmatch(part.strip()) for part in text.split(",")]
    return [(int(m[1]) + (m[2] is not None)) or None if m else None for m in matches]
