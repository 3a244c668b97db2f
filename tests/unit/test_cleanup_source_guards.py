"""Guards of any source of requests: at the bound it goes, one beyond it waits for approval."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from redis import Redis

from config.guards import Guards
from config.settings import ConfigError, load_settings
from simulator import Simulator
from tests.unit.support_cleanup import KEY, Bench
from worker.cleanup.runs.counting import Library
from worker.errors import InvalidRequest
from worker.queue.approvals import Approvals
from worker.queue.operations import Queue
from worker.queue.validation import checked_request


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


@pytest.mark.parametrize(("files", "held"), [(5, False), (6, True)])
def test_a_share_of_the_library(redis_client: Redis, files: int, held: bool) -> None:
    """A quarter of twenty files goes; one more is held; and so is everything before the library was counted."""
    queue = guarded_queue(redis_client, '{"catalog": {"max_share": 0.25}}')
    assert "not been counted" in queue.enqueue("r1", ids(1), source="catalog").held
    queue.redis.hset(queue.keys("library"), "files", "20")
    assert bool(queue.enqueue("r2", ids(files), source="catalog").held) is held


@pytest.mark.parametrize("files", [0, 1, 7, 999, 1000, 1001, 2500])
def test_the_library_is_counted_exactly(redis_client: Redis, tmp_path: Path, files: int) -> None:
    """In some tens of calls, whatever its size; folders and versions do not count."""
    with Simulator(files, private_key=KEY) as simulator:
        bench = Bench(redis_client, simulator, tmp_path)
        library = Library(bench.cleaner, needed=True)
        assert library.is_old()
        assert library.count() == files
        assert not library.is_old()
        assert len(simulator.calls("list")) < 20


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
    assert guards.bounds_of("catalog") == "5 0 0"
    assert guards.bounds_of("other") == "0 2.5 0"
    assert Guards({}).bounds_of("other") == ""
