"""What a system with nothing to do costs, and how soon it reacts: the latency of one id, and an idle worker's use."""

from __future__ import annotations

import statistics
import time

import psutil

from benchmarks.measures import Row
from benchmarks.stand import Stand, file_ids, report_progress, wait_until
from benchmarks.systems import BATCHES, KITSWEEP, PLAIN, System, producer

IDLE_SECONDS = 8.0


def measure_latency(stand: Stand, count: int) -> list[Row]:
    """Time from sending the task of one id to its published result, with nothing else to do; one after another."""
    what = f"one id on an idle system, from sending the task to its result ({count} times): p50, p99"
    return [Row(f"{what}: {system.name}", _latency(stand, system, count)) for system in (KITSWEEP, BATCHES, PLAIN)]


def _latency(stand: Stand, system: System, count: int) -> str:
    with stand.running(count + 1, app=system.app, workers=1) as simulator, producer(stand.url) as app:
        took = []
        for file_id in simulator.remaining():
            started = time.monotonic()
            app.send_task(system.task, [[file_id]], queue=system.queue).get(timeout=60, interval=0.001)
            took.append(1000 * (time.monotonic() - started))
    # The first one opens connections.
    quantiles = statistics.quantiles(took[1:], n=100)
    figure = f"{quantiles[49]:.0f} ms, {quantiles[98]:.0f} ms"
    report_progress(f"latency of one id, {system.name}: {figure}")
    return figure


def measure_idle(stand: Stand) -> list[Row]:
    """Processor time and Redis commands of one worker that has nothing to do."""
    what = f"one idle worker, {IDLE_SECONDS:g} s: processor time, Redis commands"
    return [Row(f"{what}: {system.name}", _idle(stand, system)) for system in (KITSWEEP, PLAIN)]


def _idle(stand: Stand, system: System) -> str:
    with stand.running(1, app=system.app, workers=1) as simulator, producer(stand.url) as app:
        app.send_task(system.task, [file_ids(1)], queue=system.queue).get(timeout=60)
        wait_until(lambda: not simulator.remaining())
        time.sleep(2)
        worker = worker_process(system.app)
        busy, commands = busy_seconds(worker), commands_of(stand)
        time.sleep(IDLE_SECONDS)
        busy, commands = busy_seconds(worker) - busy, commands_of(stand) - commands
    figure = f"{100 * busy / IDLE_SECONDS:.1f} % of a core, {commands / IDLE_SECONDS:.0f} a second"
    report_progress(f"idle worker, {system.name}: {figure}")
    return figure


def worker_process(app: str) -> psutil.Process:
    """Return the process of the only worker of an application."""
    return next(child for child in psutil.Process().children() if app in child.cmdline())


def busy_seconds(worker: psutil.Process) -> float:
    """Return the processor time of a worker so far."""
    times = [process.cpu_times() for process in (worker, *worker.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def commands_of(stand: Stand) -> int:
    """Return the commands that the server has processed, those of scripts included."""
    return int(stand.redis.info("stats")["total_commands_processed"])
