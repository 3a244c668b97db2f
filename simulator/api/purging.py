"""Purging the CDN cache: POST /v1/files/purge and the status of a purge."""

import json
import uuid
from urllib.parse import urlsplit

from simulator.api.answers import INVALID_PURGE_URL, UNKNOWN_PURGE, Answer, json_answer
from simulator.api.state import State, Visit, now_ms
from simulator.library.records import URL_ENDPOINT

_ACCOUNT_PATH = urlsplit(URL_ENDPOINT).path
_LEAST_WILDCARD_FOLDERS = 2
_LEAST_WILDCARD_LENGTH = 15


def purge(state: State, visit: Visit) -> Answer:
    """Accept one URL for purging; it stays pending for a while."""
    url = _read_url(visit.body)
    if url is None or not may_purge(url):
        return INVALID_PURGE_URL
    visit.detail = url
    request_id = uuid.UUID(int=state.dice.getrandbits(128)).hex[:24]
    state.purges[request_id] = (url, now_ms())
    return json_answer(201, {"requestId": request_id})


def purge_status(state: State, visit: Visit) -> Answer:
    """How far a purge is."""
    if visit.argument not in state.purges:
        return UNKNOWN_PURGE
    age_ms = now_ms() - state.purges[visit.argument][1]
    return json_answer(200, {"status": "Pending" if age_ms < state.behaviour.purge_ms else "Completed"})


def may_purge(url: str) -> bool:
    """Tell whether the URL can be purged: http(s), with at most one `*`, at its end, on a path long enough.

    A wildcard's path must be two folders deep, or 15 characters long, or a whole file's path. The path is
    counted from below the account's URL endpoint.
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
