"""Rate limits: how many calls are allowed in any interval of a given length."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_UNITS_MS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_FORM = re.compile(r"(\d{1,12})\s*/\s*(\d{1,12})\s*(ms|s|m|h)", re.ASCII)
MAX_LIMIT = 1_000_000
MAX_INTERVAL_MS = 31 * 24 * _UNITS_MS["h"]
"""31 days: the longest quota that ImageKit documents is monthly (cache purges)."""


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` calls in any `interval_ms` milliseconds. Raises `ValueError` if either is below 1."""

    limit: int
    interval_ms: int

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"must allow at least 1 call, not {self.limit}")
        if self.interval_ms < 1:
            raise ValueError(f"must last at least 1 ms, not {self.interval_ms}")

    @classmethod
    def parse(cls, text: str) -> Window:
        """Parse `5/1s` (5 calls a second) or `1000/15m`; units are ms, s, m and h. Raises `ValueError`."""
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise ValueError(f'{text[:40]!r} is not a rate limit; write calls/time such as "5/1s" (ms, s, m or h)')
        limit, length, unit = match.groups()
        window = cls(int(limit), int(length) * _UNITS_MS[unit])
        if window.limit > MAX_LIMIT or window.interval_ms > MAX_INTERVAL_MS:
            raise ValueError(f"{text.strip()!r} exceeds {MAX_LIMIT} calls or 31 days")
        return window

    def __str__(self) -> str:
        """Return the window as `parse` reads it, in the largest unit that divides its length."""
        for unit, size in _UNITS_MS.items():
            if self.interval_ms % size == 0:
                return f"{self.limit}/{self.interval_ms // size}{unit}"
        raise AssertionError("unreachable: every interval is a whole number of milliseconds")


def read_windows(value: object) -> tuple[Window, ...]:
    """Parse a JSON list of windows, or a decoded one. Raises `ValueError`."""
    try:
        decoded = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        decoded = None
    if not isinstance(decoded, list | tuple) or not all(isinstance(item, str | Window) for item in decoded):
        raise ValueError('must be a JSON list such as ["5/1s", "1000/15m"]')
    return tuple(item if isinstance(item, Window) else Window.parse(item) for item in decoded)
