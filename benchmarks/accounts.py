"""What many ImageKit accounts cost one worker: idle, at full speed, and how equal their shares are."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.idle import IDLE_SECONDS, busy_seconds, commands_of, worker_process
from benchmarks.measures import Row
from benchmarks.stand import Stand, file_ids, report_progress, wait_until
from config.settings import load_settings
from tasks.client import Client
from worker.store.keys import Keys

LATENCY_MS = 200


def measure_accounts(stand: Stand, counts: Sequence[int], files: int) -> list[Row]:
    """One worker with so many accounts: without work, with work for all, and halfway through it."""
    wait_until(lambda: stand.client.stats() is not None)
    return [row for count in counts for row in _rows(stand, count, files)]


def _rows(stand: Stand, count: int, files: int) -> Iterator[Row]:
    name = "one account" if count == 1 else f"{count} accounts"
    with _accounts(count) as clients:
        idle = _idle(stand)
        yield Row(f"one idle worker, {name}: processor time, Redis commands", idle)
        rate = _rate(stand, clients, files)
        yield Row(f"ids a second without a limit, {files:,} ids, one worker, {name}", f"{rate:,.0f}")
        if count > 1:
            yield Row(
                f"deleted halfway, {name} with equal work, calls of {LATENCY_MS} ms: least and most of an account",
                _shares(stand, clients, files),
            )
    report_progress(f"{name}: idle {idle}, {rate:,.0f} ids a second")


@contextmanager
def _accounts(count: int) -> Iterator[dict[str, Client]]:
    """Let workers serve so many accounts, all with files of the same simulator; give a client of each."""
    names = [f"account{number}" for number in range(1, count)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "accounts.toml"
        path.write_text("".join(f"[accounts.{name}]\nkey = 'private_{name}'\n" for name in names), "utf-8")
        path.chmod(0o600)
        os.environ["KITSWEEP_ACCOUNTS_FILE"] = str(path)
        try:
            settings = load_settings(private_key="private_benchmark")
            yield {name: Client(settings, account=name) for name in ["default", *names]}
        finally:
            del os.environ["KITSWEEP_ACCOUNTS_FILE"]


def _idle(stand: Stand) -> str:
    with stand.running(1, workers=1):
        time.sleep(8)
        worker = worker_process("worker.app")
        busy, commands = busy_seconds(worker), commands_of(stand)
        time.sleep(IDLE_SECONDS)
        busy, commands = busy_seconds(worker) - busy, commands_of(stand) - commands
    return f"{100 * busy / IDLE_SECONDS:.1f} % of a core, {commands / IDLE_SECONDS:.0f} a second"


def _rate(stand: Stand, clients: Mapping[str, Client], files: int) -> float:
    with stand.running(files, workers=1) as simulator:
        started = time.monotonic()
        _enqueue(clients, file_ids(files))
        wait_until(lambda: not simulator.remaining(), 120)
        return files / (time.monotonic() - started)


def _shares(stand: Stand, clients: Mapping[str, Client], files: int) -> str:
    with stand.running(files, workers=0) as simulator:
        simulator.set_latency(LATENCY_MS)
        _enqueue(clients, file_ids(files))
        with stand.workers(simulator, count=1):
            wait_until(lambda: len(simulator.remaining()) <= files / 2, 120)
            deleted = _deleted(stand, clients)
    return f"{min(deleted):,} and {max(deleted):,} of {files // len(clients):,}"


def _enqueue(clients: Mapping[str, Client], ids: Sequence[str]) -> None:
    for position, client in enumerate(clients.values()):
        client.enqueue(ids[position :: len(clients)])


def _deleted(stand: Stand, names: Iterable[str]) -> list[int]:
    """Return how many files of each account were deleted, as of the same moment."""
    with stand.redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.hget(Keys(name)("totals"), "deleted")
        return [int(count or 0) for count in pipe.execute()]
