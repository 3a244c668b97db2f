"""Numbers, durations and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from worker.times import largest_units

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
_NO_BREAK = "\N{NO-BREAK SPACE}"
_STATES = {
    "OPEN": "arriving",
    "QUEUED": "queued",
    "PROGRESS": "in progress",
    "SUCCESS": "all gone",
    "FAILURE": "incomplete",
    "REVOKED": "cancelled",
}


def number(value: float) -> str:
    """Return a number with separated thousands; small fractions keep one digit: 12,300 or 0.4."""
    return f"{value:,.1f}" if 0 < abs(value) < 10 and value != int(value) else f"{value:,.0f}"


def short(value: float) -> str:
    """Return a number of at most four characters for an axis: 950, 12k, 1.2M."""
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        if value >= size:
            return f"{value / size:.1f}".removesuffix(".0") + unit if value < 10 * size else f"{value / size:.0f}{unit}"
    return number(value)


def counted(value: int, thing: str) -> str:
    """Return a count of things: 1 file, 2 files."""
    return f"{number(value)}{_NO_BREAK}{thing}{'' if value == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return a time in its two largest units: 8 s, 3 min 20 s, 2 h 10 min, 3 d 4 h."""
    shown = [f"{count}{_NO_BREAK}{unit}" for count, unit in largest_units(seconds, _UNITS)]
    return _NO_BREAK.join(shown) or f"0{_NO_BREAK}s"


def clock(iso: str | None, zone: tzinfo = UTC) -> str:
    """Return a time of day: 14:02:31."""
    return f"{datetime.fromisoformat(iso).astimezone(zone):%H:%M:%S}" if iso else "-"


def moment(iso: str | None, zone: tzinfo = UTC) -> str:
    """Return a date and a time: 24 Nov, 14:02:31, with the year if it is another one."""
    if not iso:
        return "-"
    when = datetime.fromisoformat(iso).astimezone(zone)
    year = "" if when.year == datetime.now(zone).year else " %Y"
    return when.strftime(f"%-d %b{year}, %H:%M:%S").replace(" ", _NO_BREAK)


def seconds_between(earlier: str, later: str) -> float:
    """Return the seconds from one moment to another, both ISO 8601."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def plain(name: str) -> str:
    """Return the name of an outcome or an event for people: `not found`."""
    return name.replace("_", " ")


def state(name: str) -> str:
    """Return the state of a request for people."""
    return _STATES.get(name, name)


def size(count: float) -> str:
    """Return a number of bytes in its largest unit: 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{number(count)}{_NO_BREAK}{unit}"
        count /= 1000
    return f"{number(count)}{_NO_BREAK}TB"
