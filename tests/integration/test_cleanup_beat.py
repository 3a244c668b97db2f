"""Beat and workers as real processes: one run per due time, whatever dies or restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.support_house import House
from tests.redis_server import RedisServer
from tests.waiting import wait_until
from worker.cleanup.runs.store import RuleState, RunStore
from worker.queue.approvals import Approvals
from worker.reports.audit import Audit

pytestmark = [pytest.mark.real_server, pytest.mark.slow]

RULES = """
[rules.old]
path = "/drafts/"
older_than = "30d"
every = "365d"
guards = { max_files = 100000, max_share = 0, usual_factor = 0 }
"""
FILES = 3000


class Firm:
    """A house with two beats and a separate Redis."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        self.server = server
        rules = folder / "cleanup.toml"
        rules.write_text(RULES)
        self.house = House(server.url, folder, KITSWEEP_CLEANUP_FILE=str(rules))
        self.beats = [self.beat(number) for number in range(2)]
        queue = self.house.client._queue
        self.runs = RunStore(queue, self.house.client._settings)
        self.approvals = Approvals(queue)

    def beat(self, number: int) -> subprocess.Popen[bytes]:
        """Start a beat with a separate log."""
        with (self.house.folder / f"beat{number}.log").open("ab") as log:
            command = [sys.executable, "-m", "celery", "-A", "worker.app", "beat", "-l", "INFO"]
            return subprocess.Popen(
                command, cwd=self.house.folder, env=self.house.environment, stdout=log, stderr=subprocess.STDOUT
            )

    def state(self) -> RuleState:
        """What Redis knows about the rule."""
        return self.runs.rule_state("old")

    def make_due(self) -> None:
        """Move the rule's last due time far back, so that it is due now."""
        wait_until(lambda: self.state().last_due, 30)
        self.house.redis.hset(self.house.keys.cleanup("rule", "old"), "last_due", 1)

    def outcome(self) -> str:
        """Outcome of the latest run, empty until it has ended."""
        history = self.state().history
        return self.runs.read(history[0]).get("outcome", "") if history else ""

    def stop(self) -> None:
        """Stop everything."""
        for beat in self.beats:
            beat.terminate()
        for beat in self.beats:
            beat.wait(20)
        self.house.stop()


@pytest.fixture
def firm(redis_binary: Path, tmp_path: Path) -> Iterator[Firm]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with RedisServer(redis_binary, folder, [("appendonly", "yes"), ("appendfsync", "always")]) as server:
        made = Firm(server, tmp_path)
        try:
            yield made
        finally:
            made.stop()


def test_from_the_due_time_to_the_audit_trail(firm: Firm) -> None:
    """Two beats, one killed, a worker killed, Redis restarted: one run, held, approved, deleted, recorded."""
    house, sim = firm.house, firm.house.simulator
    sim.add_files(FILES)
    sim.set_latency(300)
    house.start_worker("w1")
    house.wait_for_workers()
    firm.make_due()
    wait_until(lambda: sim.calls("list") or sim.stats()["in_flight"], 30)
    worker = house.workers.pop().process
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait(10)
    firm.beats[0].kill()
    firm.beats[0].wait(10)
    assert firm.outcome() == ""
    firm.server.kill()
    firm.server.start()
    sim.set_latency(0)
    house.start_worker("w2")
    # As if the dead worker's lease had expired.
    run_id = firm.state().history[0]
    house.redis.hset(house.keys.cleanup("run", run_id), "lease_until", 1)
    house.redis.zadd(house.keys("cleanup:runs"), {run_id: 1})
    wait_until(lambda: firm.outcome() == "held", 40)
    assert firm.state().history == [run_id]
    assert sim.deleted() == []
    assert firm.beats[1].poll() is None
    (held,) = firm.approvals.waiting()
    firm.approvals.approve(held.request_id, "boss@host")
    report = house.client.wait(held.request_id, 30)
    assert (report["state"], report["deleted"]) == ("SUCCESS", len(sim.deleted()))
    assert len(sim.deleted()) == held.total
    events = [(entry["event"], entry["by"]) for entry in Audit(house.redis, house.client._settings).entries()]
    assert [event for event, _ in events] == ["held", "approved", "ended"]
    assert events[1][1] == "boss@host"
    firm.make_due()
    wait_until(lambda: (firm.state().last_due or 0) > 1, 20)
    assert firm.state().history == [run_id], "the same due time ran twice"


def test_beat_does_not_start_with_invalid_rules(tmp_path: Path) -> None:
    """It reports the mistake with its line, and exits."""
    (tmp_path / "cleanup.toml").write_text("[rules.a]\npath = 3\n")
    command = [sys.executable, "-m", "celery", "-A", "worker.app", "beat"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert b"cleanup.toml:2: rules.a.path must be text" in ended.stdout + ended.stderr
