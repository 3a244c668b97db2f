"""Callbacks of a request run at least once, wherever its worker dies, and only when the files are gone."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.honesty import await_final, check_honest
from tests.chaos.processes import Proc, say, wait_until
from tests.chaos.rig import Rig
from tests.chaos.service import FILES, Service
from worker.states import State

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


def revive(workers: list[Proc]) -> None:
    """Start again what is dead."""
    for worker in workers:
        if not worker.running:
            worker.start()


def is_outbox_empty(rig: Rig) -> bool:
    """Whether every final request is published, and its callbacks are dispatched."""
    return not rig.redis.zcard(rig.keys("outbox"))


def check_all(rig: Rig, service: Service) -> Counter[str]:
    """Every report is true, and every callback ran with its argument; returns how often each did."""
    asked = {name: ids for name, ids in service.asked.items() if name not in service.revoked}
    kept = [file_id for name in service.revoked for file_id in service.asked[name]]
    assert set(kept) <= set(rig.sim.remaining()), "what was revoked in time is still there"
    for name in service.revoked:
        report = rig.client.status(name)
        assert (report["state"], report["cancelled"]) == (State.REVOKED, FILES)
        assert service.state(name) == State.REVOKED
    rig.sim.take_away(kept)
    check_honest(rig, asked, failed=service.failed)
    return service.check_notes()


def say_how_often(what: str, went_off: Counter[str]) -> None:
    """Print how many callbacks ran, and how often."""
    times = Counter(went_off.values())
    shown = ", ".join(f"{times[often]} x {often}" for often in sorted(times))
    say(f"\n{what}: {len(went_off)} followers, went off (followers x times) {shown}")


def test_callbacks_of_a_request_survive_its_worker(tmp_path: Path) -> None:
    """A worker dies before, while and after it dispatches each kind of callback: all run, some of them twice.

    A revocation counts although the worker that received it dies before it publishes it.
    """
    rig = Rig(tmp_path, batch_size=FILES, rate_limits='["5/1s"]', lease_seconds=2, max_attempts=2)
    with rig, Service(rig) as service:
        rig.admin.pause("until all is accepted")
        workers = [service.start_worker()]
        service.start_follower()
        service.trap(service.link(), "settled")
        twice = service.link()
        service.trap(twice, "sent")
        failed_twice = service.link(fails=True)
        service.trap(failed_twice, "sent")
        service.trap(service.chain(), "published")
        service.row(fails=True)
        header, _ = service.chord()
        service.trap(header[0], "half")
        service.trap(service.chord()[0][2], "sent")
        service.trap(service.chord(fails=True)[0][1], "published")
        service.group()
        revoked = service.link()
        service.await_accepted()
        service.trap(revoked, "cancelled")
        service.expect_revoked(revoked)
        rig.celery.AsyncResult(revoked).revoke()
        workers[0].wait(30)
        assert service.state(revoked) == State.QUEUED, "it died before anybody was told"
        workers[0].start()
        workers.append(service.start_worker("w2"))
        rig.admin.resume()
        start = time.monotonic()

        def all_over() -> bool:
            revive(workers)
            return not service.traps_left() and is_outbox_empty(rig)

        wait_until(all_over, 90, f"every trap is met; left: {service.traps_left()}")
        await_final(rig, service.asked.keys() - {revoked}, 60)
        service.await_notes(30)
        went_off = check_all(rig, service)
        assert went_off[f"{twice} done"] >= 2
        assert went_off[f"{failed_twice} sorry"] >= 2
        assert went_off[f"{header[0]} done"] >= 2
        deaths = sum(worker.starts for worker in workers) - len(workers)
        say_how_often(f"{deaths} deaths in the sending-off, over in {time.monotonic() - start:.1f} s", went_off)


@pytest.mark.chaos_long
def test_the_body_of_a_chord_survives_the_worker_that_was_to_send_it(tmp_path: Path) -> None:
    """The worker dies after it has claimed to send the body, which Celery believes for 17 s, and before it has."""
    with Rig(tmp_path, batch_size=FILES) as rig, Service(rig) as service:
        rig.admin.pause("until all is accepted")
        worker = service.start_worker()
        service.start_follower()
        names, body_id = service.chord()
        service.await_accepted()
        service.trap(body_id, "claimed")
        rig.admin.resume()
        worker.wait(60)
        died = time.monotonic()
        worker.start()
        await_final(rig, names, 60)
        service.await_notes(45)
        say(f"\nfrom the death before a chord's body was sent to its run: {time.monotonic() - died:.1f} s")
        check_all(rig, service)


def test_a_revocation_that_no_worker_receives_has_no_replies(tmp_path: Path) -> None:
    """`revoke` is a broadcast: its replies show whether a worker received it and has cancelled the request."""
    with Rig(tmp_path) as rig, Service(rig) as service:

        def revoke() -> bool:
            answers = rig.celery.control.revoke(name, reply=True, timeout=1) or []
            return any(worker.name in answer for each in answers for answer in each)

        rig.admin.pause("until it is revoked")
        worker = service.start_worker()
        name = service.link()
        service.await_accepted()
        service.expect_revoked(name)
        worker.kill()
        assert not revoke()
        worker.start()
        service.start_follower()
        wait_until(revoke, 60, "a worker hears it")
        wait_until(lambda: service.state(name) == State.REVOKED, 5, "it is revoked")
        service.await_notes(30)
        check_all(rig, service)


def run_kills(rig: Rig, service: Service, dice: random.Random, most: int) -> None:
    """Kill both kinds of workers at random, at most so often, and let some die in the sending-off; then let all end."""
    workers = [service.start_worker("threads"), service.start_worker("prefork", "prefork")]
    wait_until(lambda: all(" ready." in worker.text() for worker in workers), 60, "the workers are ready")
    for name in service.asked:
        if dice.random() < 0.05:
            service.trap(name, dice.choice(("settled", "published", "half", "sent")))
    rig.admin.resume()

    def all_over() -> bool:
        revive(workers)
        left = rig.redis.hgetall(rig.keys("waiting")) or rig.redis.hgetall(rig.keys("in_flight"))
        return not left and is_outbox_empty(rig)

    kills = 0
    while kills < most and not all_over():
        strike_at = time.monotonic() + dice.uniform(1.5, 4)
        while time.monotonic() < strike_at:
            revive(workers)
            time.sleep(0.1)
        dice.choice(workers).kill()
        kills += 1
    wait_until(all_over, 240, "nothing is left to be done")
    deaths = sum(worker.starts for worker in workers) - len(workers) - kills
    say(f"\n{kills} kills at random, {deaths} deaths in the sending-off")


@pytest.mark.chaos_long
@pytest.mark.timeout(900)
def test_hundreds_of_canvases_under_kills_at_random(tmp_path: Path) -> None:
    """Workers die at random, also while dispatching, and responses are lost: all callbacks run, reports are true."""
    seed = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    say(f"CHAOS_SEED={seed}")
    dice = random.Random(seed)
    api = {"latency_ms": 100, "jitter_ms": 100, "seed": seed}
    rig = Rig(tmp_path, api=api, batch_size=FILES * 4, rate_limits='["3/1s"]', lease_seconds=3)
    with rig, Service(rig) as service:
        rig.admin.pause("until all is accepted")
        accepting = service.start_worker("accepting")
        service.start_follower()
        for _ in range(150):
            # No chains of requests: the next one's message may be in the hands of a worker that is killed, for 300 s.
            kind = dice.choice(("link", "row", "chord", "group"))
            getattr(service, kind)(fails=dice.random() < 0.1)
        service.await_accepted()
        accepting.kill()
        for kind in ("cut_after", "cut_before", "error_after", "error_before"):
            rig.sim.fault(kind, probability=0.03)
        start = time.monotonic()
        run_kills(rig, service, dice, most=40)
        await_final(rig, service.asked, 120)
        service.await_notes(60)
        went_off = check_all(rig, service)
        took = time.monotonic() - start
        say_how_often(f"{len(service.asked)} requests over in {took:.0f} s", went_off)
