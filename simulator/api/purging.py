"""Purging the CDN cache: POST /v1/files/purge and the status of a purge."""

import json
import uuid
from urllib.parse import urlsplit

from simulator.api.account import PendingCall, Purge, SimulatedAccount, now_ms
from simulator.api.responses import INVALID_PURGE_URL, NO_PURGES_LEFT, UNKNOWN_PURGE, Response, json_response
from simulator.library.records import URL_ENDPOINT

_ACCOUNT_PATH = urlsplit(URL_ENDPOINT).path
_LEAST_WILDCARD_LEVELS = 2
_LEAST_WILDCARD_LENGTH = 15
_NEVER_PURGED = ("/media/catalog/", "/s/files/")


def purge(account: SimulatedAccount, call: PendingCall) -> Response:
    """POST /v1/files/purge: accept one URL, within the quota; the purge is pending for `purge_ms`."""
    url = _read_url(call.body)
    if url is None or not may_purge(url):
        return INVALID_PURGE_URL
    call.detail = url
    quota = account.behaviour.purge_quota
    if quota is not None and len(account.purges) >= quota:
        return NO_PURGES_LEFT
    request_id = uuid.UUID(int=account.rng.getrandbits(128)).hex[:24]
    account.purges[request_id] = Purge(url, now_ms(), len(account.purges))
    return json_response(201, {"requestId": request_id})


def purge_status(account: SimulatedAccount, call: PendingCall) -> Response:
    """GET /v1/files/purge/{requestId}: the status of a purge."""
    known = account.purges.get(call.argument)
    if known is None or call.argument in account.forgotten_purges:
        return UNKNOWN_PURGE
    return json_response(200, {"status": "Completed" if known.is_completed(account.behaviour) else "Pending"})


def may_purge(url: str) -> bool:
    """Return whether the URL can be purged: http or https, with at most one `*`, at its end.

    A path with a wildcard must have two levels, 15 characters, or be the whole path of a file. It starts below the
    account's URL endpoint. Two folders are never purged as a whole.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc or not parts.path.strip("/"):
        return False
    if "*" not in url:
        return True
    path = parts.path.removeprefix(_ACCOUNT_PATH)
    if url.count("*") > 1 or not path.endswith("*"):
        return False
    path = path.rstrip("*")
    levels, name = [part for part in path.split("/") if part], path.rpartition("/")[2]
    is_deep = len(levels) >= _LEAST_WILDCARD_LEVELS or len(path) >= _LEAST_WILDCARD_LENGTH
    return path not in _NEVER_PURGED and (is_deep or "." in name.strip("."))


def _read_url(body: bytes) -> str | None:
    try:
        url = json.loads(body)["url"]
        urlsplit(url)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return None
    return url if isinstance(url, str) else None
