"""Two accounts in the same workers, one of them failing, and kills at random: nothing is lost, nothing is mixed."""

from __future__ import annotations

import copy
import random
import time
from pathlib import Path

import pytest

from simulator import Simulator
from tasks.client import Client
from tests.chaos.honesty import await_final, check_honest
from tests.chaos.processes import say
from tests.chaos.rig import Rig
from worker.store.keys import Keys

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

FAULTS = {"cut_after": 0.08, "error_before": 0.08, "error_after": 0.08, "omit": 0.02}
"""Probabilities per call, in one of the accounts."""
SHOP_KEY = "private_shop"
SHARED = 500
"""Files whose ids both accounts have."""
KILLS = 5


def test_two_accounts_in_workers_that_are_killed(tmp_path: Path) -> None:
    """Requests for both go through the same lists of the broker; each ends in its account alone."""
    dice = random.Random(12)
    with Simulator(2000, private_key=SHOP_KEY, seed=5, keep_calls=1_000_000) as shop_sim:
        file = tmp_path / "accounts.toml"
        file.write_text(f"[accounts.shop]\nkey = '{SHOP_KEY}'\nbase_url = '{shop_sim.url}'\n", "utf-8")
        file.chmod(0o600)
        with Rig(tmp_path, files=2000, accounts_file=file, lease_seconds=2, rate_limits='["8/1s"]') as rig:
            shop_sim.add_files(rig.sim.remaining()[:SHARED])
            for kind, probability in FAULTS.items():
                rig.sim.fault(kind, probability=probability)
            workers = [rig.worker(name, concurrency=4) for name in ("w1", "w2")]
            rig.await_workers(*workers)
            asked = {name: plan(dice, name or "default", sim) for name, sim in ((None, rig.sim), ("shop", shop_sim))}
            send(rig, dice, asked)
            for _ in range(KILLS):
                time.sleep(dice.uniform(0.3, 1.0))
                victim = dice.choice(workers)
                victim.kill()
                victim.start()
            await_final(rig, [request_id for requests in asked.values() for request_id in requests], 90)
            say(f"default: {dict(check_honest(rig, asked[None]))}")
            say(f"shop: {dict(check_honest(rig_of(rig, 'shop', shop_sim), asked['shop']))}")


def plan(dice: random.Random, name: str, sim: Simulator) -> dict[str, list[str]]:
    """Distribute all files of an account to requests of different sizes."""
    ids, asked = sim.remaining(), dict[str, list[str]]()
    dice.shuffle(ids)
    while ids:
        size = dice.choice((1, 5, 60, 300))
        asked[f"{name}-{len(asked)}"], ids = ids[:size], ids[size:]
    return asked


def send(rig: Rig, dice: random.Random, asked: dict[str | None, dict[str, list[str]]]) -> None:
    """Send all requests by task name, those of both accounts in between each other."""
    messages = [(name, *each) for name, requests in asked.items() for each in requests.items()]
    dice.shuffle(messages)
    for account, request_id, ids in messages:
        arguments = {"account": account} if account else {}
        rig.celery.send_task("kitsweep.delete_files", [ids], arguments, task_id=request_id)


def rig_of(rig: Rig, name: str, sim: Simulator) -> Rig:
    """Return the rig as another account sees it."""
    other = copy.copy(rig)
    other.sim, other.client, other.keys = sim, Client(rig.settings, account=name), Keys(name)
    return other
