"""The rules for what comes from outside, each in one place: file ids, sources, reasons, holds, request ids.

Every check returns the value that it was given, or raises `ValueError` with the rule in words and what broke
it. Values are quoted with escapes and cut short, so that they can go to a terminal or a log.
"""

from __future__ import annotations

import re
from typing import TypeGuard

MAX_FILE_ID = 256
MAX_REASON = 500
MAX_QUOTED = 60
"""Characters that are shown of a value which breaks a rule."""
MAX_HOLD_SECONDS = 10 * 366 * 86_400
"""Ten years: far beyond any undo window, and far within what dates and counters can hold."""

# What no text from outside may hold: controls, line ends, lone surrogates (which no UTF-8 can hold), and
# characters that a terminal does not show or that reorder what it shows. In ids blanks of any kind come on
# top.
HIDDEN = "\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff"
_FILE_ID = re.compile(rf"[^\s{HIDDEN}]{{1,{MAX_FILE_ID}}}")
_REASON = re.compile(rf"[^{HIDDEN}]{{0,{MAX_REASON}}}")
_SOURCE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

_FILE_ID_RULE = f"a file id is 1 to {MAX_FILE_ID} characters without spaces, control or invisible characters"
_SOURCE_RULE = "a source is 1 to 64 of the characters A-Z a-z 0-9 . _ -"
_REQUEST_ID_RULE = "a request id is 1 to 128 of the characters A-Z a-z 0-9 . _ : -"
_REASON_RULE = f"a reason is nothing or a text of at most {MAX_REASON} characters without control characters"
_HOLD_RULE = f"a hold is a number of seconds from 0 to {MAX_HOLD_SECONDS} (ten years)"


def is_file_id(value: object) -> TypeGuard[str]:
    """Tell whether a value keeps the rule for file ids."""
    return isinstance(value, str) and _FILE_ID.fullmatch(value) is not None


def check_file_id(value: object) -> str:
    """Return a file id. The vendor takes any string; ours must also be fit for lines, logs and terminals."""
    if is_file_id(value):
        return value
    raise ValueError(f"{_FILE_ID_RULE}, not {quote(value)}")


def check_source(value: object) -> str:
    """Return the name of the service or cleanup rule that a request comes from."""
    if isinstance(value, str) and _SOURCE.fullmatch(value):
        return value
    raise ValueError(f"{_SOURCE_RULE}, not {quote(value)}")


def check_request_id(value: object) -> str:
    """Return the id of a request, which is a Celery task id and so may be chosen by the caller."""
    if isinstance(value, str) and _REQUEST_ID.fullmatch(value):
        return value
    raise ValueError(f"{_REQUEST_ID_RULE}, not {quote(value)}")


def check_reason(value: object) -> str | None:
    """Return why files are to be deleted, in the caller's words; None for no reason given."""
    if value is None or (isinstance(value, str) and _REASON.fullmatch(value)):
        return value
    raise ValueError(f"{_REASON_RULE}, not {quote(value)}")


def check_hold_seconds(value: object) -> float:
    """Return for how many seconds a request waits before anything of it is deleted."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_HOLD_SECONDS:
        return float(value)
    raise ValueError(f"{_HOLD_RULE}, not {quote(value)}")


def quote(value: object) -> str:
    """Show a value of unknown kind and size: escaped and cut short, with its length when it was cut."""
    if isinstance(value, str):
        shown = ascii(value[:MAX_QUOTED])
        if len(value) > MAX_QUOTED or len(shown) > MAX_QUOTED + 2:
            return f"{shown[:MAX_QUOTED]}… ({len(value)} characters)"
        return shown if value else "an empty text"
    if value is None or isinstance(value, bool | float):
        return str(value)
    if isinstance(value, int) and abs(value) < 10**18:
        return str(value)
    return f"a value of type {type(value).__name__}"
