"""SIGKILL of workers between deletion and purge, lost answers, and a quota that is used up: no copy is forgotten."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.processes import say, wait_until
from tests.chaos.rig import Rig

pytestmark = pytest.mark.chaos

SETTINGS: dict[str, Any] = {
    "http_timeout_seconds": 1,
    "http_connect_timeout_seconds": 1,
    "lease_seconds": 3,
    "purge_window_seconds": 0.2,
}


def add_people(rig: Rig, count: int) -> dict[str, list[dict[str, Any]]]:
    """Add people with some files each; the last of each is asked for without its URL."""
    return {
        f"person-{person}": [rig.sim.add_file(folder=f"/people/{person}/") for _ in range(1 + person % 3)]
        for person in range(count)
    }


def ask(rig: Rig, people: dict[str, list[dict[str, Any]]]) -> None:
    for name, files in people.items():
        rig.client.enqueue([*files[:-1], files[-1]["fileId"]], purge=True, request_id=name)


def await_purged(rig: Rig, people: dict[str, list[dict[str, Any]]], seconds: float) -> None:
    def counts() -> dict[str, int]:
        return {name: rig.client.status(name).get("purged", 0) for name in people}

    wanted = {name: len(files) for name, files in people.items()}
    wait_until(lambda: counts() == wanted, seconds, "all purges have ended")


@pytest.mark.timeout(240)
def test_kills_lose_no_purge(tmp_path: Path) -> None:
    """Whenever workers die, and whatever answers are lost: what was deleted is purged, and the reports say so."""
    seed = random.SystemRandom().randrange(1, 10**6)
    say(f"CHAOS_SEED={seed}")
    dice = random.Random(seed)
    with Rig(tmp_path, **SETTINGS) as rig:
        rig.sim.set_behaviour(purge_ms=300)
        for kind in ("cut_after", "cut_before", "error_after"):
            rig.sim.fault(kind, probability=0.05, endpoint="purge")
        people = add_people(rig, 40)
        workers = [rig.worker("first"), rig.worker("second")]
        ask(rig, people)
        for _ in range(5):
            time.sleep(dice.uniform(0.2, 2))
            worker = dice.choice(workers)
            worker.kill()
            worker.start()
        rig.sim.clear_faults()
        await_purged(rig, people, 150)
        files = [file for some in people.values() for file in some]
        assert rig.sim.still_cached(file["url"] for file in files) == []
        assert rig.sim.existing(file["fileId"] for file in files) == []
        overview_calls = rig.client.stats()["purges"]["calls"]
        assert overview_calls >= len(rig.sim.purged())


@pytest.mark.timeout(120)
def test_a_quota_that_is_used_up_in_the_middle(tmp_path: Path) -> None:
    """No more calls are made than the month has; the rest waits, and goes on with the next month's."""
    with Rig(tmp_path, **SETTINGS, purge_quota=5) as rig:
        rig.sim.set_behaviour(purge_ms=0)
        people = add_people(rig, 8)
        rig.worker("first")
        ask(rig, people)
        wait_until(lambda: rig.client.stats()["purges"]["calls"] == 5, 60, "the quota is used up")
        wait_until(lambda: rig.client.stats()["purges"]["open"] == 0, 60, "these purges have ended")
        assert len(rig.sim.purged()) == 5
        assert rig.client.stats()["purges"]["waiting"] > 0
        rig.redis.delete(rig.keys("purges:quota"))
        await_purged(rig, people, 60)
        assert len(rig.sim.purged()) <= 10
