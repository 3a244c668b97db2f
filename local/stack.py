"""A Kitsweep on one machine, for `kitsweep up` and `make run`: started in order, kept running, stopped in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from redis.exceptions import RedisError

from config.settings import load_settings
from config.windows import Window
from local import programs as local_processes
from local.ports import LOOPBACK, answers
from local.processes.process import Process
from local.processes.supervisor import Say, StopSignals, Supervisor
from local.programs import Places
from local.redis_server import EmbeddedServer
from worker.limiter.slots import Limiter
from worker.queue.operations import Queue
from worker.reports.stats import read_stats
from worker.store.connection import connect

READY_SECONDS = 60.0
WARM_SECONDS = 60.0
"""How long workers may take to finish their calls; HTTP time-outs are below it."""


@dataclass
class LocalRun:
    """What runs, and how to stop it. After a signal the `start_…` methods return at once."""

    places: Places
    signals: StopSignals
    say: Say
    shows_warnings: bool = True
    """Whether what workers log at WARNING or above is said, too."""
    supervisor: Supervisor = field(init=False)
    server: EmbeddedServer | None = None
    simulator: Process | None = None
    working: list[Process] = field(default_factory=list)
    """Workers and beat."""
    url: str = ""
    """Where Redis is; set it if there is no embedded server."""

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(self.signals, self.say, shows_warnings=self.shows_warnings)

    @property
    def processes(self) -> list[Process]:
        """All that was started."""
        server = [self.server.process] if self.server else []
        simulator = [self.simulator] if self.simulator else []
        return [*self.working, *simulator, *server]

    def start_server(self, data: Path, port: int | None) -> None:
        """Start the embedded server, and wait until it answers. Raises `PortTaken` and `ServerFailed`."""
        self.server = EmbeddedServer(data, port, log=self.places.logs / "redis.log")
        self.url = self.server.url
        self.server.start(self.signals.asked_to_stop)
        self.supervisor.adopt(self.server.process)

    def start_simulator(self, port: int, limits: Iterable[Window], ids_file: Path, *, keep_ids: bool = False) -> str:
        """Start the simulator with a file for each id in `ids_file`, wait until it answers; return its URL."""
        self.simulator = local_processes.simulator(self.places, port, limits, ids_file, keep_ids=keep_ids)
        self.supervisor.start(self.simulator)
        self.supervisor.keep_until(lambda: answers(port), READY_SECONDS)
        return f"http://{LOOPBACK}:{port}"

    def start_workers(
        self,
        count: int,
        settings: Mapping[str, str],
        options: Sequence[str] = (),
        *,
        with_beat: bool = False,
    ) -> None:
        """Start workers with these settings over the environment's, and wait until all of them are ready."""
        environment = local_processes.environment_with({**settings, "KITSWEEP_REDIS_URL": self.url})
        self.working = local_processes.workers(count, self.places, environment, options)
        if with_beat:
            self.working.append(local_processes.beat(self.places, environment))
        for process in self.working:
            self.supervisor.start(process)
        self.supervisor.keep_until(self._ready(count), READY_SECONDS)

    def stop_workers(self) -> None:
        """Stop workers and beat: they finish their calls first. Then nothing is started again any more."""
        self.supervisor.stop(self.working, WARM_SECONDS)

    def stop(self) -> None:
        """Stop all, in order: workers while Redis and the simulator still answer. Twice does no harm."""
        self.stop_workers()
        if self.simulator:
            self.simulator.stop()
        if self.server:
            self.server.stop()

    def queue(self) -> Queue:
        """Return the queue in the Redis that this runs on."""
        settings = load_settings(redis_url=self.url)
        return Queue(connect(settings), settings)

    def _ready(self, count: int) -> Callable[[], bool]:
        """Return what tells whether so many workers of ours have beaten their hearts."""
        queue = self.queue()
        limiter = Limiter(queue.redis, load_settings(redis_url=self.url))

        def ready() -> bool:
            try:
                alive = read_stats(queue, limiter)["workers"]
            except (RedisError, OSError):
                return False
            return sum(f"-{os.getpid()}@" in name for name in alive) >= count

        return ready
