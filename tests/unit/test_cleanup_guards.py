"""Guards: at its bound a request goes, one beyond it waits for approval; of rules and of any other source."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from config.guards import Guards
from config.settings import ConfigError, load_settings
from simulator import Simulator
from tests.unit.support_cleanup import KEY, Bench
from worker.approvals import Approvals
from worker.audit import Audit
from worker.errors import InvalidRequest
from worker.queue import Queue
from worker.requests import checked_request

RULE = '[rules.r]\ntags = ["t"]\nevery = "1h"\nfirst_run = "release"\n'


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    with Simulator(private_key=KEY) as simulator:
        yield simulator


@pytest.fixture
def bench(redis_client: Redis, shared: Simulator, tmp_path: Path) -> Bench:
    shared.take_away(shared.remaining())
    return Bench(redis_client, shared, tmp_path)


def add(bench: Bench, meant: int, others: int = 0, folder: str = "/a/") -> None:
    """Add files that the rule means, and others."""
    for _ in range(meant):
        bench.sim.add_file(folder=folder, tags=["t"], created_at="10d")
    for _ in range(others):
        bench.sim.add_file(folder=folder, created_at="10d")


def guarded(bench: Bench, **guards: float) -> None:
    """Write the rule with these guards alone."""
    bounds = {"max_files": 0, "max_share": 0, "usual_factor": 0, **guards}
    bench.write(RULE + "".join(f"guards.{name} = {bound}\n" for name, bound in bounds.items()))


# Rules


@pytest.mark.parametrize(("files", "outcome"), [(5, "released"), (6, "held")])
def test_max_files(bench: Bench, files: int, outcome: str) -> None:
    """So many files go; one more, and the whole run is held."""
    guarded(bench, max_files=5)
    add(bench, files)
    run = bench.run("r")
    assert (run["outcome"], int(run["files"])) == (outcome, files)
    bench.delete_all()
    assert len(bench.sim.remaining()) == (0 if outcome == "released" else files)
    assert run["why"] == ("" if outcome == "released" else "6 files are more than max_files = 5")


@pytest.mark.parametrize(("files", "others", "outcome"), [(5, 15, "released"), (5, 14, "held"), (1, 2, "held")])
@pytest.mark.parametrize("path", ["", 'path = "/a/"\n'])
def test_max_share(bench: Bench, files: int, others: int, outcome: str, path: str) -> None:
    """A quarter of the library, or of the rule's folder, goes; a file more than that, and the run is held."""
    guarded(bench, max_share=0.25)
    bench.write(bench.file.read_text() + path)
    add(bench, files, others)
    if path:
        bench.sim.add_file(folder="/elsewhere/")
    elif outcome == "released":
        bench.sim.take_away(bench.sim.remaining()[-1:])
        bench.sim.add_file(folder="/elsewhere/")
    run = bench.run("r")
    assert run["outcome"] == outcome
    assert ("max_share" in run["why"]) is (outcome == "held")


@pytest.mark.parametrize(("files", "outcome"), [(12, "released"), (13, "held")])
def test_usual_factor(bench: Bench, files: int, outcome: str) -> None:
    """Three times the median of the last ten runs goes; one more is held."""
    guarded(bench, usual_factor=3)
    bench.redis.rpush(bench.queue.keys.sizes("cleanup:r"), 900, 4, 1, 4)
    add(bench, files)
    run = bench.run("r")
    assert run["outcome"] == outcome
    if outcome == "held":
        assert run["why"] == "13 files are more than 3 times the usual 4 (median of the last 4)"


def test_the_usual_is_that_of_the_last_ten_runs(bench: Bench) -> None:
    """Older runs do not count, and what a guard holds counts only once it is approved."""
    guarded(bench, usual_factor=2)
    for _ in range(12):
        add(bench, 3)
        bench.run("r")
        bench.delete_all()
    assert bench.runs.rule_state("r").sizes == [3] * 10
    add(bench, 7)
    run = bench.run("r")
    assert run["outcome"] == "held"
    assert bench.runs.rule_state("r").sizes == [3] * 10
    bench.approvals.approve(run["request"])
    assert bench.runs.rule_state("r").sizes == [7] + [3] * 9


def test_several_reasons_are_all_told(bench: Bench) -> None:
    """Every guard that a run is beyond is named."""
    guarded(bench, max_files=2, max_share=0.5, usual_factor=2)
    bench.redis.rpush(bench.queue.keys.sizes("cleanup:r"), 1)
    add(bench, 3)
    why = bench.run("r")["why"]
    assert [word in why for word in ("max_files", "max_share", "usual")] == [True] * 3


