"""The measurements. Each returns rows for the table: what was measured, the figure, and the goal."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.baselines import bare_loop, plain_celery
from benchmarks.stand import ROOT, Stand, file_ids, wait_until
from simulator.control.remote import Control


class Row(NamedTuple):
    """One line of the table."""

    what: str
    figure: str
    goal: str = ""


def measure_bulk(stand: Stand, files: int, rounds: int) -> list[Row]:
    """One request without a limit through the command line, beside a bare loop and plain Celery."""
    ids = file_ids(files)
    ours, bare = [], []
    for _ in range(rounds):
        with stand.running(files, workers=0) as simulator:
            bare.append(bare_loop(simulator.url, ids))
        with stand.running(files) as simulator:
            seconds, _ = _delete_by_command(ids, simulator)
            ours.append(len(ids) / seconds)
    by_hundred = plain_celery(stand, files, 100)
    by_one = plain_celery(stand, files // 20, 1)
    mine, loop = statistics.median(ours), statistics.median(bare)
    ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    what = f"ids a second without a limit, one request of {files:,}"
    return [
        Row(
            f"{what}: `kitsweep delete --wait`, two worker processes",
            f"{mine:,.0f} = {ratio:.2f} of the loop",
            "0.5",
        ),
        Row(f"{what}: bare `requests` loop, full batches, no retries, no limit, no record", f"{loop:,.0f}"),
        Row(f"{what}: plain Celery, a task per 100 ids, two workers", f"{by_hundred:,.0f}"),
        Row(f"{what}: plain Celery, a task per id, two workers ({files // 20:,} ids)", f"{by_one:,.0f}"),
    ]


def measure_growth(stand: Stand, sizes: list[int]) -> list[Row]:
    """How time and the command line's memory grow with the number of ids."""
    rows = []
    for files in sizes:
        with stand.running(files) as simulator:
            seconds, peak_mb = _delete_by_command(file_ids(files), simulator)
        figure = f"{seconds:.1f} s = {1e6 * seconds / files:.0f} µs an id, {peak_mb:.0f} MB"
        rows.append(Row(f"{files:,} ids through the command line: time, its peak memory", figure, "linear, flat"))
    return rows


def _delete_by_command(ids: list[str], simulator: Control) -> tuple[float, float]:
    """Run `kitsweep delete FILE --wait`; return seconds and the peak memory of that process in MB."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(ids) + "\n")
        file.flush()
        probe = (
            "import resource, subprocess, sys\n"
            "code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
            "sys.exit(code)\n"
        )
        kitsweep = str(Path(sys.executable).with_name("kitsweep"))
        command = [sys.executable, "-c", probe, kitsweep, "delete", file.name, "--wait", "--yes"]
        started = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - started
    if done.returncode or simulator.remaining():
        raise RuntimeError(f"kitsweep delete ended with {done.returncode}")
    return seconds, int(done.stdout) * (1 if sys.platform == "linux" else 1 / 1024) / 1024


def measure_small(stand: Stand, files: int) -> list[Row]:
    """Count requests of one id each that are accepted, deleted and published."""
    with stand.running(files) as simulator:
        ids = file_ids(files)
        started = time.monotonic()
        stand.client.enqueue_many([file_id] for file_id in ids)
        wait_until(stand.drained, 120)
        rate = files / (time.monotonic() - started)
        calls = len(simulator.calls())
    figure = f"{rate:,.0f} a second, {files / calls:.0f} ids a call"
    return [
        Row(
            f"requests of one id each ({files:,}): accepted, deleted, result published",
            figure,
            "6,000 a second",
        )
    ]


def measure_quiet_source(stand: Stand, files: int) -> list[Row]:
    """Count the calls until one id of a quiet source is deleted, while another source has many waiting."""
    with stand.running(files, limits=["10/1s"]) as simulator:
        ids = file_ids(files)
        stand.client.enqueue(ids[1:], source="loud")
        wait_until(lambda: len(simulator.calls()) >= 10)
        stand.client.enqueue([ids[0]], source="quiet")
        before = len(simulator.calls())
        wait_until(lambda: ids[0] not in set(simulator.existing([ids[0]])), every=0.02)
        after = len(simulator.calls())
    what = f"one id of a quiet source, while another has {files:,} waiting: calls made until it was gone"
    return [Row(what, f"{after - before} (one or two are in flight when it is enqueued)", "next batch")]
