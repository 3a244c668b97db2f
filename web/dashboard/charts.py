"""Charts as SVG. Colours are classes of the stylesheet: the policy allows no style attribute."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup

from web.dashboard.words import number, short

ORDER = ("deleted", "presumed_deleted", "not_found", "cancelled", "failed")
"""Outcomes from the bottom of a bar to its top."""
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 720, 200, 44, 22, 8
_TAU = 2 * math.pi


def rates(steps: Sequence[Mapping[str, float]], step_seconds: int) -> Markup:
    """Return stacked bars: files a second by outcome, the oldest step first."""
    most = _rounded_up(max((sum(step.values()) for step in steps), default=0))
    inner_width, inner_height = _WIDTH - _LEFT, _HEIGHT - _BOTTOM - _TOP
    wide, minutes = inner_width / len(steps), len(steps) * step_seconds // 60
    bars = (part for at, step in enumerate(steps) for part in _bar(step, _LEFT + at * wide, wide, inner_height / most))
    parts = "".join([_grid(most, inner_height), *bars, *_minutes(minutes, inner_width)])
    label = f"Files a second by outcome in the last {minutes} minutes, at most {number(most)}"
    return Markup(  # noqa: S704 - made of numbers and our own words
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{parts}</svg>'
    )


def _bar(step: Mapping[str, float], left: float, wide: float, scale: float) -> Iterator[str]:
    """Yield the parts of one bar, from the bottom up."""
    base = float(_HEIGHT - _BOTTOM)
    for outcome in ORDER:
        if value := step.get(outcome, 0):
            base -= value * scale
            yield _rect(left, base, wide * 0.78, value * scale, f"fill-{outcome}")


def _minutes(minutes: int, width: float) -> Iterator[str]:
    """Yield the labels of the time axis."""
    for at in range(minutes + 1):
        x, text = _LEFT + at / minutes * width, "now" if at == minutes else f"{minutes - at} min ago"
        anchor = "end" if at == minutes else "middle" if at else "start"
        yield f'<text class="tick" x="{x:.0f}" y="{_HEIGHT - 5}" text-anchor="{anchor}">{text}</text>'


def gauge(used: int, limit: int) -> Markup:
    """Return an arc that shows the calls in a window against its limit."""
    radius, share = 54, min(1.0, used / limit) if limit else 0.0
    whole = 0.75 * _TAU * radius
    arc = f'cx="70" cy="70" r="{radius}" transform="rotate(135 70 70)"'
    level = "full" if share >= 0.8 else "part"
    filled = f'<circle class="arc {level}" {arc} stroke-dasharray="{whole * share:.1f} 999"/>' if used else ""
    return Markup(  # noqa: S704 - made of numbers
        f'<svg class="gauge" viewBox="0 0 140 122" role="img" aria-label="{used} of {limit} calls">'
        f'<circle class="track" {arc} stroke-dasharray="{whole:.1f} 999"/>'
        f"{filled}"
        f'<text class="used" x="70" y="76" text-anchor="middle">{number(used)}</text>'
        f'<text class="of" x="70" y="97" text-anchor="middle">of {number(limit)}</text></svg>'
    )


def shares(counts: Mapping[str, float], total: float) -> Markup:
    """Return one bar of a request: how many of its files have which outcome; what is left is empty."""
    parts, x = [], 0.0
    for name in (*ORDER, "in_flight"):
        wide = 100 * counts.get(name, 0) / total if total else 0
        if wide:
            parts.append(_rect(x, 0, wide, 8, f"fill-{name}"))
            x += wide
    return Markup(  # noqa: S704 - made of numbers
        f'<svg class="shares" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">{"".join(parts)}</svg>'
    )


def bar(value: float, most: float) -> Markup:
    """Return a plain bar, for a column of a table."""
    wide = 100 * value / most if most else 0
    rect = _rect(0, 0, wide, 8, "fill-waiting")
    return Markup(  # noqa: S704 - made of numbers
        f'<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">{rect}</svg>'
    )


def _grid(most: float, height: float) -> str:
    lines = []
    for share in (0, 0.5, 1):
        y = _TOP + height * (1 - share)
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(
            f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{short(most * share)}</text>'
        )
    return "".join(lines)


def _rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"/>'


def _rounded_up(value: float) -> float:
    """Return the next of 1, 2, 5, 10, 20 …, so that the axis has round numbers and seldom changes."""
    if value <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if value <= step * power)
