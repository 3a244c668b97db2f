"""SIGKILL of everything at random moments, while the API loses answers: nothing is lost, nothing misreported."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.honesty import await_final, check_honest
from tests.chaos.processes import Proc, say, wait_until
from tests.chaos.rig import Rig

pytestmark = pytest.mark.chaos

FAULTS = {"cut_after": 0.04, "cut_before": 0.02, "cut_middle": 0.02, "error_before": 0.03, "error_after": 0.03}
"""Probabilities per call of answers that are lost, before or after the effect."""
LISTED_FAULTS = {"partial": 0.03, "omit": 0.02, "foreign": 0.02, "garbage": 0.02, "empty": 0.01}
ENQUEUER = """
import json, sys
from tasks.client import Client
client = Client()
for request_id, source, ids in json.load(open(sys.argv[1])):
    client.enqueue(ids, source=source, request_id=request_id)
"""


def plan_requests(dice: random.Random, files: list[str], never: list[str]) -> dict[str, list[str]]:
    """Distribute all ids to requests of very different sizes; some ids are in two of them, some twice in one."""
    ids = files + never
    dice.shuffle(ids)
    asked: dict[str, list[str]] = {}
    while ids:
        size = dice.choice((1, 3, 30, 150, 700))
        some, ids = ids[:size], ids[size:]
        if asked and dice.random() < 0.1:
            some += dice.choice(list(asked.values()))[:2]
        asked[f"kill-{len(asked)}"] = some + some[:1]
    return asked


class Killer:
    """Kills at random, and starts again what it has killed."""

    def __init__(self, dice: random.Random, workers: list[Proc], others: list[Proc]) -> None:
        self._dice = dice
        self._workers = workers
        self._others = others
        self.kills = {"worker": 0, "parent alone": 0, "child": 0, "beat or enqueuer": 0}

    def strike(self) -> None:
        """Kill one process, and restart those that are dead."""
        dice, worker = self._dice, self._dice.choice(self._workers)
        what = dice.choice(("worker", "parent alone", "child", "child", "beat or enqueuer"))
        if what == "child" and not (children := worker.children()):
            what = "worker"
        match what:
            case "child":
                with suppress(ProcessLookupError):
                    os.kill(dice.choice(children), signal.SIGKILL)
            case "beat or enqueuer":
                dice.choice(self._others).kill()
            case _:
                worker.kill(children=what == "worker")
        self.kills[what] += 1

    def revive(self) -> None:
        """Start again what was killed; a program that came to its end stays so."""
        for proc in self._workers + self._others:
            if not proc.running and proc.exit_status != 0:
                proc.start()


def run_kills(
    folder: Path, *, seed: int, files: int, never: int, batch: int, pause: tuple[float, float], most: int
) -> None:
    """Run the attack until all requests have ended, then check everything."""
    dice = random.Random(seed)
    absent = [f"{number:024x}" for number in range(never)]
    api = {"latency_ms": 120, "jitter_ms": 100, "seed": seed, "limits": ["20/1s"]}
    with Rig(
        folder, files=files, api=api, lease_seconds=3, batch_size=batch, rate_limits='["20/1s"]', max_attempts=60
    ) as rig:
        asked = plan_requests(dice, rig.sim.remaining(), absent)
        for kind, probability in (FAULTS | LISTED_FAULTS).items():
            rig.sim.fault(kind, probability=probability)
        plan = folder / "plan.json"
        plan.write_text(json.dumps([[name, f"s{len(ids) % 4}", ids] for name, ids in asked.items()]))
        workers = [rig.worker("threads1"), rig.worker("threads2"), rig.worker("prefork1", "prefork", 3)]
        others = [
            rig.proc("enqueuer", ["-c", ENQUEUER, str(plan)]),
            rig.proc("beat", ["-m", "celery", "-A", "worker.app", "beat"]),
        ]
        start = time.monotonic()
        killer = Killer(dice, workers, others)
        for _ in kills_until_done(rig, dice, pause, files, most):
            killer.strike()
            killer.revive()
        killer.revive()
        wait_until(lambda: others[0].exit_status == 0, 120, f"everything is enqueued:\n{others[0].tail()}")
        await_final(rig, asked, 240)
        ended = check_honest(rig, asked, never=absent)
        stats = rig.sim.stats()
        say(
            f"\nseed {seed}: {sum(ended.values())} items of {len(asked)} requests in {time.monotonic() - start:.1f} s; "
            f"kills {killer.kills}; outcomes {dict(ended)}; calls {stats['statuses']['bulk_delete']}; "
            f"faults {stats['faults']}; ids sent again in vain {stats['ids_sent_again']}"
        )


def kills_until_done(
    rig: Rig, dice: random.Random, pause: tuple[float, float], files: int, most: int
) -> Iterator[None]:
    """Yield at random moments until nearly all files are gone, at most so often.

    On a machine so busy that workers take longer to start than they are let live, nothing would ever be done.
    """
    for _ in range(most):
        strike_at = time.monotonic() + dice.uniform(*pause)
        while time.monotonic() < strike_at:
            if rig.sim.stats()["deleted"] >= files * 0.98:
                return
            time.sleep(0.1)
        yield


@pytest.mark.timeout(300)
def test_kills_at_random_lose_and_misreport_nothing(tmp_path: Path) -> None:
    """After kills of workers, children, beat and enqueuer every file is gone once and every outcome is true."""
    seed = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    say(f"CHAOS_SEED={seed}")
    run_kills(tmp_path, seed=seed, files=2500, never=50, batch=25, pause=(0.7, 2.0), most=14)


@pytest.mark.chaos_long
@pytest.mark.timeout(3600)
def test_kills_at_random_over_a_hundred_thousand_files(tmp_path: Path) -> None:
    """The same over 100,000 files, and 1000 ids that never existed."""
    seed = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    say(f"CHAOS_SEED={seed}")
    run_kills(tmp_path, seed=seed, files=100_000, never=1000, batch=100, pause=(0.5, 3.0), most=150)
