"""A real Redis or Valkey server for tests: on a free port, in a separate folder, ended with the test run."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HOST = "127.0.0.1"
_START_ATTEMPTS = 5


class RedisServer:
    """One server process. ``options`` are lines of its configuration, such as ``("appendonly", "yes")``."""

    def __init__(self, binary: Path, folder: Path, options: Sequence[tuple[str, str]] = ()) -> None:
        self.folder = folder
        self.port = 0
        self._binary = binary
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of database 0."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process id; ``RuntimeError`` where the server does not run."""
        if self._process is None:
            raise RuntimeError("the server does not run")
        return self._process.pid

    def client(self) -> redis.Redis:
        """Open a client that decodes answers and never repeats a command on its own."""
        return redis.Redis(
            host=HOST, port=self.port, decode_responses=True, socket_timeout=10, retry=Retry(NoBackoff(), 0)
        )

    def start(self) -> None:
        """Start the server and wait until it answers; once it had a port, it keeps it."""
        for _ in range(_START_ATTEMPTS if self.port == 0 else 1):
            port = self.port or free_port()
            self._process = self._spawn(port)
            if self._answers(port):
                self.port = port
                return
            # Another program took the port in between.
            self.kill()
        raise RuntimeError(f"{self._binary} did not start; see {self.folder / 'server.log'}")

    def stop(self) -> None:
        """End the server as an operator would, and wait for it."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server at once, as a crash would, and wait for it."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Freeze the server: connections stay open, and nothing is answered until ``thaw``."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue a frozen server."""
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        options = [("port", str(port)), ("bind", HOST), ("dir", str(self.folder)), ("save", ""), *self._options]
        arguments = [text for name, value in options for text in (f"--{name}", value)]
        # Where the kernel offers it, the server dies with the test run, also when that one is killed.
        setpriv = shutil.which("setpriv")
        guard = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
        with (self.folder / "server.log").open("ab") as log:
            return subprocess.Popen([*guard, str(self._binary), *arguments], stdout=log, stderr=log)

    def _answers(self, port: int) -> bool:
        process = self._process
        assert process is not None

        def answered_or_ended() -> bool:
            return process.poll() is not None or _pings(port)

        return wait_until(answered_or_ended, timeout=10, must=False) and process.poll() is None

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)


def free_port() -> int:
    """Return a TCP port of the loopback address that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _pings(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