def test_the_first_run_is_held_unless_the_rule_says_otherwise(bench: Bench) -> None:
    """Approved once, the next go by themselves; other words make it a first run again; a rejected one stays so."""
    text = RULE.replace('first_run = "release"\n', "") + "guards = { max_share = 0 }\n"
    bench.write(text)
    add(bench, 2)
    run = bench.run("r")
    assert (run["outcome"], run["why"]) == ("held", "the first run of this rule")
    bench.approvals.reject(run["request"])
    run = bench.run("r")
    assert run["outcome"] == "held"
    bench.approvals.approve(run["request"])
    bench.delete_all()
    add(bench, 2)
    assert bench.run("r")["outcome"] == "released"
    bench.delete_all()
    add(bench, 2)
    bench.write(text.replace('["t"]', '["t", "u"]'))
    assert bench.run("r")["why"] == "the first run since the words of the rule were changed"


def test_a_held_run_deletes_nothing_until_it_is_approved(bench: Bench) -> None:
    """The request waits with its full list; approved, all of it goes, and it is recorded by whom."""
    guarded(bench, max_files=1)
    add(bench, 3)
    run = bench.run("r")
    (held,) = bench.approvals.waiting()
    assert (held.request_id, held.total, held.source) == (run["request"], 3, "cleanup:r")
    assert sorted(bench.approvals.file_ids(held.request_id)) == sorted(bench.sim.remaining())
    bench.delete_all()
    assert len(bench.sim.remaining()) == 3
    assert bench.approvals.approve(held.request_id, "boss@host") == "approved"
    assert bench.approvals.approve(held.request_id, "boss@host") == "approved"
    assert bench.approvals.approve(held.request_id, "other@host") == "not_held"
    bench.delete_all()
    assert bench.sim.remaining() == []
    told = bench.runs.read(run_of(held.request_id))
    assert (told["decision"], told["decided_by"], told["result"]) == ("approved", "boss@host", "SUCCESS")
    assert [entry["by"] for entry in bench.entries("approved")] == ["boss@host"]


def run_of(request_id: str) -> str:
    """The run of a cleanup request."""
    return request_id.removeprefix("cleanup:")


def test_a_rejected_run_deletes_nothing(bench: Bench) -> None:
    """Rejected, the request is cancelled whole; a second decision changes nothing."""
    guarded(bench, max_files=1)
    add(bench, 3)
    run = bench.run("r")
    assert bench.approvals.reject(run["request"], "boss@host") == "rejected"
    assert bench.approvals.reject(run["request"], "boss@host") == "rejected"
    assert bench.approvals.approve(run["request"], "other@host") == "rejected"
    bench.delete_all()
    assert len(bench.sim.remaining()) == 3
    report = bench.report(run["request"])
    assert (report["state"], report["cancelled"]) == ("REVOKED", 3)
    assert bench.approvals.waiting() == []


def test_an_approval_leaves_the_rest_of_the_undo_window(bench: Bench) -> None:
    """The undo window runs from the run's end, also while somebody thinks about it."""
    guarded(bench, max_files=1)
    bench.write(bench.file.read_text() + 'hold = "1h"\n')
    add(bench, 2)
    run = bench.run("r")
    bench.approvals.approve(run["request"])
    assert bench.redis.zscore(bench.queue.keys("holds"), run["request"]) is not None
    bench.delete_all()
    assert len(bench.sim.remaining()) == 2
    bench.redis.zadd(bench.queue.keys("holds"), {run["request"]: 1})
    bench.delete_all()
    assert bench.sim.remaining() == []


def test_a_held_request_can_be_cancelled(bench: Bench) -> None:
    """`kitsweep cancel` works on a held request, and then there is nothing to decide."""
    guarded(bench, max_files=1)
    add(bench, 2)
    run = bench.run("r")
    bench.queue.cancel(run["request"], by="me@host")
    assert bench.approvals.waiting() == []
    assert bench.approvals.approve(run["request"]) == "not_held"


# Any source


def guarded_queue(redis: Redis, guards: str) -> Queue:
    """A queue whose sources are guarded."""
    return Queue(redis, load_settings(guards=guards))


def ids(number: int, start: int = 0) -> list[str]:
    """Some file ids."""
    return [f"f{count:06d}" for count in range(start, start + number)]


