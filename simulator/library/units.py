"""Times and sizes as ImageKit's search language writes them.

All times in the simulator are integers: milliseconds since 1970 in UTC.
"""

import re
from datetime import UTC, datetime

_MS_PER_UNIT = {
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 7 * 86_400_000,
    "m": 30 * 86_400_000,
    "y": 365 * 86_400_000,
}
_BYTES_PER_UNIT = {"": 1, "b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}
_AGE = re.compile(r"(\d+)([hdwmy])")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)


def parse_time(text: str, now_ms: int) -> int:
    """Parse an age or an ISO 8601 date into milliseconds.

    An age is a number and a unit, h d w m or y: `30d` is thirty days before `now_ms`. The vendor does not document the
    length of a month and a year; here they are 30 and 365 days. A date without a time is midnight, and a time without a
    zone is UTC. Raises ValueError for anything else.
    """
    age = _AGE.fullmatch(text)
    if age:
        return now_ms - int(age[1]) * _MS_PER_UNIT[age[2]]
    parsed = datetime.fromisoformat(text)
    return to_ms(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))


def to_ms(time: datetime) -> int:
    """Return the milliseconds since 1970 of an aware datetime."""
    return round(time.timestamp() * 1000)


def iso(ms: int) -> str:
    """Format a time as the API does, such as `2026-11-23T20:13:00.000Z`."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_size(text: str) -> float:
    """Parse `500`, `10kb` or `1.5MB` into bytes (1 kb is 1024 bytes). Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None or match[2].lower() not in _BYTES_PER_UNIT:
        raise ValueError(f"{text!r} is not a size")
    return float(match[1]) * _BYTES_PER_UNIT[match[2].lower()]
