"""What requests cost in Redis' memory: per id of a large one, and per request of one id, waiting and finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.measures import Row
from benchmarks.messages import all_done, send_by_name
from benchmarks.stand import Stand, file_ids, wait_until
from benchmarks.systems import KITSWEEP
from tasks.admin import Admin
from worker.store.keys import Keys


def measure_memory(stand: Stand, files: int, requests: int) -> list[Row]:
    """Measure bytes per waiting id of one large request, and per request of one id."""
    stand.redis.flushall()
    before = _settled_memory(stand)
    stand.client.enqueue((f"{number:024x}" for number in range(files)), hold_seconds=3600)
    per_id = (_settled_memory(stand) - before) / files
    return [
        Row(f"Redis memory per waiting id, one request of {files:,}", f"{per_id:.1f} bytes", "32 bytes"),
        _measure_requests(stand, requests, "through the client", _enqueue),
        _measure_requests(stand, requests, "by task name", _send_and_accept),
    ]


def _measure_requests(stand: Stand, count: int, how: str, enqueue: Callable[[Stand, Sequence[str]], None]) -> Row:
    with stand.running(count, workers=0) as simulator:
        empty = _settled_memory(stand)
        Admin().pause("measure what waits")
        with stand.workers(simulator):
            enqueue(stand, file_ids(count))
        waiting = (_settled_memory(stand) - empty) / count
        Admin().resume()
        with stand.workers(simulator):
            wait_until(lambda: all_done(stand, count), 600)
        finished = (_settled_memory(stand) - empty) / count
        stand.redis.delete(*(Keys("default")(name) for name in ("gone:0", "gone:1")))
        later = (_settled_memory(stand) - empty) / count
    what = f"Redis memory per request of one id ({count:,} {how}): waiting, finished, finished two days ago"
    return Row(what, f"{waiting:.0f}, {finished:.0f}, {later:.0f} bytes", "900, 700")


def _enqueue(stand: Stand, ids: Sequence[str]) -> None:
    stand.client.enqueue_many([file_id] for file_id in ids)


def _send_and_accept(stand: Stand, ids: Sequence[str]) -> None:
    send_by_name(stand.url, KITSWEEP, ids)
    wait_until(lambda: stand.client.stats()["unaccepted"] == 0, 120)


def _settled_memory(stand: Stand) -> int:
    """Return the server's memory in use, once what it frees in the background is freed."""
    seen = [0, 0]

    def settled() -> bool:
        memory = int(stand.redis.info("memory")["used_memory"])
        seen[:] = [seen[1], memory]
        return abs(seen[0] - seen[1]) < 10_000

    wait_until(settled, every=0.5)
    return seen[1]
