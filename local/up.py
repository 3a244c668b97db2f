"""`kitsweep up`: everything in one command, on one machine, until Ctrl-C.

It runs a Redis of its own (or the one that is set), workers, beat, and the simulator when no private key is set.
What ends by itself is started again. What a killed predecessor left is ended, and its data are taken over.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from config.settings import ConfigError, Settings, load_settings
from local.overview import Overview, overview
from local.ports import free_port
from local.processes.process import end_left_overs, find_left_over
from local.processes.supervisor import StopSignals
from local.programs import Places, simulated
from local.redis_server import STOP_SECONDS
from local.sample_ids import write_sample_ids
from local.stack import WARM_SECONDS, LocalRun
from local.which_redis import WhichRedis, choose_redis
from worker.errors import KitsweepError
from worker.limiter.slots import Limiter
from worker.reports.stats import read_stats
from worker.store.connection import explained

DATA_DIR = Path(".kitsweep")
SIMULATOR_PORT = 8090
SIMULATED_FILES = 10_000


class AlreadyUp(KitsweepError):
    """Another `kitsweep up` runs on the same data folder."""

    def __init__(self, folder: Path, pid: str) -> None:
        super().__init__(folder, pid)
        self.folder = folder
        self.pid = pid

    def __str__(self) -> str:
        return f"already running on {self.folder} (pid {self.pid}); stop it, or name another data folder"


class IdsWait(KitsweepError):
    """Real ids wait in a Redis that the simulator would answer for."""

    def __init__(self, count: int, address: str) -> None:
        super().__init__(count, address)
        self.count = count
        self.address = address

    def __str__(self) -> str:
        return (
            f"{self.count} ids wait in Redis at {self.address}, and IMAGEKIT_PRIVATE_KEY is not set: the "
            "simulator would answer for them, and their reports would be wrong. "
            "Set the key, or unset KITSWEEP_REDIS_URL."
        )


@dataclass(frozen=True)
class Options:
    """What `run_up` was asked for."""

    workers: int
    port: int | None
    celery: Sequence[str]
    """Options of `celery worker`."""
    files: int


def run_up(
    workers: int = 1,
    data_dir: Path = DATA_DIR,
    port: int | None = None,
    *,
    pool: str | None = None,
    concurrency: int | None = None,
    files: int = SIMULATED_FILES,
) -> int:
    """Run everything until SIGINT, SIGTERM or SIGHUP; return the exit status: 0 stopped, 2 could not start.

    `workers`: worker processes. `data_dir`: data, logs and notes; made if need be. `port`: of the embedded
    server (None: 6379, or the next that is free). `pool` and `concurrency` go to `celery worker`. `files`: how
    many the simulator has. Belongs into the main thread, which alone hears signals.
    """
    celery = [*(["-P", pool] if pool else []), *(["-c", str(concurrency)] if concurrency else [])]
    places = Places(data_dir)
    try:
        settings = load_settings()
        places.make()
        with StopSignals() as signals, _locked(places):
            _run(LocalRun(places, signals, say), settings, Options(workers, port, celery, files))
    except (ConfigError, KitsweepError, OSError) as error:
        for line in str(error).splitlines():
            say(f"kitsweep up: {line}")
        return 2
    return 0


def say(line: str) -> None:
    """Write a line to standard output; nobody may be there to read it any more."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError:
        return


def _run(run: LocalRun, settings: Settings, options: Options) -> None:
    try:
        _start(run, settings, options)
        run.supervisor.keep_until(lambda: False)
        run.say("Stopping: calls in the air are finished first, for up to 60 s. Ctrl-C again stops at once.")
    finally:
        run.stop()
    run.say("Everything has stopped. What still waits is kept, and goes on with the next start.")


def _start(run: LocalRun, settings: Settings, options: Options) -> None:
    is_simulated = settings.private_key is None
    with _mending(run):
        which = choose_redis(settings, options.port)
        _start_redis(run, which, is_simulated=is_simulated)
    told: dict[str, str] = {}
    simulator_url = None
    if is_simulated and not run.signals.asked_to_stop():
        write_sample_ids(run.places.sample_ids, options.files, run.queue())
        port = free_port([SIMULATOR_PORT])
        simulator_url = run.start_simulator(port, settings.rate_limits, run.places.sample_ids)
        told = simulated(simulator_url)
    if not run.signals.asked_to_stop():
        run.say(f"Starting {options.workers} worker{'s' if options.workers > 1 else ''} and beat …")
        run.start_workers(options.workers, told, options.celery, with_beat=True)
    if not run.signals.asked_to_stop():
        about = Overview(which, settings, run.places, simulator_url, options.workers, _command())
        for line in overview(about):
            run.say(line)


def _start_redis(run: LocalRun, which: WhichRedis, *, is_simulated: bool) -> None:
    if which.port is not None:
        run.start_server(run.places.redis(simulated=is_simulated), which.port)
    run.url = which.url
    if which.port is None and is_simulated:
        _check_that_nothing_waits(run)


def _check_that_nothing_waits(run: LocalRun) -> None:
    settings = load_settings(redis_url=run.url)
    queue = run.queue()
    with explained(settings):
        stats = read_stats(queue, Limiter(queue.redis, settings))
    if count := stats["waiting"] + stats["in_flight"]:
        raise IdsWait(count, settings.redis_address)


@contextmanager
def _locked(places: Places) -> Iterator[None]:
    """Keep the folder for us alone; the system frees it however we end."""
    with places.lock.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise AlreadyUp(places.folder, lock.read().strip() or "unknown") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


@contextmanager
def _mending(run: LocalRun) -> Iterator[None]:
    """End what a killed predecessor left, around the start of Redis: workers with an answer in hand need one."""
    places, hurry = run.places, run.signals.asked_to_stop
    servers = [places.redis(simulated=each) / "redis.pid" for each in (True, False)]
    others = sorted(places.notes.glob("*.pid"))
    was_killed = bool(others) or any(note.exists() for note in servers)
    if was_killed:
        run.say("An earlier `kitsweep up` was killed. Its data are taken over, and what it left running is ended.")
    if any(map(find_left_over, servers)):
        end_left_overs(others, WARM_SECONDS, hurry)
        end_left_overs(servers, STOP_SECONDS)
    yield
    end_left_overs(others, WARM_SECONDS, hurry)
    for note in others:
        note.unlink(missing_ok=True)


def _command() -> str:
    """Return how `kitsweep` is called here."""
    if shutil.which("kitsweep"):
        return "kitsweep"
    beside = Path(sys.executable).with_name("kitsweep")
    try:
        return str(beside.relative_to(Path.cwd()))
    except ValueError:
        return str(beside)
