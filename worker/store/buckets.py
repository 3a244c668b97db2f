"""Bounds of the histograms in the hash `metrics`: their only definition, also for Lua.

Changing bounds makes the counts of the past wrong. Give the histogram a new name then.
"""

from __future__ import annotations

BUCKETS: dict[str, tuple[int, ...]] = {
    "call_ms": (25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000),
    "call_files": (1, 10, 25, 50, 75, 90, 99, 100),
    "request_ms": (
        *(100, 250, 500, 1000, 2500, 5000, 10_000, 30_000),
        *(60_000, 300_000, 900_000, 3_600_000, 21_600_000, 86_400_000, 604_800_000),
    ),
}
"""Histogram → upper bounds of its buckets, each included; larger values count in one more bucket."""
