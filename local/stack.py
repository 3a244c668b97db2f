"""Everything that Kitsweep needs, on one machine: started in order, kept running, stopped in order."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from config.settings import load_settings
from config.windows import Window
from local.ports import free_port
from local.processes.process import Process
from local.processes.supervisor import Supervisor
from local.redis_server import EmbeddedServer
from simulator import Simulator
from tasks.accounts import account_names
from tasks.client import Client
from worker.errors import QueueUnavailable

SIMULATOR_PORT = 8090
READY_SECONDS = 60.0
WARM_SECONDS = 60.0
"""How long workers may take to finish their calls; HTTP time-outs are below it."""
_CELERY = ("celery", "-A", "worker.app")
_PROJECT = Path(__file__).resolve().parent.parent


def simulated(url: str) -> dict[str, str]:
    """Return the settings that send every call to the simulator at `url`, without the real keys."""
    return {"IMAGEKIT_PRIVATE_KEY": "private_simulator", "IMAGE_KIT_BASE_URL": url, "KITSWEEP_ACCOUNTS_FILE": ""}


def environment_with(overrides: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with other settings, for a child process that imports our modules from any folder.

    Secrets are passed in the environment and never on a command line, which every user of the machine can read.
    """
    path = os.pathsep.join(filter(None, [str(_PROJECT), os.environ.get("PYTHONPATH")]))
    wanted = {**overrides, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    # Names are case-insensitive: another spelling of the same name must not win.
    kept = {name: value for name, value in os.environ.items() if name.upper() not in wanted}
    return {**kept, **wanted}


class DataFolder:
    """The folder for data, logs, and the notes of running processes, which git ignores."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes = path / "run"
        self.logs = path / "logs"
        self.sample_ids = path / "sample-ids.txt"
        """The ids of the simulator's files, one per line."""

    def redis(self, *, simulated: bool) -> Path:
        """Return the data folder of the embedded server: one for the simulator, one for ImageKit.

        With a single one, a start without the private key would report real files as not found.
        """
        return self.path / ("redis-simulator" if simulated else "redis")

    def make(self) -> None:
        """Create the folder."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.path / ".gitignore").write_text("*\n", encoding="utf-8")


@dataclass
class Stack:
    """What runs, and how to stop it. After a signal the `start_…` methods return at once."""

    folder: DataFolder
    supervisor: Supervisor
    url: str = ""
    """The Redis to run on; `start_redis` sets it."""
    redis: EmbeddedServer | None = None
    simulator: Simulator | None = None
    children: list[Process] = field(default_factory=list)
    """Workers, beat and the web server."""

    @cached_property
    def client(self) -> Client:
        """A client on the stack's Redis, of any account."""
        settings = load_settings(redis_url=self.url)
        return Client(settings, account=account_names(settings)[0])

    def start_redis(self, data: Path, port: int) -> None:
        """Start the embedded server, and wait until it answers. Raises `PortTaken` and `ServerFailed`."""
        self.redis = EmbeddedServer(data, port, log=self.folder.logs / "redis.log")
        self.redis.start(self.supervisor.signals.asked_to_stop)
        self.supervisor.adopt(self.redis.process)

    def start_simulator(self, file_ids: Iterable[str], limits: Iterable[Window]) -> str:
        """Start a simulator with a file for each id, in a thread; return its URL."""
        windows = {"delete": [str(window) for window in limits]}
        port = free_port([SIMULATOR_PORT])
        self.simulator = Simulator(file_ids, limits=windows, port=port, keep_calls=100_000, keep_ids=False)
        return self.simulator.start().url

    def start_workers(self, count: int, settings: Mapping[str, str], options: Sequence[str]) -> None:
        """Start beat and workers with these settings on top of our environment, and wait until they are ready."""
        environment = environment_with({**settings, "KITSWEEP_REDIS_URL": self.url})
        for number in range(1, count + 1):
            # Our pid distinguishes these workers from those of an earlier run.
            name = f"worker{number}-{os.getpid()}@%h"
            self._start_child(f"worker{number}", environment, *_CELERY, "worker", "-n", name, *options)
        self._start_child("beat", environment, *_CELERY, "beat")
        self.supervisor.run_until(lambda: self._are_ready(count), READY_SECONDS)

    def start_web(self, settings: Mapping[str, str]) -> str:
        """Start the web server with these settings, on its port or the next free one; return its URL."""
        own = load_settings()
        port = free_port([own.web_port])
        environment = environment_with({**settings, "KITSWEEP_REDIS_URL": self.url, "KITSWEEP_WEB_PORT": str(port)})
        log = self._start_child("web", environment, "cli", "web")
        known = log.stat().st_size
        self.supervisor.run_until(lambda: b"listening on" in log.read_bytes()[known:], READY_SECONDS)
        return f"http://{own.web_host}:{port}"

    def stop(self) -> None:
        """Stop everything, workers first, while Redis and the simulator still answer. May be called twice."""
        self.supervisor.stop(self.children, WARM_SECONDS)
        if self.simulator:
            self.simulator.stop()
        if self.redis:
            self.redis.stop()

    def _start_child(self, name: str, environment: Mapping[str, str], *arguments: str) -> Path:
        command, log = [sys.executable, "-m", *arguments], self.folder.logs / f"{name}.log"
        self.children.append(Process(name, command, notes=self.folder.notes, log=log, environment=environment))
        self.supervisor.start(self.children[-1])
        return log

    def _are_ready(self, count: int) -> bool:
        """Return whether so many of our workers have sent a heartbeat."""
        with suppress(QueueUnavailable):
            return sum(f"-{os.getpid()}@" in name for name in self.client.stats()["workers"]) >= count
        return False
