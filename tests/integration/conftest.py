"""Fixtures with real processes: a Redis server, and houses (see `support_house`) that run on it."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from local.ports import LOOPBACK, free_port
from local.redis_server import ServerMissing, find_server
from simulator import Simulator
from tests.integration.support_house import House
from tests.integration.support_waiting import wait_until
from tests.unit.support_cleanup import KEY, Bench

DATABASES = 64
_databases = itertools.count()


def start_redis(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start a server that keeps nothing, and wait until it answers. Raises `ServerMissing`."""
    options = {"port": port, "bind": LOOPBACK, "save": "", "appendonly": "no", "databases": DATABASES, "dir": folder}
    command = [str(find_server()), *(str(part) for name, value in options.items() for part in (f"--{name}", value))]
    with (folder / "redis.log").open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    wait_until(lambda: _answers(port), "the Redis server answers")
    return server


def _answers(port: int) -> bool:
    with Redis(port=port) as redis:
        try:
            return bool(redis.ping())
        except RedisError:
            return False


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real server for the whole run; every house has a separate database."""
    port = free_port()
    try:
        server = start_redis(tmp_path_factory.mktemp("redis"), port)
    except ServerMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    try:
        yield port
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(scope="session")
def new_redis_url(redis_port: int) -> Callable[[], str]:
    """Hands out addresses of empty databases."""
    return lambda: f"redis://{LOOPBACK}:{redis_port}/{next(_databases) % DATABASES}"


@pytest.fixture(scope="module")
def running_house(
    request: pytest.FixtureRequest, new_redis_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """One house for all tests of a module, which may say ENVIRONMENT (settings of its workers) and WORKERS."""
    module: Any = request.module
    house = House(new_redis_url(), tmp_path_factory.mktemp("house"), **getattr(module, "ENVIRONMENT", {}))
    try:
        for number in range(getattr(module, "WORKERS", 1)):
            # What other workers know of revoked tasks does not matter here, and asking for it takes a second.
            house.start_worker(f"w{number}", "--without-mingle")
        house.wait_for_workers()
        yield house
    finally:
        house.stop()


@pytest.fixture
def house(running_house: House) -> Iterator[House]:
    """Return the module's house, with nothing left in it from the test before."""
    running_house.calm()
    yield running_house
    assert running_house.simulator.violations() == []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show what the workers logged beside a test that failed."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, House):
                report.sections.append(("logs of the house", value.tail()))


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """A simulator of the test's own, all of whose calls must have kept the vendor's rules."""
    with Simulator(private_key=KEY) as simulator:
        yield simulator
        assert simulator.violations() == []


@pytest.fixture
def bench(real_redis: Redis, sim: Simulator, tmp_path: Path) -> Bench:
    """What cleanup runs work with, on real parts."""
    return Bench(real_redis, sim, tmp_path)
