"""`kitsweep up` as a program, from its start to its last process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx2
import psutil
import pytest
from celery import Celery

from config.settings import load_settings
from local.ports import free_port
from local.redis_server import EmbeddedServer
from simulator import Control, Simulator
from tasks.client import Client
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.real_server,
    pytest.mark.slow,
    pytest.mark.usefixtures("redis_binary"),
]
PROJECT = Path(__file__).resolve().parents[2]
KEY = "private_never_on_a_command_line"
UP_SECONDS = 60.0


class Up:
    """One `kitsweep up`, with what it wrote so far."""

    def __init__(self, folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self._output = folder / f"up-{self.port}.out"
        # An empty value is the default, whatever the environment of the tests says.
        told = {"KITSWEEP_REDIS_URL": "", "IMAGE_KIT_BASE_URL": "", "KITSWEEP_WEB_PORT": str(free_port())}
        told |= environment or {}
        command = [sys.executable, "-m", "cli", "up", "--port", str(self.port), "--files", "2000", *options]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(PROJECT), **told},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """Everything that it wrote."""
        return self._output.read_text()

    def says(self, text: str) -> bool:
        """Whether it wrote this."""
        return text in self.output

    def wait_until_up(self) -> Up:
        """Wait until it runs and says so."""
        wait_until(lambda: self.says("Stop with Ctrl-C") or self.process.poll() is not None, UP_SECONDS)
        assert self.says("Kitsweep is up."), self.output
        return self

    def found(self, pattern: str) -> str:
        """Return the part of its output that matches."""
        match = re.search(pattern, self.output)
        assert match, self.output
        return match[1]

    @property
    def simulator(self) -> Control:
        """Control its simulator."""
        return Control(self.found(r"ImageKit +(\S+)"))

    @property
    def service(self) -> Celery:
        """What another service has: Celery, and the address that `up` prints."""
        url = self.found(r'Celery\(broker="(\S+?)"')
        return Celery(broker=url, backend=url)

    def sample_ids(self, count: int) -> list[str]:
        """Return ids of its simulator's files."""
        return (self.folder / ".kitsweep" / "sample-ids.txt").read_text().split()[:count]

    def pids(self) -> dict[str, int]:
        """Its child processes: name and pid."""
        notes = (self.folder / ".kitsweep").rglob("*.pid")
        return {note.stem: int(json.loads(note.read_text())["pid"]) for note in notes}

    def stop(self) -> int:
        """Stop it, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(UP_SECONDS)


Start = Callable[..., Up]


def command_line(pid: int) -> str:
    """Return the command line of a process; empty if it has ended."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return ""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Up] = []

    def start(*options: str, **environment: str) -> Up:
        started.append(Up(tmp_path, *options, environment=environment))
        return started[-1]

    yield start
    for up in started:
        if up.process.poll() is None:
            up.stop()


def test_it_starts_deletes_and_stops(start: Start) -> None:
    """Any service with Celery or HTTP can delete; SIGTERM stops everything, and no process is left."""
    up = start("--workers", "2").wait_until_up()
    assert "NOTHING REAL IS DELETED" in up.output
    assert f"export KITSWEEP_REDIS_URL=redis://127.0.0.1:{up.port}/0" in up.output
    *ids, one = up.sample_ids(251)
    result = up.service.send_task("kitsweep.delete_files", [ids], {"source": "catalog"})
    assert result.get(timeout=30)["deleted"] == 250
    url = up.found(r"Web +(\S+)")
    answer = httpx2.delete(f"{url}/v1/files/{one}", auth=("private_simulator", ""), timeout=60)
    assert answer.status_code == 204
    assert sorted(up.simulator.deleted()) == sorted([*ids, one])
    pids = up.pids()
    assert sorted(pids) == ["beat", "redis", "web", "worker1", "worker2"]
    assert up.stop() == 0
    assert [name for name, pid in pids.items() if command_line(pid)] == []
    assert up.pids() == {}
    assert "Everything has stopped." in up.output


