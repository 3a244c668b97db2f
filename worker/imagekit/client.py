"""The client of the ImageKit API. Every call returns one of the classes in `worker.imagekit.answers`.

Each call is sent once, without waiting and without retries: its callers know the rate limit and the state of each item.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from worker.imagekit.answers import (
    Answer,
    KeyRefused,
    ListAnswer,
    Missing,
    Page,
    PerFile,
    PurgeAccepted,
    PurgeAnswer,
    PurgeStatus,
)
from worker.imagekit.connections import no_deadline
from worker.imagekit.reading import AnswerReader
from worker.imagekit.transport import RawAnswer, Transport

if TYPE_CHECKING:
    from config.settings import Settings

logger = logging.getLogger("kitsweep.imagekit")

DELETE_PATH = "/v1/files/batch/deleteByFileIds"
MAX_FILE_IDS = 100
"""The API takes at most this many ids in one bulk call."""
MAX_BODY_BYTES = 4 * 1024 * 1024
"""Longer responses are not read. A response about 100 ids has about 3 KB."""
LIST_PATH = "/v1/files"
PURGE_PATH = "/v1/files/purge"
MAX_PAGE = 1000
"""The API lists at most this many objects in one call."""
MAX_PAGE_BYTES = 64 * 1024 * 1024
"""A page usually has about 2 MB, but embedded metadata can make objects much larger."""
_NO_KEY = KeyRefused("no private key is set (IMAGEKIT_PRIVATE_KEY)")


class ImageKit:
    """Calls the API with the private key of one account. Safe to share among threads."""

    def __init__(self, settings: Settings, deadline: Callable[[], float] = no_deadline) -> None:
        """Create a client. `deadline` returns when calls must end, in monotonic seconds."""
        key = settings.private_key.get_secret_value() if settings.private_key else ""
        token = base64.b64encode(f"{key}:".encode()).decode()
        self._has_key = bool(key)
        self._base_url = settings.base_url
        self._headers = {
            "Authorization": f"Basic {token}",  # the key is the user name; the password is ignored
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # responses are small, and a compressed one could expand without limit
            "User-Agent": f"kitsweep/{_version()}",
        }
        self._reader = AnswerReader(secrets=(key, token) if key else ())
        self._transport = Transport(settings.http_connect_timeout_seconds, settings.http_timeout_seconds, deadline)

    def __repr__(self) -> str:
        return f"ImageKit({self._base_url!r})"

    def delete(self, file_ids: Sequence[str]) -> Answer:
        """Delete 1 to 100 files permanently, with all their versions, in one bulk call.

        Duplicate ids are sent once, because the vendor does not document what happens to them. Without a private key
        no call is made. Raises `ValueError` for no ids or too many; an error of network or server is an answer.
        """
        ids = list(dict.fromkeys(file_ids))
        if not 1 <= len(ids) <= MAX_FILE_IDS:
            raise ValueError(f"a bulk call takes 1 to {MAX_FILE_IDS} file ids, not {len(ids)}")
        if not self._has_key:
            return _NO_KEY
        body = json.dumps({"fileIds": ids}, separators=(",", ":")).encode()
        answer = self._reader.read_delete(self._call("POST", DELETE_PATH, body), ids)
        foreign = answer.foreign if isinstance(answer, PerFile | Missing) else 0
        level = logging.INFO if isinstance(answer, PerFile | Missing) and not foreign else logging.WARNING
        note = f"; ignored {foreign} entries that name no id of the call" if foreign else ""
        _log(level, f"bulk delete of {len(ids)} ids", answer, note, ids=len(ids), foreign=foreign)
        return answer

    def list_files(self, search: Mapping[str, str], skip: int, limit: int = MAX_PAGE) -> ListAnswer:
        """List up to 1000 objects of a search (parameters of `GET /v1/files`), from position `skip`.

        An error of network or server is an answer. Without a private key no call is made.
        """
        if not self._has_key:
            return _NO_KEY
        query = urlencode({**search, "skip": str(skip), "limit": str(limit)}, quote_via=quote)
        answer = self._reader.read_list(self._call("GET", f"{LIST_PATH}?{query}", max_bytes=MAX_PAGE_BYTES))
        found = len(answer.objects) if isinstance(answer, Page) else 0
        level = logging.DEBUG if isinstance(answer, Page) else logging.WARNING
        _log(level, f"list from {skip}", answer, f"; {found} objects" if found else "", skip=skip, objects=found)
        return answer

    def purge(self, url: str) -> PurgeAnswer:
        """Ask for the purge of one URL without query, perhaps with a `*` at its end.

        An error of network or server is an answer. Without a private key no call is made.
        """
        if not self._has_key:
            return _NO_KEY
        body = json.dumps({"url": url}, separators=(",", ":")).encode()
        answer = self._reader.read_purge(self._call("POST", PURGE_PATH, body))
        _log(_level(answer, PurgeAccepted), f"purge of {url}", answer, "")
        return answer

    def purge_status(self, purge_id: str) -> PurgeAnswer:
        """Ask whether a purge is completed. An error of network or server is an answer."""
        if not self._has_key:
            return _NO_KEY
        answer = self._reader.read_purge_status(self._call("GET", f"{PURGE_PATH}/{quote(purge_id, safe='')}"))
        _log(_level(answer, PurgeStatus), f"status of purge {purge_id}", answer, "")
        return answer

    def why_unreachable(self) -> str | None:
        """Call the API without the private key; return why it gave no response, None if it gave any."""
        headers = {name: value for name, value in self._headers.items() if name != "Authorization"}
        raw = self._transport.exchange("GET", self._base_url + LIST_PATH, headers, None, MAX_BODY_BYTES)
        return raw.failure if raw.status is None else None

    def close(self) -> None:
        """Close all connections that no call uses. A later call opens a new one."""
        self._transport.close()

    def close_old(self) -> None:
        """Close connections that were idle for so long that no call would use them."""
        self._transport.close_old()

    def _call(self, method: str, path: str, body: bytes | None = None, max_bytes: int = MAX_BODY_BYTES) -> RawAnswer:
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        return self._transport.exchange(method, self._base_url + path, headers, body, max_bytes)


def _level(answer: PurgeAnswer, usual: type) -> int:
    return logging.DEBUG if isinstance(answer, usual) else logging.WARNING


def _log(level: int, call: str, answer: Answer | ListAnswer | PurgeAnswer, note: str, **fields: int) -> None:
    """Log a call, as a warning if its response has no result for each file."""
    meta, kind = answer.meta, type(answer).__name__
    reason = getattr(answer, "message", "") or getattr(answer, "reason", "")
    logger.log(
        level,
        "%s: %s, status %s, %.1f ms, x-ik-requestId %s%s%s",
        call,
        kind,
        meta.status,
        meta.elapsed_ms,
        meta.request_id,
        f": {reason}" if reason else "",
        note,
        extra={
            "answer": kind,
            "status": meta.status,
            "imagekit_request_id": meta.request_id,
            "elapsed_ms": round(meta.elapsed_ms, 1),
            **fields,
        },
    )


def _version() -> str:
    try:
        return version("kitsweep")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0"
