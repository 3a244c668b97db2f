"""Measures Kitsweep beside what one would use instead, on this machine, and prints a table in Markdown."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.accounts import measure_accounts
from benchmarks.idle import measure_idle, measure_latency
from benchmarks.limits import measure_limit
from benchmarks.measures import (
    Row,
    measure_bulk,
    measure_growth,
    measure_quiet_source,
    measure_small,
)
from benchmarks.memory import measure_memory
from benchmarks.messages import measure_messages
from benchmarks.rest import measure_rest
from benchmarks.stand import Stand, report_progress, stand
from benchmarks.web import measure_web


class Measure(NamedTuple):
    """One measure that can be asked for by name."""

    about: str
    run: Callable[[Stand], list[Row]]


MEASURES = {
    "bulk": Measure(
        "one request of 100,000 ids, beside a bare loop and plain Celery",
        lambda at: measure_bulk(at, 100_000, rounds=3),
    ),
    "growth": Measure(
        "time and memory of the command line, 10,000 to 1,000,000 ids",
        lambda at: measure_growth(at, [10_000, 100_000, 1_000_000]),
    ),
    "small": Measure("requests of one id through the client", lambda at: measure_small(at, 30_000)),
    "messages": Measure(
        "requests of one id by task name, beside celery-batches and plain Celery",
        lambda at: measure_messages(at, 40_000),
    ),
    "latency": Measure("one id on an idle system, beside the same two", lambda at: measure_latency(at, 100)),
    "idle": Measure("processor time and Redis commands of an idle worker", measure_idle),
    "memory": Measure(
        "Redis memory of waiting ids, and of requests of one id",
        lambda at: measure_memory(at, 1_000_000, 20_000),
    ),
    "quiet": Measure("one id of a quiet source beside a busy one", lambda at: measure_quiet_source(at, 100_000)),
    "web": Measure("single and bulk deletes through the HTTP drop-in", lambda at: measure_web(at, 10_000)),
    "rest": Measure(
        "a stream of 100,000 ids over HTTP, beside the command line", lambda at: measure_rest(at, 100_000, rounds=5)
    ),
    "accounts": Measure(
        "1, 10 and 100 accounts: an idle worker, throughput, equal shares",
        lambda at: measure_accounts(at, [1, 10, 100], 50_000),
    ),
    "limit10": Measure("use of a limit of 10 calls a second", lambda at: measure_limit(at, 10, 40)),
    "limit100": Measure("use of a limit of 100 calls a second", lambda at: measure_limit(at, 100, 40)),
}
EPILOG = """
It starts a Redis or Valkey server, a simulator and workers of its own on 127.0.0.1, and stops them. All measures take
about six minutes on two idle cores; other programs on the machine spoil the figures. Progress goes to standard error.

examples:
  make bench                             all measures
  make bench ARGS="limit10 limit100"     some of them
  make bench > figures.md                only the table
"""


def main() -> int:
    """Measure what was asked for."""
    parser = _parser()
    names = parser.parse_args().only or list(MEASURES)
    if unknown := [name for name in names if name not in MEASURES]:
        parser.error(f"unknown measure: {', '.join(unknown)}; known: {', '.join(MEASURES)}")
    report_progress(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    rows: list[Row] = []
    with stand() as place:
        for name in names:
            report_progress(f"{name}: {MEASURES[name].about} …")
            started = time.monotonic()
            rows += MEASURES[name].run(place)
            report_progress(f"{name}: done in {time.monotonic() - started:.0f} s")
    print("| what | measured | goal |\n| --- | --- | --- |")
    for row in rows:
        print(f"| {row.what} | {row.figure} | {row.goal} |")
    return 0


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:<9} {measure.about}" for name, measure in MEASURES.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        usage="%(prog)s [-h] [MEASURE ...]",
        description=f"{__doc__}\n\nmeasures (default: all):\n{listed}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("only", nargs="*", metavar="MEASURE", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
