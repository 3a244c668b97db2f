"""The web server among real processes: trouble with Redis, a stop, many who wait, and two servers side by side."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx2
import psutil
import pytest

from local.ports import LOOPBACK
from tests.integration.support_house import KEY, House
from tests.integration.support_waiting import wait_until
from tests.integration.support_web import WebServer
from tests.redis_server import RedisServer
from tests.unit.support_web import basic

WAITING = 1000
BOUND_SECONDS = 20.0
"""No answer takes longer, whatever happens to Redis."""
CALM = {"KITSWEEP_WEB_WAIT_SECONDS": "5"}


@pytest.fixture(scope="module")
def server(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server of this module, which may be frozen and killed."""
    options = (("appendonly", "yes"), ("appendfsync", "always"))
    with RedisServer(redis_binary, tmp_path_factory.mktemp("redis"), options) as server:
        yield server


@pytest.fixture(scope="module")
def running_house(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One house on that server."""
    house = House(server.url, tmp_path_factory.mktemp("house"))
    try:
        house.start_worker("w0", "--without-mingle")
        house.wait_for_workers()
        yield house
    finally:
        house.stop()


@pytest.fixture(scope="module")
def web(running_house: House) -> Iterator[WebServer]:
    server = WebServer(running_house, **CALM)
    yield server
    server.kill()


@pytest.fixture
def other_web(running_house: House) -> Iterator[WebServer]:
    server = WebServer(running_house, **CALM)
    yield server
    server.kill()


@pytest.fixture
def waiting(house: House, web: WebServer) -> Iterator[tuple[str, Future[httpx2.Response]]]:
    """A single delete that waits, since calls are paused: its file id, and its answer to come."""
    file_id = house.files(1)[0]
    house.admin.pause("test")
    before = requests_in(house)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(delete, web, file_id)
        wait_until(lambda: requests_in(house) > before, "the request is enqueued")
        yield file_id, future


def delete(web: WebServer, file_id: str) -> httpx2.Response:
    started = time.monotonic()
    answer = httpx2.delete(f"{web.url}/v1/files/{file_id}", auth=(KEY, ""), timeout=60)
    assert time.monotonic() - started < BOUND_SECONDS
    return answer


def requests_in(house: House) -> int:
    """How many requests were ever accepted."""
    return sum(entry["event"] == "accepted" for entry in house.admin._account.audit.entries())


def check_that_a_repeat_joins(house: House, web: WebServer, file_id: str) -> None:
    """The same call succeeds, and makes neither a request nor a call of its own."""
    before = requests_in(house)
    house.admin.resume()
    answer = delete(web, file_id)
    assert answer.status_code == 204
    assert requests_in(house) == before
    assert len(house.calls_with([file_id])) == 1


def test_a_redis_that_freezes_while_a_caller_waits_costs_a_503(
    house: House, web: WebServer, server: RedisServer, waiting: tuple[str, Future[httpx2.Response]]
) -> None:
    """In bounded time, for who waits and for who comes; the repeat joins."""
    file_id, future = waiting
    server.freeze()
    try:
        # Redis may enqueue it after the thaw. Then it shares a call, which an unknown id would cause to be repeated.
        fresh = delete(web, house.files(1)[0])
        first = future.result(BOUND_SECONDS)
    finally:
        server.thaw()
    for answer in (fresh, first):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    check_that_a_repeat_joins(house, web, file_id)


def test_a_redis_that_is_restarted_while_a_caller_waits_loses_nothing(
    house: House, web: WebServer, server: RedisServer, waiting: tuple[str, Future[httpx2.Response]]
) -> None:
    """Meanwhile others get a 503 at once."""
    file_id, future = waiting
    server.kill()
    fresh = delete(web, house.no_files(1)[0])
    assert (fresh.status_code, fresh.headers["Retry-After"]) == (503, "5")
    server.start()
    assert future.result(BOUND_SECONDS).status_code in {202, 204}
    house.wait_for_beats(time.time())
    check_that_a_repeat_joins(house, web, file_id)


def test_a_full_redis_refuses_new_calls_and_ends_old_ones(
    house: House, web: WebServer, waiting: tuple[str, Future[httpx2.Response]]
) -> None:
    """Nothing of a refused call is enqueued."""
    _, future = waiting
    before = requests_in(house)
    house.redis.config_set("maxmemory", 1)
    try:
        fresh = delete(web, house.no_files(1)[0])
        house.redis.hdel(house.keys("account"), "paused", "paused_since")
        first = future.result(BOUND_SECONDS)
    finally:
        house.redis.config_set("maxmemory", 0)
    assert (fresh.status_code, fresh.headers["Retry-After"]) == (503, "5")
    assert "out of memory" in fresh.json()["message"]
    assert first.status_code == 204
    assert requests_in(house) == before


def test_a_server_that_stops_answers_and_ends(
    house: House, web: WebServer, waiting: tuple[str, Future[httpx2.Response]]
) -> None:
    """Who waits gets a 202 with what is known; the exit status is 0."""
    file_id, future = waiting
    assert web.stop() == 0
    answer = future.result(5)
    assert (answer.status_code, answer.json()["pendingFileIds"]) == (202, [file_id])
    web.restart()
    check_that_a_repeat_joins(house, web, file_id)


def test_a_repeat_joins_on_another_server(
    house: House, other_web: WebServer, waiting: tuple[str, Future[httpx2.Response]]
) -> None:
    """Servers hold no state: two of them answer the same call with the same request."""
    file_id, future = waiting
    check_that_a_repeat_joins(house, other_web, file_id)
    assert future.result(BOUND_SECONDS).status_code == 204


def test_single_deletes_of_many_callers_cost_few_calls(house: House, web: WebServer) -> None:
    """A hundred at once go to ImageKit in one or two calls."""
    files = house.files(100)

    async def delete_all() -> list[int]:
        async with httpx2.AsyncClient(auth=(KEY, ""), timeout=60, limits=httpx2.Limits(max_connections=100)) as client:
            answers = await asyncio.gather(*(client.delete(f"{web.url}/v1/files/{file_id}") for file_id in files))
            return [answer.status_code for answer in answers]

    assert asyncio.run(delete_all()) == [204] * 100
    assert len(house.calls_with(files)) <= 2


def test_a_thousand_who_wait_take_little_memory(house: House) -> None:
    """No thread for any of them, and some kilobytes each."""
    files = house.files(WAITING)
    server = WebServer(house, KITSWEEP_WEB_WAIT_SECONDS="50")
    process = psutil.Process(server.process.pid)
    try:
        assert delete(server, house.files(1)[0]).status_code == 204
        before, threads = process.memory_info().rss, process.num_threads()
        house.admin.pause("test")
        enqueued = requests_in(house) + WAITING
        with Connections(server, files) as statuses:
            wait_until(lambda: requests_in(house) >= enqueued, "all are enqueued", 30)
            assert process.num_threads() <= threads + 1
            assert process.memory_info().rss - before < 40 * 1024 * 1024
            house.admin.resume()
        assert statuses == [b"204"] * WAITING
    finally:
        server.kill()


class Connections:
    """Sends one delete on each of many connections, in a thread, and collects the statuses."""

    def __init__(self, web: WebServer, files: list[str]) -> None:
        self.statuses: list[bytes] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(web, files)))

    def __enter__(self) -> list[bytes]:
        self._thread.start()
        return self.statuses

    def __exit__(self, *_: object) -> None:
        self._thread.join(60)

    async def _run(self, web: WebServer, files: list[str]) -> None:
        self.statuses += await asyncio.gather(*(self._delete(web.port, file_id) for file_id in files))

    @staticmethod
    async def _delete(port: int, file_id: str) -> bytes:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(f"DELETE /v1/files/{file_id} HTTP/1.1\r\nAuthorization: {basic(KEY)}\r\n\r\n".encode())
        status = (await reader.readline()).split()[1]
        writer.close()
        return status
