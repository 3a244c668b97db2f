"""The client of the ImageKit API: every call ends in one member of the closed set in `worker.imagekit.answers`.

Each call is sent once. There are no retries here, and no waiting: whether and when to call again is decided
by those who know the limit and the state of each item.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from worker.imagekit.answers import Answer, KeyRefused, ListAnswer, Missing, Page, PerFile
from worker.imagekit.reading import AnswerReader
from worker.imagekit.transport import RawAnswer, Transport, never

if TYPE_CHECKING:
    from config.settings import Settings

logger = logging.getLogger("kitsweep.imagekit")

DELETE_PATH = "/v1/files/batch/deleteByFileIds"
MAX_FILE_IDS = 100
"""The most ids that the vendor takes in one call."""
MAX_BODY_BYTES = 4 * 1024 * 1024
"""The longest answer that is read; one about 100 ids has some 3 KB."""
LIST_PATH = "/v1/files"
MAX_PAGE = 1000
"""The most objects that the vendor lists in one call."""
MAX_PAGE_BYTES = 64 * 1024 * 1024
"""A page has some 2 MB; embedded metadata can make an object much longer."""


class ImageKit:
    """Calls the API with one account's private key. Safe to share among threads, and to make before forks."""

    def __init__(self, settings: Settings, end: Callable[[], float] = never) -> None:
        """Make a client; `end` tells by when (monotonic seconds) calls must have ended, as a stopping worker's must."""
        key = settings.private_key.get_secret_value() if settings.private_key else ""
        token = base64.b64encode(f"{key}:".encode()).decode()
        self._has_key = bool(key)
        self._base_url = str(settings.base_url).rstrip("/")
        self._headers = {
            "Authorization": f"Basic {token}",  # the key is the user name; the password is ignored
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # answers are small; nothing to unpack is nothing to blow up
            "User-Agent": f"kitsweep/{_version()}",
        }
        self._reader = AnswerReader(secrets=(key, token) if key else ())
        self._transport = Transport(settings.http_connect_timeout_seconds, settings.http_timeout_seconds, end)

    def __repr__(self) -> str:
        return f"ImageKit({self._base_url!r})"

    def delete(self, file_ids: Sequence[str]) -> Answer:
        """Delete 1 to 100 files for good, with all their versions, in one bulk call.

        Nothing that the network or the server does raises. An id given twice is sent once, since what the
        vendor makes of duplicates is unknown. Without a private key no call is made, and the answer is that
        of the vendor to no key. Raises `ValueError` for no ids, or more than the vendor takes.
        """
        ids = list(dict.fromkeys(file_ids))
        if not 1 <= len(ids) <= MAX_FILE_IDS:
            raise ValueError(f"a bulk call takes 1 to {MAX_FILE_IDS} file ids, not {len(ids)}")
        if not self._has_key:
            return KeyRefused("no private key is set (IMAGEKIT_PRIVATE_KEY)")
        body = json.dumps({"fileIds": ids}, separators=(",", ":")).encode()
        answer = self._reader.read_delete(self._call("POST", DELETE_PATH, body), ids)
        _log(answer, len(ids))
        return answer

    def list_files(self, search: Mapping[str, str], skip: int, limit: int = MAX_PAGE) -> ListAnswer:
        """List up to 1000 objects of a search (parameters of `GET /v1/files`), from place `skip` on.

        Nothing that the network or the server does raises, and nothing is changed by it.
        """
        if not self._has_key:
            return KeyRefused("no private key is set (IMAGEKIT_PRIVATE_KEY)")
        query = urlencode({**search, "skip": str(skip), "limit": str(limit)}, quote_via=quote)
        answer = self._reader.read_list(self._call("GET", f"{LIST_PATH}?{query}", max_bytes=MAX_PAGE_BYTES))
        _log_list(answer, skip)
        return answer

    def close(self) -> None:
        """Close the calling thread's connection; a later call opens a new one."""
        self._transport.close()

    def _call(self, method: str, path: str, body: bytes | None = None, max_bytes: int = MAX_BODY_BYTES) -> RawAnswer:
        """Make one call to a path (with its query, if any) and return what came back, unread."""
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        return self._transport.exchange(method, self._base_url + path, headers, body, max_bytes)


def _log(answer: Answer, ids: int) -> None:
    """Write one line per call, at warning level unless the API told of single files."""
    told = isinstance(answer, PerFile | Missing)
    foreign = answer.foreign if isinstance(answer, PerFile | Missing) else 0
    meta, kind = answer.meta, type(answer).__name__
    logger.log(
        logging.INFO if told and not foreign else logging.WARNING,
        "bulk delete of %d ids: %s, status %s, %.1f ms, x-ik-requestId %s%s%s",
        ids,
        kind,
        meta.status,
        meta.elapsed_ms,
        meta.request_id,
        _detail(answer),
        f"; {foreign} entries name no id that was sent" if foreign else "",
        extra={
            "answer": kind,
            "status": meta.status,
            "imagekit_request_id": meta.request_id,
            "ids": ids,
            "foreign": foreign,
            "elapsed_ms": round(meta.elapsed_ms, 1),
        },
    )


def _log_list(answer: ListAnswer, skip: int) -> None:
    meta = answer.meta
    logger.log(
        logging.DEBUG if isinstance(answer, Page) else logging.WARNING,
        "list from %d on: %s, status %s, %.1f ms, x-ik-requestId %s%s",
        skip,
        f"{len(answer.objects)} objects" if isinstance(answer, Page) else type(answer).__name__,
        meta.status,
        meta.elapsed_ms,
        meta.request_id,
        _detail(answer),
    )


def _detail(answer: Answer | ListAnswer) -> str:
    text = getattr(answer, "message", None) or getattr(answer, "reason", None)
    return f": {text}" if text else ""


def _version() -> str:
    try:
        return version("kitsweep")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0"
