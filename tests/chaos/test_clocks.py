"""Machines whose clocks are minutes off: everything that is shared goes by the clock of the Redis server.

A process is put on a wrong clock by a module that Python loads at its start: `time.time`, `datetime.now` and their like
are off in it, and its parts, by so many seconds. Its monotonic clock is right, as it is on any machine.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.chaos.honesty import await_final, check_honest
from tests.chaos.processes import Proc, say, wait_until
from tests.chaos.rig import ROOT, Rig
from worker.queue.approvals import Approvals

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

AHEAD, BEHIND = 7 * 60, -11 * 60
SLACK_SECONDS = 5.0
"""How far a time may lie outside of when it must have been taken; the clocks are off by a hundred times as much."""
LIMIT = "20/1s"
BATCH = 20

WRONG_CLOCK = """
import datetime, os, time
off_by = float(os.environ["CLOCK_OFF_BY"])
real, true_time, true_ns, true_gm, true_local = datetime.datetime, time.time, time.time_ns, time.gmtime, time.localtime
class Kind(type):
    def __instancecheck__(cls, value): return isinstance(value, real)
class Wrong(real, metaclass=Kind):
    __slots__ = ()
    @classmethod
    def now(cls, tz=None): return super().now(tz) + datetime.timedelta(seconds=off_by)
    @classmethod
    def utcnow(cls): return super().utcnow() + datetime.timedelta(seconds=off_by)
time.time = lambda: true_time() + off_by
time.time_ns = lambda: true_ns() + int(off_by * 1e9)
time.gmtime = lambda at=None: true_gm(time.time() if at is None else at)
time.localtime = lambda at=None: true_local(time.time() if at is None else at)
Wrong.__name__ = Wrong.__qualname__ = "datetime"
Wrong.__module__ = "datetime"
datetime.datetime = Wrong
"""
SERVICE = """
import datetime, json, sys, time, celery
from tasks.client import Client
print(json.dumps([time.time(), datetime.datetime.now(datetime.UTC).timestamp()]))
address, *plans = json.load(open(sys.argv[1]))
client, app = Client(), celery.Celery(broker=address, backend=address)
for request_id, ids, hold, by_name in plans:
    if by_name:
        options = {"source": "named", "hold_seconds": hold}
        app.send_task("kitsweep.delete_files", [ids], options, task_id=request_id)
    else:
        client.enqueue(ids, source="client", hold_seconds=hold, request_id=request_id)
"""
Plan = tuple[str, list[str], float, bool]
"""Request id, file ids, seconds to hold them, and whether it is sent by name, as a service does, or by the client."""


def off_by(rig: Rig, seconds: float) -> dict[str, str]:
    """Return the environment that puts a process on a clock that is so many seconds ahead (or behind)."""
    folder = rig.folder / "clock"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(WRONG_CLOCK)
    return {"CLOCK_OFF_BY": str(seconds), "PYTHONPATH": f"{folder}:{ROOT}"}


def start_workers(rig: Rig, *kinds: tuple[str, float], concurrency: int = 4) -> list[Proc]:
    """Start a worker of each pool and clock, and check that its clock is what it should be."""
    started = time.time()
    workers = [
        rig.worker(f"{pool}{at}", pool, concurrency, **off_by(rig, seconds)) for at, (pool, seconds) in enumerate(kinds)
    ]
    rig.await_workers(*workers)
    for worker, (_, seconds) in zip(workers, kinds, strict=True):
        check_clock(worker, seconds, started)
    return workers


def check_clock(proc: Proc, seconds: float, started: float) -> None:
    """The log of a process shows that its clock is off by what was asked for: else nothing would be tested here."""
    said = re.findall(r"^(\d{4}-\d\d-\d\dT[\d:.]+)Z ", proc.text(), re.MULTILINE)
    assert said, proc.tail()
    first, last = (datetime.fromisoformat(f"{text}Z").timestamp() - seconds for text in (said[0], said[-1]))
    assert started - 1 <= first <= last <= time.time() + 1, (proc.name, said[0])


def run_service(rig: Rig, name: str, seconds: float, plans: list[Plan]) -> dict[str, list[str]]:
    """Let a service whose clock is wrong enqueue requests; returns what it has asked for."""
    path = rig.folder / f"{name}.json"
    path.write_text(json.dumps([rig.server.url, *plans]))
    started = time.time()
    service = rig.proc(name, ["-c", SERVICE, str(path)], **off_by(rig, seconds))
    service.wait(60)
    assert service.exit_status == 0, service.tail()
    for clock in json.loads(service.text().splitlines()[0]):
        assert started <= clock - seconds <= time.time()
    return {request_id: ids for request_id, ids, *_ in plans}


def seconds_of(iso: str | None) -> float:
    """Read a time of a report as seconds since 1970."""
    assert iso
    return datetime.fromisoformat(iso).timestamp()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A house with a lease of 3 s, and an API under a strict limit."""
    limits = json.dumps([LIMIT])
    with Rig(tmp_path, lease_seconds=3, batch_size=BATCH, rate_limits=limits, api={"limits": [LIMIT]}) as made:
        yield made


