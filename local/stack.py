"""Everything that Kitsweep needs, on one machine: started in order, kept running, stopped in order."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from config.settings import load_settings
from config.windows import Window
from local.data_folder import DataFolder
from local.environment import environment_with
from local.processes.process import Process
from local.processes.supervisor import Say, StopSignals, Supervisor
from local.redis_server import EmbeddedServer
from simulator import Simulator
from tasks.client import Client
from worker.errors import QueueUnavailable

READY_SECONDS = 60.0
WARM_SECONDS = 60.0
"""How long workers may take to finish their calls; HTTP time-outs are below it."""


@dataclass
class Stack:
    """What runs, and how to stop it. After a signal the `start_…` methods return at once."""

    folder: DataFolder
    signals: StopSignals
    say: Say
    shows_warnings: bool = True
    """Whether to show what workers log at WARNING or above."""
    url: str = ""
    """The Redis to run on; `start_redis` sets it."""
    redis: EmbeddedServer | None = None
    simulator: Simulator | None = None
    celery: list[Process] = field(default_factory=list)
    """Workers and beat."""
    supervisor: Supervisor = field(init=False)

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(self.signals, self.say, shows_warnings=self.shows_warnings)

    @property
    def processes(self) -> list[Process]:
        """All child processes that were started."""
        return [*self.celery, *([self.redis.process] if self.redis else [])]

    @property
    def client(self) -> Client:
        """A client on the stack's Redis."""
        return Client(load_settings(redis_url=self.url))

    def start_redis(self, *, simulated: bool, port: int | None = None) -> None:
        """Start the embedded server, and wait until it answers. Raises `PortTaken` and `ServerFailed`."""
        self.redis = EmbeddedServer(self.folder.redis(simulated=simulated), port, log=self.folder.logs / "redis.log")
        self.url = self.redis.url
        self.redis.start(self.signals.asked_to_stop)
        self.supervisor.adopt(self.redis.process)

    def start_simulator(
        self, file_ids: Iterable[str], limits: Iterable[Window], port: int, *, keep_ids: bool = False
    ) -> Simulator:
        """Start a simulator with a file for each id, in a thread.

        Its ledger keeps the ids of each call only with `keep_ids`. Raises `OSError` if the port is taken.
        """
        windows = {"delete": [str(window) for window in limits]}
        self.simulator = Simulator(file_ids, limits=windows, port=port, keep_calls=100_000, keep_ids=keep_ids)
        return self.simulator.start()

    def start_workers(
        self, count: int, settings: Mapping[str, str], options: Sequence[str] = (), *, with_beat: bool = False
    ) -> None:
        """Start workers with these settings on top of our environment, and wait until all of them are ready."""
        environment = environment_with({**settings, "KITSWEEP_REDIS_URL": self.url})
        for number in range(1, count + 1):
            # Our pid tells these workers from those of an earlier run.
            name = f"worker{number}-{os.getpid()}@%h"
            self._start_celery(f"worker{number}", environment, "worker", "-n", name, *options)
        if with_beat:
            self._start_celery("beat", environment, "beat")
        self.supervisor.run_until(self._are_ready(count), READY_SECONDS)

    def stop_workers(self) -> None:
        """Stop workers and beat once they have finished their calls. From then on nothing is restarted."""
        self.supervisor.stop(self.celery, WARM_SECONDS)

    def stop(self) -> None:
        """Stop everything, workers first, while Redis and the simulator still answer. May be called twice."""
        self.stop_workers()
        if self.simulator:
            self.simulator.stop()
        if self.redis:
            self.redis.stop()

    def _start_celery(self, name: str, environment: Mapping[str, str], *arguments: str) -> None:
        command = [sys.executable, "-m", "celery", "-A", "worker.app", *arguments]
        log = self.folder.logs / f"{name}.log"
        self.celery.append(Process(name, command, notes=self.folder.notes, log=log, environment=environment))
        self.supervisor.start(self.celery[-1])

    def _are_ready(self, count: int) -> Callable[[], bool]:
        """Return a function that tells whether so many of our workers have sent a heartbeat."""
        client = self.client

        def are_ready() -> bool:
            try:
                alive = client.stats()["workers"]
            except QueueUnavailable:
                return False
            return sum(f"-{os.getpid()}@" in name for name in alive) >= count

        return are_ready
