"""`make bench`: measures everything and prints a table in Markdown."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable

from benchmarks.limits import measure_limit
from benchmarks.measures import (
    Row,
    measure_bulk,
    measure_growth,
    measure_memory,
    measure_quiet_source,
    measure_small,
)
from benchmarks.messages import measure_messages
from benchmarks.stand import Stand, stand
from benchmarks.web import measure_web

MEASURES: dict[str, Callable[[Stand], list[Row]]] = {
    "bulk": lambda place: measure_bulk(place, 100_000, rounds=3),
    "growth": lambda place: measure_growth(place, [10_000, 100_000, 1_000_000]),
    "small": lambda place: measure_small(place, 30_000),
    "messages": lambda place: measure_messages(place, 40_000),
    "memory": lambda place: measure_memory(place, 1_000_000),
    "quiet": lambda place: measure_quiet_source(place, 100_000),
    "web": lambda place: measure_web(place, 20_000),
    "limit10": lambda place: measure_limit(place, 10, 60),
    "limit100": lambda place: measure_limit(place, 100, 60),
}


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("only", nargs="*", choices=[*MEASURES, []], help="which (default: all)")
    names = parser.parse_args().only or list(MEASURES)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}", file=sys.stderr)
    rows: list[Row] = []
    with stand() as place:
        for name in names:
            started = time.monotonic()
            rows += MEASURES[name](place)
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    print("| what | measured | goal |\n| --- | --- | --- |")
    for row in rows:
        print(f"| {row.what} | {row.figure} | {row.goal} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
