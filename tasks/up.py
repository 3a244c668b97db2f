"""`kitsweep up`: everything in one command, on one machine, until Ctrl-C.

It runs a Redis of its own (or the one that is set), workers, beat, and the simulator when no private key is set. What
ends by itself is started again. What a killed predecessor left is ended, and its data are taken over.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from redis.exceptions import RedisError

from config.settings import ConfigError, Settings, load_settings
from simulator import Control
from tasks import local_processes
from tasks.embedded import STOP_SECONDS, EmbeddedServer
from tasks.local_processes import Places, environment_with, simulated
from tasks.overview import Overview, overview
from tasks.ports import LOOPBACK, answers, free_port
from tasks.processes import Process, end_left_overs, find_left_over
from tasks.supervisor import Say, StopSignals, Supervisor
from tasks.which_redis import WhichRedis, choose_redis
from worker.errors import KitsweepError
from worker.limiter import Limiter
from worker.queue import Queue
from worker.redis_client import connect, explained
from worker.statistics import read_stats

DATA_DIR = Path(".kitsweep")
SIMULATOR_PORT = 8090
SIMULATED_FILES = 10_000
READY_SECONDS = 60.0
WARM_SECONDS = 60.0
"""How long workers may take to finish their calls; HTTP time-outs are below it."""
SAMPLE_IDS = "sample-ids.txt"


class AlreadyUp(KitsweepError):
    """Another `kitsweep up` runs on the same data folder."""

    def __init__(self, folder: Path, pid: str) -> None:
        super().__init__(folder, pid)
        self.folder = folder
        self.pid = pid

    def __str__(self) -> str:
        return f"kitsweep up runs already on {self.folder} (pid {self.pid}); stop it, or name another data folder"


class IdsWait(KitsweepError):
    """Real ids wait in a Redis that the simulator would answer for."""

    def __init__(self, count: int, address: str) -> None:
        super().__init__(count, address)
        self.count = count
        self.address = address

    def __str__(self) -> str:
        return (
            f"{self.count} ids wait in Redis at {self.address}, and IMAGEKIT_PRIVATE_KEY is not set: the simulator would "
            "answer for them, and their reports would be wrong. Set the key, or unset KITSWEEP_REDIS_URL."
        )


def say_plainly(line: str) -> None:
    """Write a line to standard output; nobody may be there to read it any more."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError:
        return


@dataclass
class Up:
    """One run, with what it has started so far."""

    settings: Settings
    places: Places
    signals: StopSignals
    say: Say
    supervisor: Supervisor = field(init=False)
    server: EmbeddedServer | None = None
    simulator: Process | None = None
    working: list[Process] = field(default_factory=list)
    """Workers and beat."""
    url: str = ""

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(self.signals, self.say)

    @property
    def is_simulated(self) -> bool:
        """Whether the simulator stands in for ImageKit."""
        return self.settings.private_key is None

    def start_redis(self, which: WhichRedis) -> None:
        """Start the embedded server, unless one that is set is used."""
        self.url = which.url
        if which.port is None:
            self._check_that_nothing_real_waits()
            return
        data = self.places.redis(simulated=self.is_simulated)
        server = EmbeddedServer(data, which.port, log=self.places.logs / "redis.log")
        self.server = server
        server.start(self.signals.asked_to_stop)
        self.supervisor.adopt(server.process)

    def start_simulator(self, files: int) -> str:
        """Start the simulator, write down the ids of its files, and return its address."""
        port = free_port([SIMULATOR_PORT])
        url = f"http://{LOOPBACK}:{port}"
        self.simulator = local_processes.simulator(self.places, port, self.settings.rate_limits, files=files)
        self.supervisor.start(self.simulator)
        if self.supervisor.keep_until(lambda: answers(port), READY_SECONDS):
            ids = Control(url).remaining()
            (self.places.folder / SAMPLE_IDS).write_text("".join(f"{each}\n" for each in ids), encoding="utf-8")
        return url

    def start_workers(self, count: int, options: Sequence[str], environment: dict[str, str]) -> None:
        """Start workers and beat, and wait until the workers are ready."""
        self.working = local_processes.workers(count, self.places, environment, options)
        self.working.append(local_processes.beat(self.places, environment))
        for process in self.working:
            self.supervisor.start(process)
        self.supervisor.keep_until(self._ready(count), READY_SECONDS)

    def stop(self) -> None:
        """Stop all in order: workers finish their calls while Redis and the simulator still answer."""
        others = [self.simulator] if self.simulator else []
        self.supervisor.stop([(self.working, WARM_SECONDS), (others, 10.0)])
        if self.server:
            self.server.stop()

    def _ready(self, count: int) -> Callable[[], bool]:
        """Return what tells whether so many workers of ours have beaten their hearts."""
        settings = load_settings(redis_url=self.url)
        redis = connect(settings)
        queue, limiter = Queue(redis, settings), Limiter(redis, settings)

        def ready() -> bool:
            try:
                alive = read_stats(queue, limiter)["workers"]
            except (RedisError, OSError):
                return False
            return sum(f"-{os.getpid()}@" in name for name in alive) >= count

        return ready

    def _check_that_nothing_real_waits(self) -> None:
        if not self.is_simulated:
            return
        redis = connect(self.settings)
        with explained(self.settings):
            stats = read_stats(Queue(redis, self.settings), Limiter(redis, self.settings))
        count = stats["waiting"] + stats["in_flight"]
        if count:
            raise IdsWait(count, self.settings.redis_address)


