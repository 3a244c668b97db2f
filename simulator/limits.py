"""Strict sliding-window limits, several windows at once, and the headers that announce them."""

import math
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

_FORM = re.compile(r"(\d+)/(\d*)(ms|s|m|h|d)")
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LEAST_MEMORY = 10_000


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` calls in any stretch of `interval_ms` milliseconds."""

    limit: int
    interval_ms: int

    def __post_init__(self) -> None:
        if self.limit < 1 or self.interval_ms < 1:
            raise ValueError(f"a window needs a positive limit and interval, not {self}")

    @classmethod
    def read(cls, form: "str | Window | Iterable[int]") -> Self:
        """From `5/1s`, `1000/15m` (units ms s m h d) or the pair (limit, interval in ms).

        Raises ValueError.
        """
        if isinstance(form, str):
            match = _FORM.fullmatch(form)
            if match is None:
                raise ValueError(f"not a window such as 5/1s: {form!r}")
            return cls(int(match[1]), int(match[2] or 1) * _UNITS_MS[match[3]])
        if isinstance(form, Window):
            return cls(form.limit, form.interval_ms)
        limit, interval_ms = form
        return cls(limit, interval_ms)

    def __str__(self) -> str:
        return f"{self.limit}/{self.interval_ms}ms"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a call may pass, the window to announce, and the ms to wait until that window has room."""

    allowed: bool
    window: Window | None = None
    reset_ms: int = 0


class SlidingLimit:
    """A log of admitted calls against all windows. Moments are in ms of any steady clock.

    With `count_rejected` a refused call takes room as an admitted one does.
    """

    def __init__(self, windows: Iterable[Window] = (), *, count_rejected: bool = False) -> None:
        self.count_rejected = count_rejected
        self._calls: deque[float] = deque(maxlen=_LEAST_MEMORY)
        self.windows = tuple(windows)

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows that hold now; the calls already made count against new ones."""
        return self._windows

    @windows.setter
    def windows(self, windows: tuple[Window, ...]) -> None:
        self._windows = windows
        memory = max([_LEAST_MEMORY, *(window.limit for window in windows)])
        if memory != self._calls.maxlen:
            self._calls = deque(self._calls, maxlen=memory)

    def admit(self, now_ms: float) -> Verdict:
        """Let one call pass or refuse it, and log it if it passes."""
        if not self._windows:
            return Verdict(allowed=True)
        waits = [(self._wait(window, now_ms), window) for window in self._windows]
        wait, window = max(waits, key=lambda pair: pair[0])
        if wait <= 0 or self.count_rejected:
            self._calls.append(now_ms)
        if wait > 0:
            return Verdict(allowed=False, window=window, reset_ms=math.ceil(wait))
        return Verdict(allowed=True, window=window, reset_ms=max(0, math.ceil(self._wait(window, now_ms))))

    def _wait(self, window: Window, now_ms: float) -> float:
        """Ms until the window has room for one more call; the call `limit` places back decides alone."""
        calls = self._calls
        if len(calls) < window.limit:
            return 0
        return calls[-window.limit] + window.interval_ms - now_ms


def limit_headers(verdict: Verdict, overrides: Mapping[str, str | None]) -> dict[str, str]:
    """Write the three headers for a verdict.

    `overrides` replaces a value, or drops the header where it is None.
    """
    if verdict.window is None:
        return {}
    headers: dict[str, str | None] = {
        "X-RateLimit-Limit": str(verdict.window.limit),
        "X-RateLimit-Interval": str(verdict.window.interval_ms),
        "X-RateLimit-Reset": str(verdict.reset_ms),
    }
    return {name: value for name, value in (headers | dict(overrides)).items() if value is not None}
