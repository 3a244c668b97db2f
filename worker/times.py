"""Times, durations such as `30d`, and backoff."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_FORM = re.compile(r"(\d{1,9})\s*([smhdw])", re.ASCII)
MOST_SECONDS = 100 * 366 * 86_400
BACKOFF_FIRST_MS = 1_000
BACKOFF_MOST_MS = 60_000


def iso(ms: str | int | None) -> str | None:
    """Return milliseconds since 1970 as ISO 8601 in UTC; None stays None."""
    if ms is None:
        return None
    return datetime.fromtimestamp(int(ms) / 1000, UTC).isoformat(timespec="milliseconds")


def month_of(ms: int) -> str:
    """Return the calendar month of a time (ms since 1970) in UTC, such as 2026-11."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m}"


def milliseconds(moment: datetime) -> int:
    """Return a time as milliseconds since 1970; 0 for an earlier one."""
    return max(0, int(moment.timestamp() * 1000))


def parse_duration(text: object) -> int:
    """Return seconds. `ValueError` says what is wrong; months and years are refused, since their length varies."""
    match = _FORM.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        hint = "; write months and years in days" if isinstance(text, str) and text[-2:].strip(" 0123456789") else ""
        raise ValueError(f'must be a number with a unit s, m (minutes), h, d or w, such as "30d"{hint}')
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > MOST_SECONDS:
        raise ValueError("must be at most 100 years")
    return seconds


def write_duration(seconds: int) -> str:
    """Write seconds in the largest unit that divides them."""
    for unit in ("w", "d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"


def largest_units(seconds: float, units: Sequence[tuple[str, int]]) -> list[tuple[int, str]]:
    """Return a time in its two largest units, without those that are zero.

    `units` are names and lengths in seconds, the largest first: 7,260 s in d, h, m and s are 2 h and 1 m.
    """
    left = max(0, round(seconds))
    parts: list[tuple[int, str]] = []
    for unit, size in units:
        count, left = divmod(left, size)
        if count or parts:
            parts.append((count, unit))
    return [part for part in parts[:2] if part[0]]


def backoff_ms(failures: int, jitter: float | None = None) -> int:
    """Return the milliseconds to wait after the n-th failure: doubling from one second, at most a minute.

    `jitter` is a number from 0 to 1 (random by default) that takes off up to a quarter, so that items that failed
    together are not retried together.
    """
    delay = BACKOFF_MOST_MS if failures > 7 else min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** max(0, failures - 1))
    return int(delay * (1 - 0.25 * (random.random() if jitter is None else jitter)))  # noqa: S311 - not for secrets