@pytest.mark.parametrize(
    ("ahead", "behind"),
    [(AHEAD, BEHIND), pytest.param(0, 0, marks=pytest.mark.chaos_long)],
    ids=["wrong clocks", "right clocks"],
)
def test_workers_and_services_with_wrong_clocks_share_one_limit_and_report_truthfully(
    rig: Rig, ahead: float, behind: float
) -> None:
    """Hardly a 429, and the limit well used, while answers are lost; times of reports are those of the server."""
    start_workers(rig, ("threads", ahead), ("prefork", behind), ("threads", 0.0))
    for fault in ("cut_after", "cut_before", "error_after"):
        rig.sim.fault(fault, probability=0.02)
    files = rig.sim.add_files(3600)
    parts = [files[at : at + 150] for at in range(0, len(files), 150)]
    before = time.time()
    asked: dict[str, list[str]] = {}
    for at, seconds in enumerate((ahead, behind)):
        mine = parts[at::2]
        plans: list[Plan] = [(f"clock{at}-{n}", ids, 0, n % 2 == 0) for n, ids in enumerate(mine)]
        asked |= run_service(rig, f"service{at}", seconds, plans)
    await_final(rig, asked, 120)
    ended = check_honest(rig, asked)
    for request_id in asked:
        report = rig.client.status(request_id)
        times = [before, seconds_of(report["enqueued_at"]), seconds_of(report["finished_at"]), time.time()]
        assert times[0] - 1 <= times[1] <= times[2] <= times[3] + 1, report
        for each in rig.client.outcomes(request_id):
            assert times[1] - 1 <= seconds_of(each.at) <= times[2] + 1, each
    calls = rig.sim.calls("bulk_delete")
    refused = sum(call.status == 429 for call in calls)
    say(f"\n{len(calls)} calls, {refused} of them answered 429, in {calls[-1].at - calls[0].at:.1f} s; {dict(ended)}")
    # A busy machine delays some calls into the next window; of workers that share no limit, most would be refused.
    assert refused <= len(calls) / 10


def await_call(rig: Rig, count: int = 1) -> None:
    """Wait until `count` calls are in flight."""
    rig.sim.wait_for(lambda stats: stats["in_flight"] == count, timeout=60)


@pytest.mark.parametrize(("first", "second"), [(AHEAD, BEHIND), (BEHIND, AHEAD)], ids=["ahead dies", "behind dies"])
def test_leases_are_neither_stolen_nor_kept(rig: Rig, first: float, second: float) -> None:
    """A call longer than its lease is made once; what a dead worker held is claimed again in the lease's time."""
    files = rig.sim.add_files(2 * BATCH)
    rig.sim.fault("hang", times=1, effect=False)
    asked = {rig.client.enqueue(files[:BATCH]): files[:BATCH]}
    (victim,) = start_workers(rig, ("threads", first), concurrency=1)
    await_call(rig)
    start_workers(rig, ("prefork", second), ("threads", 0.0))
    rig.sim.fault("slow", times=1, delay_ms=8000)
    asked |= {rig.client.enqueue(files[BATCH:]): files[BATCH:]}
    await_call(rig, 2)
    since = time.monotonic()
    wait_until(lambda: time.monotonic() - since > 6, 10, "two leases would have run out")
    assert rig.sim.stats()["ids_sent"] == len(files), "nobody took what was renewed"
    victim.kill()
    killed = time.time()
    wait_until(lambda: len(rig.sim.calls_with(files[0])) == 2, 30, "its items are claimed again")
    took = rig.sim.calls_with(files[0])[-1].at - killed
    await_final(rig, asked, 60)
    assert check_honest(rig, asked)["deleted"] == len(files)
    assert rig.sim.stats()["ids_sent"] == len(files) + BATCH
    say(f"\nfrom SIGKILL to the next call with its ids, at a lease of 3 s: {took:.1f} s")
    assert 1 < took <= 3 + SLACK_SECONDS


