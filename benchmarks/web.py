"""What the drop-in of `kitsweep web` costs: single deletes over keep-alive connections, and one bulk call."""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.measures import Row
from benchmarks.stand import KEY, Stand, file_ids, process, wait_until
from local.ports import LOOPBACK, free_port, is_free
from simulator.control.remote import Control

CASES = ((64, "1,500 a second"), (256, "1.1 calls for 100"))
"""Connections and goal. Each connection waits for its answer, so 64 fill no batch: a call has 64 ids at most."""
WINDOW_SECONDS = 0.2
"""The default batch window."""
IDLE_SECONDS = 0.3
"""Pause between two bulk calls, after which the system is idle."""
_AUTHORIZATION = base64.b64encode(f"{KEY}:".encode()).decode()
_HEAD = f"Host: kitsweep\r\nAuthorization: Basic {_AUTHORIZATION}\r\n"


def measure_web(place: Stand, files: int) -> list[Row]:
    """Measure single deletes over keep-alive connections, and bulk calls on an idle system."""
    rows = []
    for connections, goal in CASES:
        rate, calls = _measure_singles(place, files, connections)
        figure = f"{rate:,.0f} a second, {calls:.2f} calls for 100"
        rows.append(Row(f"single deletes through the drop-in, {connections} connections", figure, goal))
    added = _measure_bulk_calls(place, 30)
    what = "a bulk call through the drop-in on an idle system, beside the batch window, median"
    return [*rows, Row(what, f"{added:.0f} ms", "15 ms")]


def _measure_singles(place: Stand, files: int, connections: int) -> tuple[float, float]:
    """Return deletions a second, and calls to the API for a hundred of them."""
    with _serving(place, files) as (control, port):
        started = time.monotonic()
        statuses = asyncio.run(_delete_all(port, file_ids(files), connections))
        seconds = time.monotonic() - started
        assert statuses == {204: files}, statuses
        return files / seconds, 100 * len(control.calls("bulk_delete")) / files


async def _delete_all(port: int, ids: Sequence[str], connections: int) -> dict[int, int]:
    statuses: dict[int, int] = {}
    left = iter(ids)

    async def delete_some() -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        for file_id in left:
            writer.write(f"DELETE /v1/files/{file_id} HTTP/1.1\r\n{_HEAD}\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head[9:12])
            statuses[status] = statuses.get(status, 0) + 1
        writer.close()

    await asyncio.gather(*(delete_some() for _ in range(connections)))
    return statuses


def _measure_bulk_calls(place: Stand, rounds: int) -> float:
    """Return the median time of a bulk call of 50 ids beyond the batch window, in ms."""
    with _serving(place, rounds * 50) as (_, port):
        ids = file_ids(rounds * 50)
        times = asyncio.run(_bulk_calls(port, [ids[start : start + 50] for start in range(0, len(ids), 50)]))
    return 1000 * (statistics.median(times) - WINDOW_SECONDS)


async def _bulk_calls(port: int, batches: Sequence[Sequence[str]]) -> list[float]:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    times = []
    for batch in batches:
        body = json.dumps({"fileIds": batch})
        started = time.monotonic()
        head = f"POST /v1/files/batch/deleteByFileIds HTTP/1.1\r\n{_HEAD}Content-Length: {len(body)}\r\n\r\n"
        writer.write((head + body).encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        times.append(time.monotonic() - started)
        await asyncio.sleep(IDLE_SECONDS)
    writer.close()
    return times


@contextmanager
def _serving(place: Stand, files: int) -> Iterator[tuple[Control, int]]:
    """Run a simulator with files, a worker, and a web server."""
    with place.running(files, workers=1) as control:
        port = free_port()
        environment = {"IMAGE_KIT_BASE_URL": control.url, "IMAGEKIT_PRIVATE_KEY": KEY, "KITSWEEP_LOG_LEVEL": "ERROR"}
        with process("-m", "cli", "web", "--port", str(port), environment=environment):
            wait_until(lambda: not is_free(port))
            yield control, port
