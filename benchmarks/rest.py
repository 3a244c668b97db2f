"""What the REST API of `kitsweep web` costs: one request as a stream of ids, beside the command line."""

from __future__ import annotations

import http.client
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from benchmarks.measures import Row
from benchmarks.stand import KEY, ROOT, Stand, process, wait_until
from local.ports import LOOPBACK, free_port, is_free

IDS_AT_ONCE = 2000


def measure_rest(place: Stand, files: int, rounds: int) -> list[Row]:
    """Measure how fast ids are accepted, by HTTP and by the command line in turn, and the memory of the server."""
    place.redis.flushall()
    port = free_port()
    environment = {"IMAGEKIT_PRIVATE_KEY": KEY, "KITSWEEP_LOG_LEVEL": "ERROR"}
    with process("-m", "cli", "web", "--port", str(port), environment=environment) as web:
        wait_until(lambda: not is_free(port))
        _send(port, files)
        before = _peak_mb(web.pid)
        pairs = [(_timed(lambda: _send(port, files)), _timed(lambda: _delete_by_command(files))) for _ in range(rounds)]
        _send(port, 10 * files)
        grown = _peak_mb(web.pid) - before
    rate, ratio = files / statistics.median(a for a, _ in pairs), statistics.median(b / a for a, b in pairs)
    return [
        Row(
            f"ids a second accepted, {files:,} as a stream over HTTP",
            f"{rate:,.0f} = {ratio:.2f} of `kitsweep delete`",
            "0.7",
        ),
        Row("memory that the server needs for ten times as many ids in one stream", f"{grown:.0f} MB more", "flat"),
    ]


def _timed(act: Callable[[], None]) -> float:
    started = time.monotonic()
    act()
    return time.monotonic() - started


def _lines(files: int) -> Iterator[bytes]:
    for start in range(0, files, IDS_AT_ONCE):
        ids = range(start, min(files, start + IDS_AT_ONCE))
        yield "".join(f"{number:024x}\n" for number in ids).encode()


def _send(port: int, files: int) -> None:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=600)
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "text/plain"}
    connection.request("POST", "/api/v1/requests", _lines(files), headers, encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 202, response.read()
    connection.close()


def _delete_by_command(files: int) -> None:
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        Path(file.name).write_bytes(b"".join(_lines(files)))
        subprocess.run([sys.executable, "-m", "cli", "delete", file.name], cwd=ROOT, check=True, capture_output=True)


def _peak_mb(pid: int) -> float:
    """Return the most memory that a process has had, in MB."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return float(psutil.Process(pid).memory_info().rss) / 1e6
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1000
