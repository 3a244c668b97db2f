"""Guards of rules: a run at the limit is released, and one beyond it is held for approval."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from simulator import Simulator
from tests.unit.support_cleanup import KEY, Bench

RULE = '[rules.r]\ntags = ["t"]\nevery = "1h"\nfirst_run = "release"\n'


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    with Simulator(private_key=KEY) as simulator:
        yield simulator


@pytest.fixture
def bench(redis_client: Redis, shared: Simulator, tmp_path: Path) -> Bench:
    shared.take_away(shared.remaining())
    return Bench(redis_client, shared, tmp_path)


def add(bench: Bench, matching: int, others: int = 0, folder: str = "/a/") -> None:
    """Add files that match the rule, and others."""
    for _ in range(matching):
        bench.sim.add_file(folder=folder, tags=["t"], created_at="10d")
    for _ in range(others):
        bench.sim.add_file(folder=folder, created_at="10d")


def guarded(bench: Bench, **guards: float) -> None:
    """Write the rule with only these guards."""
    bounds = {"max_files": 0, "max_share": 0, "usual_factor": 0, **guards}
    bench.write(RULE + "".join(f"guards.{name} = {bound}\n" for name, bound in bounds.items()))


@pytest.mark.parametrize(("files", "outcome"), [(5, "released"), (6, "held")])
def test_max_files(bench: Bench, files: int, outcome: str) -> None:
    """A run of `max_files` is released; with one more file the whole run is held."""
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
    """A quarter of the library, or of the rule's folder, is released; with one more file the run is held."""
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
    """Three times the median of the last ten runs is released; with one more file the run is held."""
    guarded(bench, usual_factor=3)
    bench.redis.rpush(bench.queue.keys.sizes("cleanup:r"), 900, 4, 1, 4)
    add(bench, files)
    run = bench.run("r")
    assert run["outcome"] == outcome
    if outcome == "held":
        assert run["why"] == "13 files are more than 3 times the usual 4 (median of the last 4)"


def test_the_usual_size_is_of_the_last_ten_runs(bench: Bench) -> None:
    """Older runs do not count, and a held run counts only once it is approved."""
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


def test_all_reasons_are_reported(bench: Bench) -> None:
    """The reason names every limit that the run exceeds."""
    guarded(bench, max_files=2, max_share=0.5, usual_factor=2)
    bench.redis.rpush(bench.queue.keys.sizes("cleanup:r"), 1)
    add(bench, 3)
    why = bench.run("r")["why"]
    assert [word in why for word in ("max_files", "max_share", "usual")] == [True] * 3


def test_the_first_run_is_held_unless_the_rule_says_otherwise(bench: Bench) -> None:
    """Once one is approved, later runs are released; after a rejection or changed conditions the next is held again."""
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


def test_the_end_of_a_run_is_logged_with_its_fields(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A held run is a warning that names the next command; rule, run, outcome and count are fields."""
    guarded(bench, max_files=1)
    add(bench, 2)
    run = bench.run("r")
    record = caplog.records[-1]
    assert record.levelname == "WARNING"
    assert f"kitsweep cleanup approve|reject {run['request']}" in record.getMessage()
    fields = {name: record.__dict__[name] for name in ("rule", "run", "outcome", "files")}
    assert fields == {"rule": "r", "run": run["request"].removeprefix("cleanup:"), "outcome": "held", "files": 2}


def test_a_held_run_deletes_nothing_until_it_is_approved(bench: Bench) -> None:
    """The request waits with its full list; once approved, all of it is deleted, and the trail says by whom."""
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
    told = bench.runs.read(held.request_id.removeprefix("cleanup:"))
    assert (told["decision"], told["decided_by"], told["result"]) == ("approved", "boss@host", "SUCCESS")
    assert [entry["by"] for entry in bench.entries("approved")] == ["boss@host"]


def test_a_rejected_run_deletes_nothing(bench: Bench) -> None:
    """A rejection cancels the whole request; a second decision changes nothing."""
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


def test_an_approval_keeps_the_rest_of_the_undo_window(bench: Bench) -> None:
    """The undo window starts at the end of the run, whether or not the request is approved by then."""
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
    """After `kitsweep cancel` a held request no longer waits for approval."""
    guarded(bench, max_files=1)
    add(bench, 2)
    run = bench.run("r")
    bench.queue.cancel(run["request"], by="me@host")
    assert bench.approvals.waiting() == []
    assert bench.approvals.approve(run["request"]) == "not_held"


def test_the_switch_is_recorded(bench: Bench) -> None:
    """The trail says who switched cleanup off, and on again."""
    bench.runs.switch(on=False, by="boss@host")
    bench.runs.switch(on=True, by="boss@host")
    assert [(entry["event"], entry["by"]) for entry in bench.audit.entries()] == [
        ("cleanup_off", "boss@host"),
        ("cleanup_on", "boss@host"),
    ]
