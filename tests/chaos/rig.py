"""The stage of a chaos test: a real server with an append-only file, a simulated ImageKit, workers, and a client."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import pytest
from celery import Celery
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from config.settings import load_settings
from local.ports import free_port
from local.redis_server import find_server
from simulator import Simulator
from tasks.admin import Admin
from tasks.client import Client
from tests.chaos.processes import Proc, say, wait_until
from worker.store.keys import Keys

ROOT = Path(__file__).resolve().parents[2]
PRIVATE_KEY = "private_chaosTestKey0123456789="
START_SECONDS = 60.0
"""How long a process may take to come up while other tests use the processors."""


def can_wait_for_disk(client: Redis) -> bool:
    """Return whether a server knows WAITAOF, as Redis does from 7.2 on."""
    try:
        client.waitaof(0, 0, 1)
    except ResponseError:
        return False
    return True


def needs_waitaof(server: Server) -> None:
    """Skip a test on an older server, which refuses --durable (a separate test)."""
    if not can_wait_for_disk(server.client):
        pytest.skip("the server has no WAITAOF (Redis before 7.2)")


class Server:
    """A separate Redis or Valkey that can be killed, frozen and started again on its data."""

    def __init__(self, folder: Path, username: str = "", password: str = "", **options: str) -> None:
        self.port = free_port()
        login = f"{username}:{quote(password, safe='')}@" if password else ""
        self.url = f"redis://{login}127.0.0.1:{self.port}/0"
        data = folder / "data"
        data.mkdir(exist_ok=True)
        given = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(data),
            "save": "",
            "appendonly": "yes",
            # What was answered is on disk: a test that kills the server can ask for all of it.
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            **options,
        }
        if password:
            users = folder / "users.acl"
            users.write_text(f"user default off\nuser {username} on >{password} ~* &* +@all\n")
            given["aclfile"] = str(users)
        arguments = [part for name, value in given.items() for part in (f"--{name}", value)]
        self.proc = Proc("redis", [str(find_server()), *arguments], os.environ, folder)
        self.client = Redis(
            port=self.port,
            username=username or None,
            password=password or None,
            decode_responses=True,
            socket_timeout=2,
            socket_connect_timeout=2,
            retry=Retry(NoBackoff(), 0),
        )

    def start(self) -> Self:
        """Start it on its data, and wait until it answers."""
        self.proc.start()
        wait_until(self.answers, START_SECONDS, f"the server answers; its log:\n{self.proc.tail()}")
        return self

    def answers(self) -> bool:
        """Whether it answers."""
        try:
            return bool(self.client.ping())
        except (RedisError, OSError):
            return False

    def freeze(self) -> None:
        """SIGSTOP: it keeps its connections, and says nothing."""
        self.proc.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue it."""
        self.proc.signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it."""
        self.client.close()
        self.proc.end()


class Rig:
    """One stage; `with` ends all that was started on it.

    `settings` are names without the prefix, as `lease_seconds=3`; `server` is one that was started, or None for a
    new one; the simulator's options come as `api`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        files: int = 0,
        api: Mapping[str, Any] | None = None,
        server: Server | None = None,
        **settings: object,
    ) -> None:
        self.folder = folder
        self.server = server or Server(folder)
        self.sim = Simulator(files, **{"private_key": PRIVATE_KEY, "keep_calls": 1_000_000, **(api or {})})
        self._given = {"rate_limits": "[]", "log_level": "INFO", **settings}
        self.procs: list[Proc] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self) -> None:
        if not self.server.proc.running:
            self.server.start()
        self.sim.start()
        # The application reads the settings of this process when it is imported.
        with pytest.MonkeyPatch.context() as patch:
            for name in list(os.environ):
                if name.startswith(("KITSWEEP_", "IMAGE")):
                    patch.delenv(name)
            for name, value in self.env().items():
                patch.setenv(name, value)
            self.settings = load_settings()
            self.client = Client(self.settings)
            self.admin = Admin(self.settings)
        self.keys = Keys(self.settings.account)
        self.celery = Celery(broker=self.server.url, backend=self.server.url, set_as_current=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is not None:
            for proc in self.procs:
                say(f"--- {proc.name}, started {proc.starts} times, status {proc.exit_status}\n{proc.tail(60)}")

    @property
    def python(self) -> str:
        """The interpreter of our processes."""
        return sys.executable

    @property
    def redis(self) -> Redis:
        """A plain client of the server, for looking behind the curtain."""
        return self.server.client

    def env(self, **more: str) -> dict[str, str]:
        """Return the environment of our processes: nothing of ours but what this rig sets."""
        names = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        ours = {f"KITSWEEP_{name.upper()}": str(value) for name, value in self._given.items() if name != "private_key"}
        given_key = str(self._given.get("private_key", PRIVATE_KEY))
        return {
            **kept,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "IMAGEKIT_PRIVATE_KEY": given_key,
            "IMAGE_KIT_BASE_URL": self.sim.url,
            "KITSWEEP_REDIS_URL": self.server.url,
            **ours,
            **more,
        }

    def proc(self, name: str, command: list[str], **env: str) -> Proc:
        """Start a program of ours, as arguments of the interpreter."""
        made = Proc(name, [sys.executable, *command], self.env(**env), self.folder)
        self.procs.append(made)
        made.start()
        return made

    def worker(self, name: str = "w1", pool: str = "threads", concurrency: int = 4, **env: str) -> Proc:
        """Start a Celery worker."""
        command = ["-m", "celery", "-A", "worker.app", "worker", "-P", pool, "-c", str(concurrency)]
        return self.proc(name, [*command, "-n", f"{name}@chaos", "-l", "INFO"], **env)

    def await_workers(self, *procs: Proc, seconds: float = START_SECONDS) -> None:
        """Wait until these workers beat and take tasks."""
        for proc in procs:
            wait_until(
                lambda proc=proc: " ready." in proc.text() or not proc.running,  # type: ignore[misc]
                seconds,
                f"{proc.name} is ready; its log:\n{proc.tail()}",
            )
            assert proc.running, f"{proc.name} ended with {proc.exit_status}:\n{proc.tail()}"

    def stop(self) -> None:
        """End everything."""
        for proc in self.procs:
            proc.end()
        self.server.stop()
        self.sim.stop()
        if hasattr(self, "celery"):
            self.celery.close()
