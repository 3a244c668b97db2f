"""Runs of cleanup rules under faults: workers die, pages fail, files come and go. No file is lost or counted twice."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from tests.unit.support_cleanup import DRAFTS, RELEASED, Bench, matching, request_of
from worker.cleanup.runs.slice import run_slice
from worker.imagekit.answers import ListAnswer, Page, Unanswered
from worker.queue.operations import NewRequest
from worker.states import RunOutcome

pytestmark = pytest.mark.real_server


def first_page_of_drafts(bench: Bench) -> tuple[str, set[str]]:
    """Read the first page of a run over 1000 files, 50 per page; return its id, and the ids that match the rule."""
    bench.sim.add_files(1000)
    bench.write(DRAFTS)
    bench.cleaner.page = 50
    expected = matching({"path": "/drafts/", "older_than_days": 30}, {}, bench.records(), bench.queue.now_ms())
    run_id = bench.start("drafts")
    run_slice(bench.cleaner, run_id, seconds=0)
    return run_id, expected


def test_a_run_continues_where_its_worker_died(bench: Bench) -> None:
    """Killed before or after any page; each file counts once."""
    bench.sim.add_files(2000)
    bench.write(DRAFTS)
    expected = matching({"path": "/drafts/", "older_than_days": 30}, {}, bench.records(), bench.queue.now_ms())
    run_id = bench.start("drafts")
    deaths = 0
    while "outcome" not in bench.runs.read(run_id):
        worker = bench.another_account().cleaner
        worker.page = 20
        worker.api = _Dying(bench, after=1 + deaths % 3)
        bench.forget_lease(run_id)
        try:
            run_slice(worker, run_id)
        except _Died:
            deaths += 1
    assert deaths > 5
    assert int(bench.runs.read(run_id)["files"]) == len(expected)
    bench.delete_all()
    assert set(bench.sim.deleted()) == expected


class _Died(BaseException):
    """Stands for SIGKILL; nothing catches it."""


class _Dying:
    """An API under which a worker dies at its n-th call."""

    def __init__(self, bench: Bench, after: int) -> None:
        self._api, self._left = bench.api, after

    def list_files(self, search: Mapping[str, str], skip: int, limit: int = 1000) -> ListAnswer:
        answer = self._api.list_files(search, skip, limit)
        self._left -= 1
        if self._left < 0:
            raise _Died
        return answer


def test_a_run_has_one_worker_at_a_time(bench: Bench) -> None:
    """A duplicate message changes nothing while the run is leased."""
    bench.sim.add_files(500)
    bench.write(DRAFTS)
    run_id = bench.start("drafts")
    assert bench.runs.take(run_id) is not None
    assert run_slice(bench.another_account().cleaner, run_id) is None
    assert bench.sim.calls("list") == []


def test_a_worker_that_lost_its_lease_adds_nothing(bench: Bench) -> None:
    """The page of a worker that was replaced is dropped."""
    bench.sim.add_files(500)
    bench.write(DRAFTS)
    run_id = bench.start("drafts")
    first = bench.runs.take(run_id)
    bench.forget_lease(run_id)
    second = bench.runs.take(run_id)
    assert first is not None
    assert second is not None
    assert bench.runs.add_page(first, "r", None, {}, []) == ("lost", 0)
    assert bench.runs.end(first, RunOutcome.FAILED).outcome is RunOutcome.LOST
    assert bench.runs.add_page(second, "r", None, {}, []) == ("on", 0)


@pytest.mark.parametrize("fault", ["error_before", "cut_before", "cut_middle", "garbage", "empty", "throttled"])
def test_a_failed_page_is_retried(bench: Bench, fault: str) -> None:
    """No fault of a page loses a file or counts it twice."""
    run_id, expected = first_page_of_drafts(bench)
    bench.sim.fault(fault, times=2, endpoint="list", **({"reset_ms": 5} if fault == "throttled" else {}))
    assert int(_finish_unpaused(bench, run_id)["files"]) == len(expected)


def _finish_unpaused(bench: Bench, run_id: str) -> dict[str, str]:
    """Finish a run without the pauses of the limiter."""
    for _ in range(300):
        bench.redis.delete(bench.queue.keys.limits("list"))
        bench.forget_lease(run_id)
        run_slice(bench.cleaner, run_id)
        if "outcome" in bench.runs.read(run_id):
            return bench.runs.read(run_id)
    raise AssertionError(bench.runs.read(run_id))


def test_an_outage_fails_no_run(bench: Bench) -> None:
    """During an outage a run waits with growing backoff, and then continues by itself."""
    bench.sim.add_files(300)
    bench.write(DRAFTS)
    run_id = bench.start("drafts")
    bench.sim.outage("cut")
    for _ in range(5):
        run_slice(bench.cleaner, run_id)
    assert "does not answer" in bench.runs.read(run_id)["waits_for"]
    assert bench.runs.read(run_id)["failures"] == "5"
    bench.sim.outage(None)
    assert bench.finish(run_id)["outcome"] == "released"


def test_a_refused_search_ends_the_run(bench: Bench) -> None:
    """The run fails with the API's message, and nothing is deleted."""
    bench.sim.add_files(300)
    bench.write(f"[rules.odd]\nquery = 'no such = \"field\"'\n{RELEASED}")
    run = bench.run("odd")
    assert run["outcome"] == "failed"
    assert "refuses the search" in run["why"]
    bench.delete_all()
    assert bench.sim.deleted() == []


