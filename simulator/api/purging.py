"""Purging the CDN cache: POST /v1/files/purge and the status of a purge."""

import json
import uuid
from urllib.parse import urlsplit

from simulator.api.account import PendingCall, SimulatedAccount, now_ms
from simulator.api.responses import INVALID_PURGE_URL, UNKNOWN_PURGE, Response, json_response
from simulator.library.records import URL_ENDPOINT

_ACCOUNT_PATH = urlsplit(URL_ENDPOINT).path
_LEAST_WILDCARD_FOLDERS = 2
_LEAST_WILDCARD_LENGTH = 15


def purge(account: SimulatedAccount, call: PendingCall) -> Response:
    """POST /v1/files/purge: accept one URL; the purge is pending for `purge_ms`."""
    url = _read_url(call.body)
    if url is None or not may_purge(url):
        return INVALID_PURGE_URL
    call.detail = url
    request_id = uuid.UUID(int=account.rng.getrandbits(128)).hex[:24]
    account.purges[request_id] = (url, now_ms())
    return json_response(201, {"requestId": request_id})


def purge_status(account: SimulatedAccount, call: PendingCall) -> Response:
    """GET /v1/files/purge/{requestId}: the status of a purge."""
    if call.argument not in account.purges:
        return UNKNOWN_PURGE
    age_ms = now_ms() - account.purges[call.argument][1]
    return json_response(200, {"status": "Pending" if age_ms < account.behaviour.purge_ms else "Completed"})


def may_purge(url: str) -> bool:
    """Return whether the URL can be purged: http or https, with at most one `*`, at its end.

    A path with a wildcard must be two folders deep, longer than 15 characters, or the whole path of a file. It starts
    below the account's URL endpoint.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc or not parts.path.strip("/"):
        return False
    if "*" not in url:
        return True
    path = parts.path.removeprefix(_ACCOUNT_PATH)
    if url.count("*") > 1 or not path.endswith("*"):
        return False
    folders, _, name = path.rstrip("*").rpartition("/")
    deep = folders.count("/") >= _LEAST_WILDCARD_FOLDERS
    return deep or len(path) > _LEAST_WILDCARD_LENGTH or "." in name.strip(".")


def _read_url(body: bytes) -> str | None:
    try:
        url = json.loads(body)["url"]
        urlsplit(url)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return None
    return url if isinstance(url, str) else None
