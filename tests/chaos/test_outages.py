"""The API down, for seconds or for ever, in every way there is: no id fails, calls stay few, work resumes by itself."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.chaos.honesty import await_final, check_honest
from tests.chaos.processes import say, wait_until
from tests.chaos.rig import Rig
from tests.chaos.test_api import FIRST_FEW, POOL, ask, calls_since

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

MODES = ["unavailable", "cut", "hang", "refuse"]
MAX_ATTEMPTS = 3
RESUME_SECONDS = 15
PROBE_SECONDS = 10
"""How far apart the calls of a long outage are at least."""
DAY_SECONDS = 24 * 3600

PASS_TIME = """
local prefix, jump = KEYS[1], tonumber(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('EXISTS', prefix .. 'in_flight') == 1 then return 0 end
if jump == 0 then
  local due = redis.call('ZRANGE', prefix .. 'leases', 0, 0, 'WITHSCORES')[2] or 0
  if redis.call('EXISTS', prefix .. 'sources') == 1 then due = now end
  jump = math.max(tonumber(due), tonumber(redis.call('HGET', prefix .. 'account', 'trouble_until') or 0)) - now
end
if jump <= 0 then return 0 end
local function set_back(key, fields)
  for _, field in ipairs(fields) do
    local at = tonumber(redis.call('HGET', key, field) or 0)
    if at > jump then redis.call('HSET', key, field, at - jump) end
  end
end
set_back(prefix .. 'account', {'trouble_until', 'trouble_since', 'last_success'})
for _, key in ipairs(redis.call('KEYS', prefix .. 'lease:*')) do set_back(key, {'failed_at'}) end
for _, name in ipairs({'leases', 'retries', 'holds', 'doubtful', 'calls:delete'}) do
  for _, member in ipairs(redis.call('ZRANGE', prefix .. name, 0, -1)) do
    redis.call('ZINCRBY', prefix .. name, -jump, member)
  end
end
return jump
"""
"""Lets time pass, by setting every time in Redis back: so many ms, or 0 for as long as nothing would happen. No time
passes while a call is in flight. Returns how many ms have passed."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One house for this module: a worker with a lease of 2 s and calls that time out after 3 s."""
    folder = tmp_path_factory.mktemp("outages")
    with Rig(folder, lease_seconds=2, batch_size=20, http_timeout_seconds=3, max_attempts=MAX_ATTEMPTS) as rig:
        rig.await_workers(rig.worker("w1", "threads", POOL))
        yield rig


@pytest.fixture
def rig(stage: Rig) -> Iterator[Rig]:
    """The house with a healthy API, an unused account, and an empty queue."""
    stage.redis.delete(*(stage.keys(name) for name in ("account", "gone:0", "gone:1")), stage.keys.calls("delete"))
    yield stage
    stage.sim.outage(None)
    stage.sim.set_latency(0)
    stage.sim.take_away(stage.sim.remaining())


def pass_time(rig: Rig, seconds: float = 0) -> float:
    """Let time pass, or what there is to wait for; returns the seconds that have passed."""
    return int(rig.redis.eval(PASS_TIME, 1, rig.keys.prefix, int(seconds * 1000))) / 1000


def pass_days(rig: Rig, days: int) -> None:
    """Let days pass at once, as if no worker had run."""
    wait_until(lambda: pass_time(rig, days * DAY_SECONDS), 20, "no call is in the air")


def live_through(rig: Rig, seconds: float) -> float:
    """Let every probe and every attempt of so much time happen, without the waiting between them; returns how long."""
    passed = 0.0

    def is_over() -> bool:
        nonlocal passed
        passed += pass_time(rig)
        return passed >= seconds

    wait_until(is_over, 90, f"{seconds:g} s of outage are lived through")
    return passed


def delete_some(rig: Rig) -> None:
    """Let the account have deleted something, so that it remembers an id that is gone."""
    ids = rig.sim.add_files(3)
    await_final(rig, [rig.client.enqueue(ids)], 60)


def run_outage(rig: Rig, mode: str, seconds: float) -> None:
    """Let the API be down for a while in the middle of work, and check calls, words, resumption and outcomes."""
    rig.sim.set_latency(100)
    asked = ask(rig, 1000)
    before = len(rig.sim.calls("bulk_delete"))
    rig.sim.wait_for(lambda stats: stats["calls"] > before + 4, timeout=30)
    rig.sim.outage(mode)
    down_at = time.time()
    wait_until(lambda: time.time() - down_at >= seconds, seconds + 5, "the outage is over")
    pause = rig.client.stats()["pause"]
    rig.sim.outage(None)
    up_at = time.time()
    during = [call for call in calls_since(rig, down_at) if call.at < up_at]
    assert pause is not None, "stats say what is waited for"
    assert (pause["by"], pause["since"] is not None) == ("trouble", True)
    assert len(during) <= FIRST_FEW + min(seconds / 2, 3 + seconds / PROBE_SECONDS)
    wait_until(lambda: any(call.deleted for call in calls_since(rig, up_at)), 30, "work goes on")
    resumed = time.time() - up_at
    await_final(rig, asked, 90)
    done = time.time() - up_at
    check_honest(rig, asked)
    say(
        f"\n{mode} for {seconds:g} s: {len(during)} calls; resumed after {resumed:.1f} s, all was gone after "
        f"{done:.1f} s; {pause['reason']}"
    )
    assert resumed <= RESUME_SECONDS
    assert done <= RESUME_SECONDS + 15, "nothing waits for longer than the rest of the work takes"


@pytest.mark.parametrize("mode", MODES)
def test_a_short_outage_of_any_kind_draws_few_calls_and_fails_nothing(rig: Rig, mode: str) -> None:
    """About one call in two seconds at most, `stats` that say so, and work again within 15 s."""
    run_outage(rig, mode, 4)


@pytest.mark.chaos_long
@pytest.mark.parametrize("mode", MODES)
def test_a_long_outage_of_any_kind(rig: Rig, mode: str) -> None:
    """The same for half a minute, for every way of being down."""
    run_outage(rig, mode, 30)


@pytest.mark.parametrize("mode", MODES)
def test_a_flapping_api_fails_nothing(rig: Rig, mode: str) -> None:
    """Up and down: all files are gone in the end, each once, and each spell draws few calls."""
    rig.sim.set_latency(30)
    asked = ask(rig, 600)
    lost = 0
    for _ in range(3):
        for state in (mode, None):
            rig.sim.outage(state)
            since, moment = time.monotonic(), time.time()
            wait_until(lambda since=since: time.monotonic() - since >= 0.6, 5, "it stays so")  # type: ignore[misc]
            if state:
                lost += len([call for call in calls_since(rig, moment) if not call.deleted])
    await_final(rig, asked, 60)
    check_honest(rig, asked)
    say(f"\nflapping, {mode}: {lost} calls in three spells of 0.6 s")
    assert lost <= 3 * FIRST_FEW


def check_words(rig: Rig, days: int) -> None:
    """`stats` and `kitsweep stats` say what is waited for, and since when."""
    pause = rig.client.stats()["pause"]
    assert pause is not None
    assert pause["by"] == "trouble"
    assert "503" in pause["reason"]
    assert pause["since"] is not None
    age = datetime.fromisoformat(rig.client.stats()["now"]) - datetime.fromisoformat(pause["since"])
    assert age.days == days
    words, data = (
        subprocess.run(
            [rig.python, "-m", "cli", "stats", *more],
            env=rig.env(TZ="UTC"),
            cwd=rig.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for more in ((), ("--json",))
    )
    assert "503" in words
    assert f"{datetime.fromisoformat(pause['since']):%Y-%m-%d %H:%M:%S}" in words
    assert json.loads(data)["pause"]["since"] == pause["since"]


def check_nothing_spent(rig: Rig, asked: dict[str, list[str]]) -> None:
    """No id has ended, none has been put back as one that failed by itself, and nothing of what waits can expire."""
    wait_until(lambda: not rig.redis.exists(rig.keys("in_flight")), 20, "no call is in the air")
    kept = list(rig.redis.scan_iter(rig.keys.lease("*")))
    assert kept
    for request_id, ids in asked.items():
        report = rig.client.status(request_id)
        assert (report["waiting"], report["failed"]) == (len(ids), 0), report
        own = list(rig.redis.scan_iter(rig.keys.request(request_id, "*")))
        assert rig.keys.request(request_id) in own
        assert rig.keys.request(request_id, "tried") not in own
        kept += [*own, f"celery-task-meta-{request_id}"]
    assert {key: rig.redis.ttl(key) for key in kept} == dict.fromkeys(kept, -1), "nothing that waits expires"


@pytest.mark.parametrize(
    ("files", "remembers"),
    [
        pytest.param(20, False, id="one batch of a quiet account"),
        pytest.param(60, True, id="three batches of an account that has deleted today"),
        pytest.param(60, False, id="three batches of a quiet account", marks=pytest.mark.chaos_long),
        pytest.param(20, True, id="one batch of an account that has deleted today", marks=pytest.mark.chaos_long),
    ],
)
def test_an_endless_outage_fails_nothing(rig: Rig, files: int, remembers: bool) -> None:
    """A month of it, and far more calls than attempts: nothing is spent, nothing expires, and it is over in 15 s."""
    if remembers:
        delete_some(rig)
    rig.sim.outage("unavailable")
    before = len(rig.sim.calls("bulk_delete"))
    asked = ask(rig, files)
    passed = live_through(rig, 900)
    pass_days(rig, 30)
    passed += live_through(rig, 300)
    during = rig.sim.calls("bulk_delete")[before:]
    assert 20 * MAX_ATTEMPTS < len(during) <= FIRST_FEW + 3 + passed / PROBE_SECONDS
    if not remembers:
        called = [sum(file_id in call.ids for call in during) for ids in asked.values() for file_id in ids]
        assert min(called) > 3 * MAX_ATTEMPTS
    check_words(rig, 30)
    check_nothing_spent(rig, asked)
    rig.sim.outage(None)
    up_at = time.time()
    await_final(rig, asked, 120)
    took, after = time.time() - up_at, calls_since(rig, up_at)
    assert check_honest(rig, asked) == {"deleted": files}
    attempts = {each.attempts for request_id in asked for each in rig.client.outcomes(request_id)}
    assert attempts == {1}, "no attempt but the last call's was spent"
    say(f"\n{len(during)} calls in {passed:.0f} s; {len(after)} calls after it for {files} files, in {took:.1f} s")
    assert took <= RESUME_SECONDS
    assert len(after) <= files / 20 + 2, "its end finds nearly as few batches as its beginning"


@pytest.mark.chaos_long
@pytest.mark.timeout(600)
def test_an_outage_of_three_minutes_fails_nothing(rig: Rig) -> None:
    """No time is moved here: a call in ten seconds or so, and work again within 15 s of the end."""
    run_outage(rig, "unavailable", 180)
