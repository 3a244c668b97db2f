"""Strict sliding-window rate limits with several windows, and the headers that announce them."""

import math
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

_FORM = re.compile(r"(\d+)/(\d*)(ms|s|m|h|d)")
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MIN_LOG = 10_000


@dataclass(frozen=True, slots=True)
class RateWindow:
    """At most `limit` calls in any interval of `interval_ms` milliseconds."""

    limit: int
    interval_ms: int

    def __post_init__(self) -> None:
        if self.limit < 1 or self.interval_ms < 1:
            raise ValueError(f"limit and interval of a rate window must be at least 1, not {self}")

    @classmethod
    def read(cls, form: "str | RateWindow | Iterable[int]") -> Self:
        """Parse `5/1s` or `1000/15m` (units ms s m h d), or take a pair (limit, interval in ms). Raises ValueError."""
        if isinstance(form, str):
            match = _FORM.fullmatch(form)
            if match is None:
                raise ValueError(f"{form!r} is not a rate window; write CALLS/TIME such as 5/1s, with units ms s m h d")
            return cls(int(match[1]), int(match[2] or 1) * _UNITS_MS[match[3]])
        if isinstance(form, RateWindow):
            return cls(form.limit, form.interval_ms)
        limit, interval_ms = form
        return cls(limit, interval_ms)

    def __str__(self) -> str:
        return f"{self.limit}/{self.interval_ms}ms"


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a call is admitted, the window to announce, and the ms until that window admits another call."""

    allowed: bool
    window: RateWindow | None = None
    reset_ms: int = 0


class SlidingLimit:
    """Checks calls against all windows. Times are in ms of any steady clock.

    With `count_rejected`, refused calls count like admitted ones.
    """

    def __init__(self, windows: Iterable[RateWindow] = (), *, count_rejected: bool = False) -> None:
        self.count_rejected = count_rejected
        self._calls: deque[float] = deque(maxlen=_MIN_LOG)
        self.windows = tuple(windows)

    @property
    def windows(self) -> tuple[RateWindow, ...]:
        """The current windows. Earlier calls count against new windows too."""
        return self._windows

    @windows.setter
    def windows(self, windows: tuple[RateWindow, ...]) -> None:
        self._windows = windows
        log_size = max([_MIN_LOG, *(window.limit for window in windows)])
        if log_size != self._calls.maxlen:
            self._calls = deque(self._calls, maxlen=log_size)

    def admit(self, now_ms: float) -> Admission:
        """Admit or refuse one call."""
        if not self._windows:
            return Admission(allowed=True)
        waits = [(self._wait(window, now_ms), window) for window in self._windows]
        wait, window = max(waits, key=lambda pair: pair[0])
        if wait <= 0 or self.count_rejected:
            self._calls.append(now_ms)
        if wait > 0:
            return Admission(allowed=False, window=window, reset_ms=math.ceil(wait))
        return Admission(allowed=True, window=window, reset_ms=max(0, math.ceil(self._wait(window, now_ms))))

    def _wait(self, window: RateWindow, now_ms: float) -> float:
        """Return the ms until the window admits a call: until the `limit`-th last call leaves it."""
        calls = self._calls
        if len(calls) < window.limit:
            return 0
        return calls[-window.limit] + window.interval_ms - now_ms


def limit_headers(admission: Admission, overrides: Mapping[str, str | None]) -> dict[str, str]:
    """Return the three rate headers. `overrides` replaces values; None drops a header."""
    if admission.window is None:
        return {}
    headers: dict[str, str | None] = {
        "X-RateLimit-Limit": str(admission.window.limit),
        "X-RateLimit-Interval": str(admission.window.interval_ms),
        "X-RateLimit-Reset": str(admission.reset_ms),
    }
    return {name: value for name, value in (headers | dict(overrides)).items() if value is not None}
