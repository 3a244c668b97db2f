"""Guards of any source: a request at the limit is queued, and one beyond it is held for approval."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from redis import Redis

from config.guards import Guards
from config.settings import ConfigError, load_settings
from simulator import Simulator
from tests.unit.support_cleanup import KEY, Bench
from worker.cleanup.runs.counting import LibraryCounter
from worker.errors import InvalidRequest
from worker.queue.approvals import Approvals
from worker.queue.operations import NewRequest, Queue
from worker.queue.validation import checked_request


def guarded_queue(redis: Redis, guards: str) -> Queue:
    """A queue whose sources are guarded."""
    return Queue(redis, load_settings(guards=guards))


def ids(number: int, start: int = 0) -> list[str]:
    """Some file ids."""
    return [f"f{count:06d}" for count in range(start, start + number)]


def test_a_source_beyond_max_files_is_held(redis_client: Redis, caplog: pytest.LogCaptureFixture) -> None:
    """A request of `max_files` is queued; one more file is held, with a warning that says why."""
    queue = guarded_queue(redis_client, '{"catalog": {"max_files": 3}}')
    assert queue.enqueue(NewRequest("r1", "catalog"), ids(3)).held == ""
    with caplog.at_level(logging.WARNING):
        assert queue.enqueue(NewRequest("r2", "catalog"), ids(4)).held == "4 files are more than max_files = 3"
    assert "request r2 waits for approval" in caplog.text
    assert queue.enqueue(NewRequest("r3", "other"), ids(9)).held == ""
    assert [held.request_id for held in Approvals(queue).waiting()] == ["r2"]
    claim = queue.claim("t1")
    assert claim is not None
    assert {item.request_id for item in claim.items} == {"r1", "r3"}


def test_a_request_beyond_the_usual_size_is_held(redis_client: Redis) -> None:
    """The usual size is the median of requests that went through; duplicate ids do not count."""
    queue = guarded_queue(redis_client, '{"*": {"usual_factor": 10}}')
    for number in range(5):
        assert queue.enqueue(NewRequest(f"r{number}", "catalog"), ids(2)).held == ""
    assert queue.enqueue(NewRequest("bound", "catalog"), ids(20) * 2).held == ""
    assert "10 times the usual 2" in queue.enqueue(NewRequest("beyond", "catalog"), ids(21)).held
    assert queue.enqueue(NewRequest("beyond", "catalog"), ids(21)).is_new is False


@pytest.mark.parametrize(("files", "held"), [(5, False), (6, True)])
def test_a_share_of_the_library(redis_client: Redis, files: int, held: bool) -> None:
    """A quarter of twenty files is queued, one more is held; and so is any request before the first count."""
    queue = guarded_queue(redis_client, '{"catalog": {"max_share": 0.25}}')
    assert "not been counted" in queue.enqueue(NewRequest("r1", "catalog"), ids(1)).held
    queue.redis.hset(queue.keys("library"), "files", "20")
    assert bool(queue.enqueue(NewRequest("r2", "catalog"), ids(files)).held) is held


@pytest.mark.parametrize("files", [0, 1, 7, 999, 1000, 1001, 2500])
def test_the_library_is_counted_exactly(redis_client: Redis, tmp_path: Path, files: int) -> None:
    """Fewer than 20 calls count a library of any size; folders and versions do not count."""
    with Simulator(files, private_key=KEY) as simulator:
        bench = Bench(redis_client, simulator, tmp_path)
        library = LibraryCounter(bench.cleaner, needed=True)
        assert library.is_old()
        assert library.count() == files
        assert not library.is_old()
        assert len(simulator.calls("list")) < 20


def test_a_streamed_request_is_guarded_as_a_whole(redis_client: Redis) -> None:
    """Its guard applies when its last chunk is there."""
    queue = guarded_queue(redis_client, '{"catalog": {"max_files": 7000}}')
    assert queue.enqueue(NewRequest("r1", "catalog"), iter(ids(7000))).held == ""
    assert queue.enqueue(NewRequest("r2", "catalog"), iter(ids(7001))).held


def test_an_approved_request_of_a_source_is_queued(redis_client: Redis) -> None:
    """Approval works for any source, not only for rules."""
    queue = guarded_queue(redis_client, '{"catalog": {"max_files": 1}}')
    queue.enqueue(NewRequest("r1", "catalog"), ids(2))
    assert queue.claim("t1") is None
    assert Approvals(queue).approve("r1", "boss@host") == "approved"
    claim = queue.claim("t2")
    assert claim is not None
    assert len(claim.items) == 2
    assert Approvals(queue).approve("nobody") == "unknown"


def test_the_names_of_rules_are_reserved() -> None:
    """A producer cannot use the source or the request ids of cleanup rules."""
    with pytest.raises(InvalidRequest, match="source"):
        checked_request("r1", "cleanup:drafts", None, 0)
    with pytest.raises(InvalidRequest, match="reserved for cleanup rules"):
        checked_request("cleanup:drafts:20260101T000000Z", "catalog", None, 0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "must be a JSON object such as {"),
        ("[]", "must be a JSON object such as {"),
        ('{"a": {}}', "a must set max_files, max_share or usual_factor"),
        ('{"a": 3}', "a must be a table of keys and values"),
        ('{"a": {"max_fils": 3}}', "unknown name max_fils in a; did you mean max_files?"),
        ('{"a b": {"max_files": 3}}', "a b is not a source name"),
        ('{"a": {"max_files": -1}}', "a.max_files must be at least 0"),
        ('{"a": {"max_files": 1.5}}', "a.max_files must be a whole number"),
        ('{"a": {"max_files": 1000000001}}', "a.max_files must be at most 1000000000"),
        ('{"a": {"max_share": NaN}}', "a.max_share must be a number"),
        ('{"a": {"usual_factor": 0.5}}', "a.usual_factor must be 0 (no limit) or at least 1"),
        (
            '{"a": {"usual_factor": true, "max_share": 2}}',
            "a.max_share must be at most 1; a.usual_factor must be",
        ),
    ],
)
def test_invalid_guards_are_refused(value: str, text: str) -> None:
    """An invalid guard is an error at the start, not a guard without limits."""
    with pytest.raises(ConfigError, match=f"KITSWEEP_GUARDS=.*: {re.escape(text)}"):
        load_settings(guards=value)


def test_written_guards_can_be_read_again() -> None:
    """The text of the guards is a valid value of the setting."""
    guards = Guards.read('{"catalog": {"max_files": 5}, "free": {"max_files": 0}, "*": {"usual_factor": 2.5}}')
    assert Guards.read(str(guards)) == guards
    assert guards.bounds_of("catalog") == {"max_files": 5, "usual_factor": 0, "max_share": 0}
    assert guards.bounds_of("other") == {"max_files": 0, "usual_factor": 2.5, "max_share": 0}
    assert Guards({}).bounds_of("other") is None
