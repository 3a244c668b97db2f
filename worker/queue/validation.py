"""Validates requests before they are enqueued, for every caller."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict, TypeGuard, TypeVar
from urllib.parse import urlsplit

from config.names import CLEANUP, is_name
from config.result_ttls import MAX_TTL_SECONDS, MIN_RESULT_TTL_SECONDS
from config.webhooks import check_url
from worker.errors import InvalidRequest
from worker.text import HIDDEN, quote

T = TypeVar("T")
Urls = dict[str, str]
"""File id → URL of the file."""
PURGES = ("true", "folder", "wait")

MAX_FILE_ID = 256
MAX_REASON = 500
MAX_URL = 2000
MAX_HOLD_SECONDS = 10 * 366 * 86_400
"""Ten years: longer than any sensible hold, and within the range of dates and counters."""

_FILE_ID = re.compile(rf"[^\s{HIDDEN}]{{1,{MAX_FILE_ID}}}")
_REASON = re.compile(rf"[^{HIDDEN}]{{0,{MAX_REASON}}}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

_FILE_URL = re.compile(rf"https?://[^\s{HIDDEN}*]{{1,{MAX_URL}}}", re.IGNORECASE)

_PURGE_RULE = 'purge is true, "folder" or "wait"'
_FILE_URL_RULE = f"the URL of a file is an http or https URL of at most {MAX_URL} characters, without * and credentials"
_FILE_ID_RULE = f"a file id is 1 to {MAX_FILE_ID} characters without spaces, control or invisible characters"
_SOURCE_RULE = "a source is 1 to 64 of the characters A-Z a-z 0-9 . _ -"
_ACCOUNT_RULE = "the name of an account is 1 to 64 of the characters A-Z a-z 0-9 . _ -"
_REQUEST_ID_RULE = "a request id is 1 to 128 of the characters A-Z a-z 0-9 . _ : -"
_REASON_RULE = f"a reason is a text of at most {MAX_REASON} characters without control characters"
_HOLD_RULE = f"a hold is a number of seconds from 0 to {MAX_HOLD_SECONDS} (ten years)"
_RESULT_TTL_RULE = (
    f"a result is kept for a whole number of seconds from {MIN_RESULT_TTL_SECONDS} to {MAX_TTL_SECONDS} (ten years)"
)


class Asked(TypedDict):
    """A validated request, without its file ids."""

    request_id: str
    source: str
    reason: str | None
    hold_seconds: float
    result_ttl_seconds: int | None
    """How long its result is kept; None: as long as the settings say."""
    callback: str | None
    purge: str | None
    """Whether cached copies are purged: true, folder or wait; None: no."""


def _delete_files(  # noqa: PLR0913 - the arguments of the task
    file_ids: object,
    source: object = "default",
    reason: object = None,
    hold_seconds: object = 0,
    result_ttl_seconds: object = None,
    callback: object = None,
    *,
    account: object = None,
    purge: object = None,
) -> None:
    """Declare the arguments of the task `kitsweep.delete_files`."""


_ARGUMENTS = inspect.signature(_delete_files)
_DEFAULTS = {each.name: each.default for each in _ARGUMENTS.parameters.values() if each.default is not each.empty}


def bound_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the task `kitsweep.delete_files` by name. Raises `InvalidRequest`."""
    if len(args) == 1 and kwargs.keys() <= _DEFAULTS.keys():  # the usual form; binding takes ten times as long
        return {"file_ids": args[0], **_DEFAULTS, **kwargs}
    try:
        bound = _ARGUMENTS.bind(*args, **kwargs)
    except TypeError as error:
        rule = f"{error}; kitsweep.delete_files takes {', '.join(_ARGUMENTS.parameters)}"
        raise InvalidRequest("arguments", None, rule) from None
    bound.apply_defaults()
    return bound.arguments


def checked_request(
    request_id: object,
    source: object,
    reason: object,
    hold_seconds: object,
    result_ttl_seconds: object = None,
    callback: object = None,
    purge: object = None,
) -> Asked:
    """Validate the parts of a request. Raises `InvalidRequest`, which names the invalid argument."""
    if isinstance(request_id, str) and request_id.startswith(CLEANUP):
        raise InvalidRequest("task id", None, f"ids that start with {CLEANUP} are reserved for cleanup rules")
    return Asked(
        request_id=_checked("task id", check_request_id, request_id),
        source=_checked("source", check_source, source),
        reason=_checked("reason", check_reason, reason),
        hold_seconds=_checked("hold_seconds", check_hold_seconds, hold_seconds),
        result_ttl_seconds=_checked("result_ttl_seconds", check_result_ttl, result_ttl_seconds),
        callback=_checked("callback", check_callback, callback),
        purge=_checked("purge", check_purge, purge),
    )


def checked_account(account: object) -> str | None:
    """Validate the form of an account's name. Raises `InvalidRequest`."""
    return _checked("account", check_account, account)