def test_holds_last_as_long_as_was_asked(rig: Rig) -> None:
    """A hold lasts its seconds and hardly more, whichever clocks the producer and the worker have."""
    start_workers(rig, ("threads", AHEAD), ("prefork", BEHIND))
    asked: dict[str, list[str]] = {}
    for name, seconds in (("ahead", AHEAD), ("behind", BEHIND)):
        plans = [
            (f"{name}-{hold}-{by_name}", rig.sim.add_files(2), hold, by_name)
            for hold in (2.0, 5.0)
            for by_name in (True, False)
        ]
        asked |= run_service(rig, name, seconds, plans)
    await_final(rig, asked, 60)
    check_honest(rig, asked)
    for request_id, ids in asked.items():
        (call,) = rig.sim.calls_with(ids[0])
        held = call.at - seconds_of(rig.client.status(request_id)["enqueued_at"])
        hold = float(request_id.split("-")[1])
        assert hold <= held + 0.01, request_id
        assert held <= hold + SLACK_SECONDS, request_id


RULES = """
[rules.drafts]
path = "/drafts/"
older_than = "1d"
every = "1m"
hold = "0s"
guards = { max_files = 100, max_share = 0, usual_factor = 0 }
"""


def test_beats_with_wrong_clocks_start_each_run_once_and_in_time(tmp_path: Path) -> None:
    """Two beats and a worker, none of which agree on the time: one run for a due time, and none before it."""
    (tmp_path / "cleanup.toml").write_text(RULES)
    with Rig(tmp_path, cleanup_file=tmp_path / "cleanup.toml") as rig:
        for age in ("2d", "25h"):
            rig.sim.add_file(folder="/drafts", created_at=age)
        young = [rig.sim.add_file(folder="/drafts", created_at=age)["fileId"] for age in ("23h", "1h")]
        started = time.time()
        command = ["-m", "celery", "-A", "worker.app", "beat", "-l", "INFO"]
        beats = [rig.proc(f"beat{seconds}", command, **off_by(rig, seconds)) for seconds in (AHEAD, BEHIND)]
        start_workers(rig, ("threads", BEHIND))
        rule = rig.keys.cleanup("rule", "drafts")
        wait_until(lambda: rig.redis.hget(rule, "last_due"), 60, "the rule is known")
        for beat, seconds in zip(beats, (AHEAD, BEHIND), strict=True):
            wait_until(lambda beat=beat: "Z " in beat.text(), 60, "it is up")  # type: ignore[misc]
            check_clock(beat, seconds, started)
        rig.redis.hset(rule, "last_due", 1)
        approvals = Approvals(rig.client._queue)
        wait_until(approvals.waiting, 60, "the first run of a rule waits for somebody's approval")
        (held,) = approvals.waiting()
        approvals.approve(held.request_id, "boss@chaos")
        wait_until(lambda: set(rig.sim.remaining()) == set(young), 60, "what is old enough is gone, and nothing else")
        # A full minute may have begun: its run is started or skipped, but only once.
        runs = rig.redis.lrange(rig.keys.cleanup("history", "drafts"), 0, -1)
        abouts = [rig.redis.hgetall(rig.keys.cleanup("run", str(run))) for run in runs]
        due = [int(about["due"]) / 1000 for about in abouts]
        begun = [int(about["started_at"]) / 1000 for about in abouts]
        assert len(set(due)) == len(due) <= 2
        assert all(at % 60 == 0 and at <= start <= at + 61 for at, start in zip(due, begun, strict=True))
        assert all(started <= start <= time.time() for start in begun)
        say(f"\nruns: {', '.join(map(str, runs))}")