def test_a_source_beyond_max_files_is_held(redis_client: Redis, caplog: pytest.LogCaptureFixture) -> None:
    """At the bound it goes; one more is held, with a warning that says why."""
    queue = guarded_queue(redis_client, '{"catalog": {"max_files": 3}}')
    assert queue.enqueue("r1", ids(3), source="catalog").held == ""
    with caplog.at_level(logging.WARNING):
        assert queue.enqueue("r2", ids(4), source="catalog").held == "4 files are more than max_files = 3"
    assert "r2 of source catalog is held for approval" in caplog.text
    assert queue.enqueue("r3", ids(9), source="other").held == ""
    assert [held.request_id for held in Approvals(queue).waiting()] == ["r2"]
    claim = queue.claim("t1")
    assert claim is not None
    assert {item.request_id for item in claim.items} == {"r1", "r3"}


def test_a_source_that_suddenly_sends_ten_times_its_usual_is_held(redis_client: Redis) -> None:
    """The median of what went through counts; duplicates and the order of chunks do not."""
    queue = guarded_queue(redis_client, '{"*": {"usual_factor": 10}}')
    for number in range(5):
        assert queue.enqueue(f"r{number}", ids(2), source="catalog").held == ""
    assert queue.enqueue("bound", ids(20) * 2, source="catalog").held == ""
    assert "10 times the usual 2" in queue.enqueue("beyond", ids(21), source="catalog").held
    assert queue.enqueue("beyond", ids(21), source="catalog").is_new is False


def test_a_stream_is_guarded_when_it_is_sealed(redis_client: Redis) -> None:
    """A request in many chunks counts as a whole."""
    queue = guarded_queue(redis_client, '{"catalog": {"max_files": 7000}}')
    assert queue.enqueue("r1", iter(ids(7000)), source="catalog").held == ""
    assert queue.enqueue("r2", iter(ids(7001)), source="catalog").held


def test_approved_requests_of_a_source_go(redis_client: Redis) -> None:
    """Any source's held request is decided in the same way."""
    queue = guarded_queue(redis_client, '{"catalog": {"max_files": 1}}')
    queue.enqueue("r1", ids(2), source="catalog")
    assert queue.claim("t1") is None
    assert Approvals(queue).approve("r1", "boss@host") == "approved"
    claim = queue.claim("t2")
    assert claim is not None
    assert len(claim.items) == 2
    assert Approvals(queue).approve("nobody") == "unknown"


def test_nobody_poses_as_a_rule() -> None:
    """Neither a source nor a request id of a producer can be one of a cleanup rule."""
    with pytest.raises(InvalidRequest, match="source"):
        checked_request("r1", "cleanup:drafts", None, 0)
    with pytest.raises(InvalidRequest, match="those of cleanup rules"):
        checked_request("cleanup:drafts:20260101T000000Z", "catalog", None, 0)


@pytest.mark.parametrize(
    "value",
    [
        "x",
        "[]",
        '{"a": {}}',
        '{"a": 3}',
        '{"a": {"max_fils": 3}}',
        '{"a b": {"max_files": 3}}',
        '{"a": {"max_files": -1}}',
        '{"a": {"max_files": 1.5}}',
        '{"a": {"usual_factor": 0.5}}',
        '{"a": {"usual_factor": true}}',
    ],
)
def test_guards_that_cannot_be_read_are_refused(value: str) -> None:
    """A guard with a mistake is an error at the start, and no guard that lets all pass."""
    with pytest.raises(ConfigError, match="KITSWEEP_GUARDS"):
        load_settings(guards=value)


def test_guards_are_written_as_they_are_read() -> None:
    """The form in which they are shown can be read again."""
    guards = Guards.read('{"catalog": {"max_files": 5}, "*": {"usual_factor": 2.5}}')
    assert Guards.read(str(guards)) == guards
    assert guards.bounds_of("catalog") == "5 0"
    assert guards.bounds_of("other") == "0 2.5"
    assert Guards().bounds_of("other") == ""


def test_the_switch_is_recorded(bench: Bench) -> None:
    """Who switched cleanup off, and on again."""
    bench.runs.switch(on=False, by="boss@host")
    bench.runs.switch(on=True, by="boss@host")
    assert [(entry["event"], entry["by"]) for entry in audit(bench)] == [
        ("cleanup_off", "boss@host"),
        ("cleanup_on", "boss@host"),
    ]


def audit(bench: Bench) -> list[Any]:
    """The whole trail."""
    return list(Audit(bench.redis, bench.settings).entries())
