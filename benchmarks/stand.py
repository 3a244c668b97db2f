"""The setup of a measurement: a server, a simulator and workers, all on 127.0.0.1, ended with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from redis import Redis

from local.redis_server import EmbeddedServer
from simulator.control.remote import Control

if TYPE_CHECKING:
    from tasks.client import Client

ROOT = Path(__file__).resolve().parent.parent
KEY = "private_benchmark"
READY_SECONDS = 30.0


class Stand:
    """One server for all measurements; simulators and workers for each."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.url = server.url
        self.redis = Redis.from_url(server.url, decode_responses=True)
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """A client of the server; made late, since its settings come from the environment."""
        if self._client is None:
            from tasks.client import Client  # noqa: PLC0415

            self._client = Client()
        return self._client

    @contextmanager
    def running(
        self, files: int, limits: Sequence[str] = (), workers: int = 2, app: str = "worker.app"
    ) -> Iterator[Control]:
        """Run a fresh simulator with files, and workers on an empty server."""
        self.redis.flushall()
        arguments = [argument for limit in limits for argument in ("--limit", limit)]
        with process("-m", "simulator", "--port", "0", "--files", str(files), "--seed", "1", *arguments) as simulator:
            line = simulator.stdout.readline() if simulator.stdout else ""
            control = Control(line.split()[-1])
            with self.workers(control, limits, workers, app):
                if app == "worker.app":
                    wait_until(lambda: len(self.client.stats()["workers"]) >= workers)
                yield control

    @staticmethod
    def workers(
        simulator: Control, limits: Sequence[str] = (), count: int = 2, app: str = "worker.app"
    ) -> AbstractContextManager[None]:
        """Start workers, and end them."""
        environment = {
            "IMAGE_KIT_BASE_URL": simulator.url,
            "IMAGEKIT_PRIVATE_KEY": KEY,
            "KITSWEEP_RATE_LIMITS": json.dumps(list(limits)),
            "KITSWEEP_LOG_LEVEL": "ERROR",
        }
        return _workers(count, app, environment)

    def drained(self) -> bool:
        """Whether nothing is unaccepted, waiting, in flight or unpublished."""
        stats = self.client.stats()
        return stats["unaccepted"] + stats["waiting"] + stats["in_flight"] + stats["unpublished"] == 0


@contextmanager
def stand() -> Iterator[Stand]:
    """Start the server that all measurements share."""
    with (
        tempfile.TemporaryDirectory(prefix="kitsweep-bench-") as folder,
        EmbeddedServer(Path(folder)) as server,
    ):
        os.environ["KITSWEEP_REDIS_URL"] = server.url
        os.environ["KITSWEEP_RATE_LIMITS"] = "[]"
        yield Stand(server)


def wait_until(condition: Callable[[], bool], seconds: float = READY_SECONDS, every: float = 0.05) -> None:
    """Wait for a condition. Raises `TimeoutError`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"still waiting after {seconds:g} s")
        time.sleep(every)


def report_progress(line: str) -> None:
    """Print a line on standard error; the table goes to standard output."""
    print(line, file=sys.stderr, flush=True)


def file_ids(files: int) -> list[str]:
    """Return the ids that a simulator with so many files and seed 1 has."""
    from simulator import Simulator  # noqa: PLC0415

    return Simulator(files, seed=1).remaining()


@contextmanager
def _workers(count: int, app: str, environment: dict[str, str]) -> Iterator[None]:
    processes: list[subprocess.Popen[str]] = []
    try:
        for number in range(count):
            command = [
                "-m",
                "celery",
                "-A",
                app,
                "worker",
                "-n",
                f"bench{number}@%h",
                "-l",
                "ERROR",
                "--without-mingle",
            ]
            processes.append(_start(*command, environment=environment))
        yield
    finally:
        for process in processes:
            _end(process)


@contextmanager
def process(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run Python with arguments, and end it."""
    started = _start(*arguments, environment=environment)
    try:
        yield started
    finally:
        _end(started)


def _start(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE if "simulator" in arguments else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