def run_up(
    workers: int = 1,
    data_dir: Path = DATA_DIR,
    port: int | None = None,
    *,
    pool: str | None = None,
    concurrency: int | None = None,
    files: int = SIMULATED_FILES,
    say: Say = say_plainly,
) -> int:
    """Run everything until SIGINT, SIGTERM or SIGHUP; return the exit status: 0 stopped, 2 could not start.

    `workers`: worker processes. `data_dir`: data, logs and notes; made if need be. `port`: of the embedded server (None:
    6379, or the next that is free). `pool` and `concurrency` go to `celery worker`. `files`: how many the simulator has.
    Runs in the main thread.
    """
    places = Places(data_dir)
    options = [*(["-P", pool] if pool else []), *(["-c", str(concurrency)] if concurrency else [])]
    try:
        settings = load_settings()
        places.make()
        with StopSignals() as signals, _locked(places):
            up = Up(settings, places, signals, say)
            _run(up, port, workers, options, files)
    except (ConfigError, KitsweepError) as error:
        for line in str(error).splitlines():
            say(f"kitsweep up: {line}")
        return 2
    except OSError as error:
        say(f"kitsweep up: {error}")
        return 2
    return 0


def _run(up: Up, port: int | None, workers: int, options: Sequence[str], files: int) -> None:
    try:
        _start(up, port, workers, options, files)
        if not up.signals.asked_to_stop():
            up.supervisor.keep_until(lambda: False)
        up.say("Stopping: calls in the air are finished first, for up to 60 s. Once more (Ctrl-C) to stop at once.")
    finally:
        up.stop()
        up.say("Everything has stopped. What still waits is kept, and goes on with the next start.")


def _start(up: Up, port: int | None, workers: int, options: Sequence[str], files: int) -> None:
    with _mending(up.places, up.say):
        which = choose_redis(up.settings, port)
        up.start_redis(which)
    told = {"KITSWEEP_REDIS_URL": up.url}
    simulator_url = None
    if up.is_simulated and not up.signals.asked_to_stop():
        simulator_url = up.start_simulator(files)
        told |= simulated(simulator_url)
    if not up.signals.asked_to_stop():
        up.say(f"Starting {workers} worker{'s' if workers > 1 else ''} and beat …")
        up.start_workers(workers, options, environment_with(told))
    if not up.signals.asked_to_stop():
        about = Overview(which, up.settings, up.places, simulator_url, workers, _command())
        for line in overview(about):
            up.say(line)


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
def _mending(places: Places, say: Say) -> Iterator[None]:
    """End what a killed predecessor left, around the start of Redis: workers that hold an answer still need one."""
    servers = [places.redis(simulated=each) / "redis.pid" for each in (True, False)]
    others = sorted(places.notes.glob("*.pid"))
    ended = 0
    if any(map(find_left_over, servers)):
        ended = end_left_overs(others, WARM_SECONDS) + end_left_overs(servers, STOP_SECONDS)
    yield
    ended += end_left_overs(others, WARM_SECONDS)
    for note in others:
        note.unlink(missing_ok=True)
    if ended or others:
        processes = "process" if ended == 1 else "processes"
        say(f"An earlier `kitsweep up` was killed: its {ended} left-over {processes} were ended, its data are kept.")


def _command() -> str:
    """Return how `kitsweep` is called here."""
    if shutil.which("kitsweep"):
        return "kitsweep"
    beside = Path(sys.executable).with_name("kitsweep")
    try:
        return str(beside.relative_to(Path.cwd()))
    except ValueError:
        return str(beside)