def test_files_that_come_and_go_between_pages(bench: Bench) -> None:
    """Vanished files shift the listing; of the others, exactly those that match the rule are found."""
    ids = bench.sim.add_files(4000)
    bench.write(DRAFTS)
    bench.cleaner.page = 40
    now = bench.queue.now_ms()
    run_id = bench.start("drafts")
    vanished: set[str] = set()
    dice = random.Random(1)
    for turn in range(400):
        if "outcome" in bench.runs.read(run_id):
            break
        bench.forget_lease(run_id)
        run_slice(bench.cleaner, run_id, seconds=0)
        gone = dice.sample(ids, 120) if turn % 4 == 0 else []
        vanished.update(gone)
        bench.sim.take_away(gone)
        bench.sim.add_file(folder="/drafts/", created_at="1h")
        bench.sim.add_file(folder="/drafts/", created_at="399d")
    stayed = matching({"path": "/drafts/", "older_than_days": 30}, {}, bench.records(), now) & set(ids)
    assert len(vanished) > 500
    request = bench.runs.read(run_id)["request"]
    collected = set(bench.redis.lrange(bench.queue.keys.request(request, "waiting"), 0, -1))
    assert stayed <= collected
    bench.delete_all()
    young = [record for record in bench.records() if record.created > now - 30 * 86_400_000]
    assert len(young) > 100
    assert bench.report(request)["deleted"] + bench.report(request)["not_found"] == len(collected)


def test_a_run_that_kills_its_workers_fails(bench: Bench) -> None:
    """After ten dead workers in a row the run fails, and nothing is deleted."""
    bench.sim.add_files(200)
    bench.write(DRAFTS)
    run_id = bench.start("drafts")
    bench.cleaner.api = _Dying(bench, after=0)
    for _ in range(10):
        bench.forget_lease(run_id)
        with pytest.raises(_Died):
            run_slice(bench.cleaner, run_id)
        bench.cleaner.api = _Dying(bench, after=0)
    assert bench.finish(run_id)["outcome"] == "failed"


def test_expired_ids_are_collected_again(bench: Bench) -> None:
    """A run whose unsealed request has expired starts again at the first page."""
    run_id, expected = first_page_of_drafts(bench)
    for part in ("about", "waiting", "seen"):
        bench.redis.delete(bench.queue.keys.request(request_of(run_id), part))
    assert int(bench.finish(run_id)["files"]) == len(expected)


def test_an_endless_listing_fails_the_run(bench: Bench) -> None:
    """An API that returns the same page forever fails the run."""
    bench.sim.add_files(300)
    bench.write(DRAFTS)
    page = bench.api.list_files({"searchQuery": 'type = "file"'}, 0, 20)
    assert isinstance(page, Page)

    class Stuck:
        def list_files(self, search: Mapping[str, str], skip: int, limit: int = 1000) -> ListAnswer:
            return page

    bench.cleaner.api, bench.cleaner.page = Stuck(), 20
    run = bench.run("drafts")
    assert (run["outcome"], "same page" in run["why"]) == ("failed", True)


def test_a_key_that_may_not_list_stops_no_deletion(bench: Bench) -> None:
    """Failed list calls do not pause deletions."""
    bench.sim.add_files(100)
    bench.write(DRAFTS)
    run_id = bench.start("drafts")
    bench.cleaner.api = _Refusing()
    run_slice(bench.cleaner, run_id)
    bench.queue.enqueue(NewRequest("r1", "catalog"), bench.sim.remaining()[:10])
    bench.delete_all()
    assert len(bench.sim.deleted()) == 10


class _Refusing:
    def list_files(self, search: Mapping[str, str], skip: int, limit: int = 1000) -> ListAnswer:
        return Unanswered("HTTP 503", sent=True)