def checked_file_ids(file_ids: object, most: int, urls: Urls | None = None) -> list[str]:
    """Validate the 1 to `most` files of a message, as `checked_stream` does. Raises `InvalidRequest`."""
    if not isinstance(file_ids, list | tuple):
        raise InvalidRequest("file_ids", None, f"must be a list of file ids, not {type(file_ids).__name__}")
    if not file_ids:
        raise InvalidRequest("file_ids", None, "must contain at least one file id")
    if len(file_ids) > most:
        rule = (
            f"must be at most {most} ids in one message (KITSWEEP_MAX_REQUEST_IDS), not {len(file_ids)}; send several"
        )
        raise InvalidRequest("file_ids", None, rule)
    return list(checked_stream(file_ids, urls))


def checked_stream(file_ids: Iterable[object], urls: Urls | None = None) -> Iterator[str]:
    """Yield valid file ids: of plain ids and of objects `{"fileId", "url"}`, whose URLs are put into `urls`, if given.

    Raises `InvalidRequest` with the position of the first invalid one.
    """
    for position, value in enumerate(file_ids):
        if is_file_id(value):
            yield value
            continue
        try:
            yield _id_of_object(value, urls) if isinstance(value, Mapping) else check_file_id(value)
        except ValueError as error:
            raise InvalidRequest("file_ids", position, str(error)) from None


def _id_of_object(value: Mapping[str, object], urls: Urls | None) -> str:
    file_id = check_file_id(value.get("fileId"))
    keep_url(urls, file_id, value.get("url"))
    return file_id


def keep_url(urls: Urls | None, file_id: str, url: object) -> None:
    """Put the URL of a file into `urls`, unless it is None or the file has one. Raises `ValueError`."""
    if urls is not None and url:
        urls.setdefault(file_id, check_file_url(url))


def _checked(argument: str, check: Callable[[object], T], value: object) -> T:
    try:
        return check(value)
    except ValueError as error:
        raise InvalidRequest(argument, None, str(error)) from None


def is_file_id(value: object) -> TypeGuard[str]:
    """Return whether a value is a valid file id."""
    return isinstance(value, str) and _FILE_ID.fullmatch(value) is not None


def check_file_id(value: object) -> str:
    """Validate a file id. ImageKit takes any string; these must also be safe in input lines, logs and terminals."""
    if is_file_id(value):
        return value
    raise ValueError(f"{_FILE_ID_RULE}, not {quote(value)}")


def check_source(value: object) -> str:
    """Validate a source: the service or cleanup rule that a request comes from."""
    if isinstance(value, str) and is_name(value):
        return value
    raise ValueError(f"{_SOURCE_RULE}, not {quote(value)}")


def check_request_id(value: object) -> str:
    """Validate a request id. It is the Celery task id, so the caller may choose it."""
    if isinstance(value, str) and _REQUEST_ID.fullmatch(value):
        return value
    raise ValueError(f"{_REQUEST_ID_RULE}, not {quote(value)}")


def check_reason(value: object) -> str | None:
    """Validate the caller's reason for a deletion; None if there is none."""
    if value is None or (isinstance(value, str) and _REASON.fullmatch(value)):
        return value
    raise ValueError(f"{_REASON_RULE}, not {quote(value)}")


def check_hold_seconds(value: object) -> float:
    """Validate a hold, in seconds: how long a request waits before its first call."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_HOLD_SECONDS:
        return float(value)
    raise ValueError(f"{_HOLD_RULE}, not {quote(value)}")


def check_result_ttl(value: object) -> int | None:
    """Validate how long a result is kept, in seconds; None if the settings decide."""
    if value is None:
        return None
    if type(value) is int and MIN_RESULT_TTL_SECONDS <= value <= MAX_TTL_SECONDS:
        return value
    raise ValueError(f"{_RESULT_TTL_RULE}, not {quote(value)}")


def check_account(value: object) -> str | None:
    """Validate the form of an account's name; None if none is named."""
    if value is None or (isinstance(value, str) and is_name(value)):
        return value
    raise ValueError(f"{_ACCOUNT_RULE}, not {quote(value)}")


def check_purge(value: object) -> str | None:
    """Validate whether a request asks for purge: true, "folder" or "wait"; None if it does not."""
    text = {True: "true", False: None, "false": None}.get(value, value) if isinstance(value, bool | str) else value
    if text is None or text in PURGES:
        return text
    raise ValueError(f"{_PURGE_RULE}, not {quote(value)}")


def check_file_url(value: object) -> str:
    """Validate the URL of a file, and return it without query and fragment."""
    if isinstance(value, str) and _FILE_URL.fullmatch(value):
        url = re.split(r"[?#]", value, maxsplit=1)[0]
        if _names_a_file(url):
            return url
    raise ValueError(f"{_FILE_URL_RULE}, not {quote(value)}")


def _names_a_file(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc and parts.path[-1:] not in {"", "/"}
    except ValueError:
        return False


def check_callback(value: object) -> str | None:
    """Validate a callback URL; None if there is none. The error does not show it: it may hold credentials."""
    if value is None:
        return None
    if isinstance(value, str):
        return check_url(value)
    raise ValueError(f"must be a URL, not {quote(value)}")
