"""`kitsweep up`: everything in one command, on one machine, until Ctrl-C.

It starts Redis (or uses the configured one), workers, beat, and the simulator if no private key is set. Processes that
exit are restarted. Processes that a killed run left behind are stopped, and its data is used again.
"""

import fcntl
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from config.settings import ConfigError, Settings, load_settings
from local.overview import overview
from local.processes.process import find_leftover, stop_leftovers
from local.processes.supervisor import StopSignals, Supervisor
from local.redis_server import STOP_SECONDS
from local.stack import WARM_SECONDS, DataFolder, Stack, simulated
from local.which_redis import choose_redis
from simulator import generate_ids
from tasks.admin import Admin
from worker.errors import KitsweepError


class CannotStart(KitsweepError):
    """`kitsweep up` cannot start; the message says why, and what to do."""


@dataclass(frozen=True)
class Options:
    """The options of `kitsweep up`; its help describes them."""

    workers: int
    data_dir: Path
    port: int | None
    celery: Sequence[str]
    """Options of `celery worker`."""
    files: int


def run_up(options: Options) -> int:
    """Run everything until SIGINT, SIGTERM or SIGHUP; return the exit status: 0 stopped, 2 could not start.

    Call it in the main thread, the only one that receives signals.
    """
    folder = DataFolder(options.data_dir)
    try:
        settings = load_settings()
        folder.make()
        with StopSignals() as signals, _locked(folder.path):
            _run(Stack(folder, Supervisor(signals, say)), settings, options)
    except (ConfigError, KitsweepError, OSError) as error:
        for line in str(error).splitlines():
            say(f"kitsweep up: {line}")
        return 2
    return 0


def say(line: str) -> None:
    """Write a line to standard output, if it is still open."""
    with suppress(OSError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _run(stack: Stack, settings: Settings, options: Options) -> None:
    try:
        _start(stack, settings, options)
        stack.supervisor.run_until(lambda: False)
        say("Stopping once the calls in flight have finished (60 s at most). Press Ctrl-C again to stop at once.")
    finally:
        stack.stop()
    say("Everything has stopped. Requests that wait are kept for the next start.")


def _start(stack: Stack, settings: Settings, options: Options) -> None:
    is_simulated = settings.private_key is None and settings.accounts_file is None
    is_stopping = stack.supervisor.signals.asked_to_stop
    data = stack.folder.redis(simulated=is_simulated)
    with _leftovers_stopped(stack):
        which = choose_redis(settings, options.port)
        stack.url = which.url
        if which.port is not None:
            stack.start_redis(data, which.port)
        elif is_simulated:
            _check_that_nothing_waits(stack)
    simulator_url = None
    if is_simulated and not is_stopping():
        simulator_url = stack.start_simulator(_sample_ids(stack, options.files), settings.rate_limits)
    workers = f"{options.workers} worker{'s' if options.workers > 1 else ''} and beat"
    overrides = simulated(simulator_url) if simulator_url else {}
    if not is_stopping():
        say(f"Starting {workers} …")
        stack.start_workers(options.workers, overrides, options.celery)
    if not is_stopping():
        web_url = stack.start_web(overrides)
        if not is_stopping():
            say(overview(which, settings, stack.folder, simulator_url, web_url, workers, _command()))


def _sample_ids(stack: Stack, count: int) -> list[str]:
    """Return the ids of the simulator's files, and write them to a file: those of the last run, and new ones.

    The simulator forgets its files when it stops, but Redis keeps the queue. Ids that wait must exist after a restart,
    and ids that were deleted must stay gone, or reports would be wrong.
    """
    path = stack.folder.sample_ids
    known = path.read_text(encoding="utf-8").split() if path.exists() else []
    gone = Admin(load_settings(redis_url=stack.url)).gone(known)
    left = [file_id for file_id in known if file_id not in gone]
    file_ids = [*left, *islice(generate_ids(secrets.randbits(64)), max(0, count - len(left)))]
    path.write_text("".join(f"{file_id}\n" for file_id in file_ids), encoding="utf-8")
    return file_ids


def _check_that_nothing_waits(stack: Stack) -> None:
    stats = stack.client.stats()
    if count := stats["waiting"] + stats["in_flight"]:
        address = load_settings(redis_url=stack.url).redis_address
        raise CannotStart(
            f"{count} ids wait in Redis at {address}, and IMAGEKIT_PRIVATE_KEY is not set: the simulator would answer "
            "for them, and their reports would be wrong. Set the key, or unset KITSWEEP_REDIS_URL."
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder; the system releases the lock when this process ends."""
    with (folder / "lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            raise CannotStart(
                f"already running on {folder} (pid {pid}); stop it, or choose another folder with --data"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


@contextmanager
def _leftovers_stopped(stack: Stack) -> Iterator[None]:
    """Stop the processes that a killed run left behind; the block starts Redis.

    Workers may still have to record an answer in Redis: they are stopped before the Redis that was left behind, or
    after the new one has started.
    """
    folder, hurry = stack.folder, stack.supervisor.signals.asked_to_stop
    servers = [folder.redis(simulated=each) / "redis.pid" for each in (True, False)]
    workers = list(folder.notes.glob("*.pid"))
    if any(note.exists() for note in [*workers, *servers]):
        say("An earlier `kitsweep up` was killed: stopping its processes, and using its data.")
    if any(map(find_leftover, servers)):
        stop_leftovers(workers, WARM_SECONDS, hurry)
        stop_leftovers(servers, STOP_SECONDS)
    yield
    stop_leftovers(workers, WARM_SECONDS, hurry)


def _command() -> str:
    """Return how `kitsweep` is called here."""
    return "kitsweep" if shutil.which("kitsweep") else os.path.relpath(Path(sys.executable).with_name("kitsweep"))