def test_after_a_kill_the_next_start_cleans_up_and_nothing_is_lost(start: Start) -> None:
    """After SIGKILL of `up` and of its Redis, the next start stops leftovers and finishes the requests."""
    first = start(KITSWEEP_RATE_LIMITS='["2/1s"]').wait_until_up()
    ids = first.sample_ids(1000)
    task = first.service.send_task("kitsweep.delete_files", [ids])
    wait_until(lambda: str(task.state) == "PROGRESS", 30)
    # A worker that ignores the kernel's SIGTERM stands for systems whose kernel sends none.
    left = first.pids()
    os.kill(left["worker1"], signal.SIGSTOP)
    first.process.kill()
    first.process.wait(10)
    os.kill(left["redis"], signal.SIGKILL)
    wait_until(lambda: not command_line(left["redis"]), 10)
    os.kill(left["worker1"], signal.SIGCONT)
    second = start().wait_until_up()
    assert "An earlier `kitsweep up` was killed" in second.output
    assert [name for name, pid in left.items() if command_line(pid)] == []
    report = second.service.AsyncResult(task.id).get(timeout=60)
    assert report["total"] == 1000
    assert report["deleted"] + report["presumed_deleted"] == 1000
    assert second.stop() == 0


def test_killed_processes_are_restarted(start: Start) -> None:
    """A worker or server that is killed is restarted with a message, and requests are finished."""
    up = start().wait_until_up()
    for name in ("redis", "worker1", "web"):
        pid = up.pids()[name]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda name=name: up.says(f"{name} was killed by signal 9"), 20)  # type: ignore[misc]
        wait_until(lambda name=name, pid=pid: up.pids().get(name, pid) != pid, 20)  # type: ignore[misc]
    result = up.service.send_task("kitsweep.delete_files", [up.sample_ids(10)])
    assert result.get(timeout=60)["deleted"] == 10


def test_a_second_signal_stops_at_once(start: Start) -> None:
    """A second Ctrl-C does not wait for calls in flight; Redis still keeps its data."""
    up = start().wait_until_up()
    pids = up.pids()
    os.kill(pids["worker1"], signal.SIGSTOP)
    up.process.send_signal(signal.SIGINT)
    wait_until(lambda: up.says("Stopping"), 20)
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(20) == 0
    assert [name for name, pid in pids.items() if command_line(pid)] == []


def test_with_a_key_imagekit_is_called(start: Start) -> None:
    """With a private key there is no simulator, a warning instead, and the key is on no command line and in no log."""
    with Simulator(10, private_key=KEY) as imagekit:
        up = start(IMAGEKIT_PRIVATE_KEY=KEY, IMAGE_KIT_BASE_URL=imagekit.url).wait_until_up()
        assert "FILES ARE REALLY DELETED" in up.output
        assert "SIMULATOR" not in up.output
        pids = up.pids()
        assert all(KEY not in command_line(pid) for pid in [*pids.values(), up.process.pid])
        ids = imagekit.remaining()
        assert up.service.send_task("kitsweep.delete_files", [ids]).get(timeout=30)["deleted"] == 10
        assert up.stop() == 0
    files = [path for path in up.folder.rglob("*") if path.is_file()]
    assert [str(path) for path in files if KEY.encode() in path.read_bytes()] == []


def test_only_one_runs_on_a_folder(start: Start, tmp_path: Path) -> None:
    """A second one on the same data refuses to start, and names the pid of the first."""
    first = start().wait_until_up()
    second = start()
    assert second.process.wait(UP_SECONDS) == 2
    assert f"already running on .kitsweep (pid {first.process.pid})" in second.output


def test_a_configured_redis_is_used_unless_real_ids_wait_for_the_simulator(start: Start, tmp_path: Path) -> None:
    """KITSWEEP_REDIS_URL wins over an embedded server; real ids that wait there are not given to the simulator."""
    with EmbeddedServer(tmp_path / "own") as own:
        up = start(KITSWEEP_REDIS_URL=own.url).wait_until_up()
        assert "redis" not in {note.stem for note in (tmp_path / ".kitsweep").rglob("*.pid")}
        assert "(from KITSWEEP_REDIS_URL)" in up.output
        assert up.stop() == 0
        Client(load_settings(redis_url=own.url)).enqueue(["real1", "real2"])
        refused = start(KITSWEEP_REDIS_URL=own.url)
        assert refused.process.wait(UP_SECONDS) == 2
        assert "2 ids wait in Redis" in refused.output


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"KITSWEEP_REDIS_URL": "redis://me:secret@127.0.0.1:1/0"}, "Redis at 127.0.0.1:1/0 cannot be reached"),
        ({"KITSWEEP_LEASE_SECONDS": "soon"}, "KITSWEEP_LEASE_SECONDS"),
    ],
)
def test_what_cannot_start_says_why(start: Start, settings: dict[str, str], words: str) -> None:
    """A Redis that is not ours to start and does not answer, or a bad setting: one clear line, and status 2."""
    up = start(**settings)
    assert up.process.wait(UP_SECONDS) == 2
    assert words in up.output
    assert "secret" not in up.output
    assert up.pids() == {}
