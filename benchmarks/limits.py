"""Use of a strict sliding-window limit while ids wait, with jittered latency, and what fills the calls."""

from __future__ import annotations

import random
import statistics
import threading
import time

from benchmarks.measures import Row
from benchmarks.stand import Stand, file_ids, wait_until
from simulator.ledger import Call

PRODUCERS = 20
LATENCY_MS, JITTER_MS = 60, 30
SETTLING_SECONDS = 5.0
"""From the end of enqueuing to the steady state; before it, producers and workers share two cores."""


def measure_limit(stand: Stand, per_second: int, seconds: int) -> list[Row]:
    """Fill, and use of the limit, with 20 producers whose requests have 1 to 30 ids."""
    files = per_second * seconds * 100
    with stand.running(files, limits=[f"{per_second}/1s"]) as simulator:
        simulator.set_latency(LATENCY_MS, JITTER_MS)
        _produce(stand, file_ids(files))
        settled_at = time.time() + SETTLING_SECONDS
        wait_until(stand.drained, seconds * 3 + 60, every=0.5)
        calls = sorted(simulator.calls(), key=lambda call: call.at)
        left = simulator.remaining()
    if left:
        raise RuntimeError(f"{len(left)} files are left")
    return _rows(per_second, calls, [call for call in calls if call.at >= settled_at])


def _rows(per_second: int, calls: list[Call], steady: list[Call]) -> list[Row]:
    # The last call takes the ids that are left: fill is measured while ids wait.
    fill = statistics.mean(call.id_count for call in calls[:-1] if call.status == 200)
    refused = _refused(steady)
    label = f"limit of {per_second} calls a second, latency 30 to 90 ms, two workers, 20 producers"
    return [
        Row(f"{label}: use of the limit in the steady state", f"{100 * _use(per_second, steady):.1f} %", "99 %"),
        Row(
            f"{label}: calls answered 429 in the steady state",
            f"{refused} of {len(steady):,} = {100 * refused / len(steady):.2f} %",
            "0.1 %",
        ),
        Row(
            f"{label}: use and 429s from the first call to the last",
            f"{100 * _use(per_second, calls):.1f} %, {_refused(calls)} of {len(calls):,}",
        ),
        Row(f"{label}: ids per call while ids wait, requests of 1 to 30", f"{fill:.1f} of 100", "99"),
    ]


def _refused(calls: list[Call]) -> int:
    return sum(call.status == 429 for call in calls)


def _use(per_second: int, calls: list[Call]) -> float:
    """Return the shortest time in which the limit lets so many calls pass, as a share of the time they took.

    Whole windows count, so that calls sent in bursts make the figure neither better nor worse.
    """
    good = [call.at for call in calls if call.status == 200]
    windows = (len(good) - 1) // per_second
    return windows / (good[windows * per_second] - good[0])


def _produce(stand: Stand, ids: list[str]) -> None:
    requests = _in_requests(ids)

    def produce(number: int) -> None:
        stand.client.enqueue_many(requests[number::PRODUCERS], source=f"producer{number}")

    threads = [threading.Thread(target=produce, args=(number,)) for number in range(PRODUCERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _in_requests(ids: list[str]) -> list[list[str]]:
    dice = random.Random(1)
    requests: list[list[str]] = []
    start = 0
    while start < len(ids):
        size = dice.randint(1, 30)
        requests.append(ids[start : start + size])
        start += size
    return requests
