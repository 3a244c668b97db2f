"""Runs of cleanup rules on a real server and a simulated library: exactly the files that match the rule are deleted."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from simulator import Simulator
from tests.unit.support_cleanup import DRAFTS, RELEASED, Bench, listed_file, matching, request_of
from tests.unit.support_webhooks import SECRET
from worker.cleanup.runs.dry_run import Summary, dry_run
from worker.cleanup.runs.slice import run_slice
from worker.imagekit.answers import ListAnswer, Page
from worker.states import RunStart

pytestmark = pytest.mark.real_server


def test_exactly_the_files_that_match_a_rule_are_deleted(bench: Bench) -> None:
    """From 50,000 files with folders, tags, null tags, versions, odd names and equal times."""
    bench.sim.add_files(50_000)
    bench.sim.set_strays(_strays(bench))
    keep = {"tags": ["KEEP", "product"], "paths": ["/products/shoes", "/drafts/file-0000004.jpg"]}
    bench.write(
        f'[keep]\ntags = ["KEEP", "product"]\npaths = {keep["paths"]}\n'.replace("'", '"')
        + '[rules.old]\npath = "/"\nrecursive = true\nolder_than = "120d"\ntags = ["expired", "Summer 2026"]\n'
        + f'file_type = "image"\n{RELEASED}'
    )
    what = {"path": "/", "recursive": True, "older_than_days": 120, "tags": ["expired", "Summer 2026"]}
    run_id = bench.start("old")
    started = int(bench.runs.read(run_id)["started_at"])
    expected = matching({**what, "file_type": "image"}, keep, bench.records(), started)
    before = set(bench.sim.remaining())
    run = bench.finish(run_id)
    assert (run["outcome"], int(run["files"])) == ("released", len(expected))
    bench.delete_all()
    assert len(expected) > 4000
    assert before - set(bench.sim.remaining()) == expected
    report = bench.report(run["request"])
    assert (report["state"], report["deleted"], report["source"]) == ("SUCCESS", len(expected), "cleanup:old")


def test_a_rule_may_purge(real_redis: Redis, sim: Simulator, tmp_path: Path) -> None:
    """The listing gives the URLs; a folder that is empty afterwards is one purge, one with a file that stays is not."""
    bench = Bench(real_redis, sim, tmp_path, purge_window_seconds=0)
    sim.set_behaviour(purge_ms=0)
    bench.write(f'[rules.left]\npath = "/people/"\nrecursive = true\nkeep.tags = ["keep"]\npurge = true\n{RELEASED}')
    gone = [sim.add_file(folder=f"/people/{folder}/", tags=["old"]) for folder in (1, 1, 1, 2, 2)]
    sim.add_file(folder="/people/2/", tags=["keep"])
    assert bench.deleted_by("left") == {file["fileId"] for file in gone}
    while bench.account.purger.step():
        bench.redis.zadd(
            bench.queue.keys("purges:open"),
            dict.fromkeys(bench.redis.zrange(bench.queue.keys("purges:open"), 0, -1) or ["none"], 1),
        )
    urls = [file["url"] for file in gone]
    assert sorted(sim.purged()) == sorted([f"{urls[0].rpartition('/')[0]}/*", *(f"{url}*" for url in urls[3:])])
    assert sim.still_cached(urls) == []
    (report,) = [bench.report(request) for request in bench.redis.zrange(bench.queue.keys("purges:changed"), 0, -1)]
    assert (report["source"], report["purged"], report["purge_pending"]) == ("cleanup:left", 5, 0)


def test_the_end_of_a_rule_s_request_is_reported(real_redis: Redis, sim: Simulator, tmp_path: Path) -> None:
    """To the callback of its source, `cleanup:<rule>`."""
    callbacks = {"cleanup:drafts": "https://ops.example/drafts"}
    bench = Bench(real_redis, sim, tmp_path, webhook_secret=SECRET, callbacks=callbacks)
    bench.sim.add_files(100)
    bench.write(DRAFTS)
    run = bench.run("drafts")
    bench.delete_all()
    taken = bench.account.webhooks.take()
    assert taken is not None
    assert taken.url == "https://ops.example/drafts"
    assert (taken.report["request_id"], taken.report["source"]) == (run["request"], "cleanup:drafts")
    assert taken.report["deleted"] == int(run["files"]) > 0


def _strays(bench: Bench) -> list[str | Mapping[str, Any]]:
    """Objects that every search returns: some that the rule excludes, and some that cannot be read."""
    ids = bench.sim.remaining()[:60]
    sound = bench.sim._account.library.get(ids[7])
    assert sound is not None
    file = sound.as_json()
    return [
        *ids,
        {**file, "type": "file-version"},
        {**file, "type": "folder"},
        {"type": "folder", "folderId": "f" * 24, "name": "drafts", "folderPath": "/drafts"},
        {**file, "fileId": None},
        {**file, "tags": "expired"},
        {**file, "createdAt": "long ago"},
        {**file, "filePath": "/products/shoes/../x.jpg"},
        {},
        {"type": "file"},
    ]


def test_nothing_is_deleted_before_the_listing_is_done(bench: Bench) -> None:
    """All ids are collected before the first call that deletes."""
    bench.sim.add_files(3000)
    bench.write(DRAFTS)
    bench.cleaner.page = 50
    run_id = bench.start("drafts")
    while "outcome" not in bench.runs.read(run_id):
        bench.delete_all()
        assert bench.sim.deleted() == []
        run_slice(bench.cleaner, run_id, seconds=0.01)
    bench.delete_all()
    assert bench.sim.deleted()


def test_a_pause_stops_list_calls_too(bench: Bench) -> None:
    """While the account is paused no page is listed; afterwards the run continues."""
    bench.sim.add_files(200)
    bench.write(DRAFTS)
    run_id = bench.start("drafts")
    bench.cleaner.gate.limiter.pause("stop")
    assert run_slice(bench.cleaner, run_id)
    assert bench.sim.calls("list") == []
    bench.cleaner.gate.limiter.resume()
    assert bench.finish(run_id)["outcome"] == "released"


def test_a_path_with_a_lone_surrogate_is_stored(bench: Bench) -> None:
    """It is stored escaped."""
    bench.sim.set_strays([{**listed_file(7), "filePath": "/drafts/\ud800.jpg"}])
    bench.write(DRAFTS)
    run = bench.run("drafts")
    assert (run["outcome"], run["files"]) == ("released", "1")


def start_and_read_one_page(bench: Bench) -> str:
    bench.sim.add_files(1000)
    bench.write(DRAFTS)
    bench.cleaner.page = 20
    run_id = bench.start("drafts")
    run_slice(bench.cleaner, run_id, seconds=0)
    return run_id


def test_the_switch_stops_a_run_at_its_next_page(bench: Bench) -> None:
    """After `cleanup off` the run ends, nothing is deleted, and nothing starts until `on`."""
    run_id = start_and_read_one_page(bench)
    calls = len(bench.sim.calls("list"))
    bench.runs.switch(on=False, by="boss@here")
    run = bench.finish(run_id)
    assert (run["outcome"], run["why"]) == ("stopped", "cleanup was switched off")
    assert len(bench.sim.calls("list")) <= calls + 1
    assert not bench.redis.exists(bench.queue.keys.request(request_of(run_id)))
    assert bench.runs.start(bench.rule("drafts"), "drafts:hand:x", "me", None) is RunStart.OFF
    bench.runs.switch(on=True, by="boss@here")
    assert bench.run("drafts")["outcome"] == "released"


def test_the_switch_stops_a_run_until_its_release(bench: Bench) -> None:
    """Also after its last page."""
    bench.sim.add_files(500)
    bench.write(DRAFTS)
    taken = bench.runs.take(bench.start("drafts"))
    assert taken is not None
    assert bench.runs.add_page(taken, "r", None, {}, []) == ("on", 0)
    bench.runs.switch(on=False, by="boss@here")
    assert bench.runs.end(taken, "release", "", bench.rule("drafts")).outcome == "stopped"


def test_a_run_is_abandoned_when_its_rule_changes(bench: Bench) -> None:
    """A run continues only while the rule matches the same files."""
    run_id = start_and_read_one_page(bench)
    bench.write(DRAFTS + '[rules.drafts.keep]\ntags = ["sale"]\n')
    assert bench.finish(run_id)["outcome"] == "abandoned"
    bench.write("")
    bench.delete_all()
    assert bench.sim.deleted() == []


def test_a_run_fails_when_the_rules_file_becomes_invalid(bench: Bench) -> None:
    """A mistake in any rule stops all rules of the file."""
    bench.sim.add_files(100)
    bench.write(DRAFTS)
    run_id = bench.start("drafts")
    bench.write(DRAFTS + "[rules.other]\n")
    assert bench.finish(run_id)["outcome"] == "failed"


def test_a_dry_run_shows_what_a_run_deletes(bench: Bench) -> None:
    """It shows exactly the files that a run then deletes, and makes list calls only."""
    bench.sim.add_files(3000)
    bench.sim.set_strays(bench.sim.remaining()[:30])
    bench.write(DRAFTS)
    summary = Summary()
    shown = list(dry_run(bench.cleaner, bench.rule("drafts"), summary))
    assert {call.endpoint for call in bench.sim.calls()} == {"list"}
    assert set(bench.redis.keys("*request*")) == set()
    records = {record.id: record for record in bench.records()}
    assert summary.bytes == sum(records[file.file_id].size for file in shown)
    assert summary.oldest_ms == min(records[file.file_id].created for file in shown)
    assert summary.newest_ms == max(records[file.file_id].created for file in shown)
    assert summary.excluded.total() > 0
    assert bench.deleted_by("drafts") == {file.file_id for file in shown}


def test_a_rule_that_only_counts_deletes_nothing(bench: Bench) -> None:
    """With `dry_run = true` a run counts, and enqueues nothing."""
    bench.sim.add_files(1000)
    bench.write(f"{DRAFTS}dry_run = true\n")
    run = bench.run("drafts")
    assert run["outcome"] == "dry_run"
    assert int(run["files"]) > 50
    bench.delete_all()
    assert bench.sim.deleted() == []


def test_the_undo_window_leaves_time_to_cancel(bench: Bench) -> None:
    """Nothing is deleted in the undo window, nor after a cancel."""
    bench.sim.add_files(1000)
    bench.write(f'{DRAFTS}hold = "24h"\n')
    run = bench.run("drafts")
    assert run["outcome"] == "released"
    bench.delete_all()
    assert bench.sim.deleted() == []
    bench.queue.cancel(run["request"])
    assert bench.report(run["request"])["cancelled"] == int(run["files"])


def test_list_calls_have_a_limit_of_their_own(bench: Bench, real_redis: Redis, tmp_path: Path) -> None:
    """They are counted apart from deletions, and stay within the limit."""
    bench.sim.add_files(2000)
    bench.sim.set_limits("10/1s", endpoint="list")
    limited = Bench(real_redis, bench.sim, tmp_path, rate_limits='["10/1s"]')
    limited.write(DRAFTS)
    limited.cleaner.page = 20
    limited.run("drafts")
    assert bench.sim.stats()["throttled"] == 0
    assert bench.sim.busiest(1000, "list") <= 10
    assert not real_redis.exists(limited.queue.keys.calls("delete"))


def test_memory_is_flat(bench: Bench) -> None:
    """The memory of a worker does not grow with the files that a run collects."""

    class Large:
        def list_files(self, search: Mapping[str, str], skip: int, limit: int = 1000) -> ListAnswer:
            return Page(tuple(listed_file(number) for number in range(skip, min(skip + limit, 25_000))))

    bench.write(DRAFTS)
    bench.cleaner.api = Large()
    run_id = bench.start("drafts")
    peaks = []
    tracemalloc.start()
    try:
        while "outcome" not in bench.runs.read(run_id):
            tracemalloc.reset_peak()
            run_slice(bench.cleaner, run_id, seconds=0)
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert bench.runs.read(run_id)["files"] == "25000"
    assert len(peaks) > 20
    assert max(peaks) < 1.5 * peaks[2] + 500_000
