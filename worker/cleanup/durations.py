"""Lengths of time as people write them in a rules file: `90m`, `6h`, `30d`, `2w`."""

from __future__ import annotations

import re

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_FORM = re.compile(r"(\d{1,9})\s*([smhdw])", re.ASCII)
MOST_SECONDS = 100 * 366 * 86_400


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
