"""Runs of cleanup rules on a real server and a simulated library: what goes is exactly what the rule's words say."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from simulator import Simulator
from simulator.records import FOLDERS
from tests.unit.support_cleanup import KEY, Bench, is_kept, meant_by, request_of
from worker.answers import ListAnswer, Page, Unanswered
from worker.cleanup.dry_run import Summary, dry_run
from worker.cleanup.running import run_slice

pytestmark = pytest.mark.real_server

RELEASED = 'first_run = "release"\nguards = { max_files = 0, max_share = 0, usual_factor = 0 }\nevery = "1h"\n'
DRAFTS = f'[rules.drafts]\npath = "/drafts/"\nolder_than = "30d"\n{RELEASED}'


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator(private_key=KEY) as simulator:
        yield simulator
        assert simulator.violations() == []


@pytest.fixture
def bench(real_redis: Redis, sim: Simulator, tmp_path: Path) -> Bench:
    return Bench(real_redis, sim, tmp_path)


def test_exactly_what_the_words_say_goes_from_a_large_library(bench: Bench) -> None:
    """Of 50,000 files with folders, tags, null tags, versions, odd names and equal times, exactly those meant go."""
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
    expected = meant_by({**what, "file_type": "image"}, keep, bench.records(), started)
    before = set(bench.sim.remaining())
    run = bench.finish(run_id)
    assert (run["outcome"], int(run["files"])) == ("released", len(expected))
    bench.delete_all()
    assert len(expected) > 4000
    assert before - set(bench.sim.remaining()) == expected
    report = bench.report(run["request"])
    assert (report["state"], report["deleted"], report["source"]) == ("SUCCESS", len(expected), "cleanup:old")


def _strays(bench: Bench) -> list[str | Mapping[str, Any]]:
    """Objects that every search returns though the rule excludes them, and objects that cannot be read."""
    ids = bench.sim.remaining()[:60]
    sound = bench.sim._state.library.get(ids[7])
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


def test_a_run_whose_worker_dies_goes_on_where_it_stood(bench: Bench) -> None:
    """Killed before or after any page, a run is taken up by another worker; each file counts once."""
    bench.sim.add_files(2000)
    bench.write(DRAFTS)
    expected = meant_by({"path": "/drafts/", "older_than_days": 30}, {}, bench.records(), bench.queue.now_ms())
    run_id = bench.start("drafts")
    deaths = 0
    while "outcome" not in bench.runs.read(run_id):
        worker = bench.new_cleaner()
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
    """Stands for SIGKILL: nothing catches it."""


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


def test_a_run_is_held_by_one_worker_at_a_time(bench: Bench) -> None:
    """A doubled message changes nothing while the first is at work."""
    bench.sim.add_files(500)
    bench.write(DRAFTS)
    run_id = bench.start("drafts")
    assert bench.runs.take(run_id) is not None
    assert run_slice(bench.new_cleaner(), run_id) is None
    assert bench.sim.calls("list") == []


def test_a_worker_that_lost_its_lease_adds_nothing(bench: Bench) -> None:
    """Whoever was frozen and taken over is told, and what it read is dropped."""
    bench.sim.add_files(500)
    bench.write(DRAFTS)
    run_id = bench.start("drafts")
    first = bench.runs.take(run_id)
    bench.forget_lease(run_id)
    second = bench.runs.take(run_id)
    assert first is not None
    assert second is not None
    assert bench.runs.add_page(first, "r", None, {}, []) == ("lost", 0)
    assert bench.runs.end(first, "failed").outcome == "lost"
    assert bench.runs.add_page(second, "r", None, {}, []) == ("on", 0)


@pytest.mark.parametrize("fault", ["error_before", "cut_before", "cut_middle", "garbage", "empty", "throttled"])
def test_a_page_that_fails_is_asked_for_again(bench: Bench, fault: str) -> None:
    """No failure of a page loses or doubles a file."""
    bench.sim.add_files(1000)
    bench.write(DRAFTS)
    bench.cleaner.page = 50
    expected = meant_by({"path": "/drafts/", "older_than_days": 30}, {}, bench.records(), bench.queue.now_ms())
    run_id = bench.start("drafts")
    run_slice(bench.cleaner, run_id, seconds=0)
    bench.sim.fault(fault, times=2, endpoint="list", **({"reset_ms": 5} if fault == "throttled" else {}))
    assert int(_finish_unpaused(bench, run_id)["files"]) == len(expected)


def _finish_unpaused(bench: Bench, run_id: str) -> dict[str, str]:
    """Finish a run; what the limiter waits for is over at once."""
    for _ in range(300):
        bench.redis.delete(bench.queue.keys.limits("list"))
        bench.forget_lease(run_id)
        run_slice(bench.cleaner, run_id)
        if "outcome" in bench.runs.read(run_id):
            return bench.runs.read(run_id)
    raise AssertionError(bench.runs.read(run_id))


def test_an_outage_fails_no_run(bench: Bench) -> None:
    """While the API is away a run waits, with a growing backoff, and goes on by itself."""
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
    """What the API says of a wrong query is the run's outcome, and nothing is deleted."""
    bench.sim.add_files(300)
    bench.write(f"[rules.odd]\nquery = 'no such = \"field\"'\n{RELEASED}")
    run = bench.run("odd")
    assert run["outcome"] == "failed"
    assert "refuses the search" in run["why"]
    bench.delete_all()
    assert bench.sim.deleted() == []


def test_files_that_come_and_go_between_pages(bench: Bench) -> None:
    """Files that vanish shift the listing; of those that stay, every one that is meant is found, and no other."""
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
    stayed = meant_by({"path": "/drafts/", "older_than_days": 30}, {}, bench.records(), now) & set(ids)
    assert len(vanished) > 500
    request = bench.runs.read(run_id)["request"]
    collected = set(bench.redis.lrange(bench.queue.keys.request(request, "waiting"), 0, -1))
    assert stayed <= collected
    bench.delete_all()
    young = [record for record in bench.records() if record.created > now - 30 * 86_400_000]
    assert len(young) > 100
    assert bench.report(request)["deleted"] + bench.report(request)["not_found"] == len(collected)


def test_a_pause_holds_lists_too(bench: Bench) -> None:
    """While an operator pauses the account, no page is asked for; afterwards the run goes on."""
    bench.sim.add_files(200)
    bench.write(DRAFTS)
    run_id = bench.start("drafts")
    bench.cleaner.limiter.pause("stop")
    assert run_slice(bench.cleaner, run_id)
    assert bench.sim.calls("list") == []
    bench.cleaner.limiter.resume()
    assert bench.finish(run_id)["outcome"] == "released"


def test_a_run_that_kills_its_workers_is_given_up(bench: Bench) -> None:
    """Ten workers in a row that die at the same page end the run, and nothing is deleted."""
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


def test_a_name_that_no_text_can_hold_breaks_nothing(bench: Bench) -> None:
    """Half a character in a path, as JSON can bring it, is shown escaped."""
    bench.sim.set_strays([{**_object(7), "filePath": "/drafts/\ud800.jpg"}])
    bench.write(DRAFTS)
    run = bench.run("drafts")
    assert (run["outcome"], run["files"]) == ("released", "1")


def test_the_switch_stops_a_run_at_its_next_page(bench: Bench) -> None:
    """`cleanup off` in the middle of a run: it ends, nothing is deleted, and nothing starts until `on`."""
    bench.sim.add_files(1000)
    bench.write(DRAFTS)
    bench.cleaner.page = 20
    run_id = bench.start("drafts")
    run_slice(bench.cleaner, run_id, seconds=0)
    calls = len(bench.sim.calls("list"))
    bench.runs.switch(on=False, by="boss@here")
    run = bench.finish(run_id)
    assert (run["outcome"], run["why"]) == ("stopped", "cleanup was switched off")
    assert len(bench.sim.calls("list")) <= calls + 1
    assert not bench.redis.exists(bench.queue.keys.request(request_of(run_id)))
    assert bench.runs.start(bench.rule("drafts"), "drafts:hand:x", "me", None) == "off"
    bench.runs.switch(on=True, by="boss@here")
    assert bench.run("drafts")["outcome"] == "released"


def test_the_switch_counts_until_the_release(bench: Bench) -> None:
    """Switched off after the last page, a run is not released."""
    bench.sim.add_files(500)
    bench.write(DRAFTS)
    taken = bench.runs.take(bench.start("drafts"))
    assert taken is not None
    assert bench.runs.add_page(taken, "r", None, {}, []) == ("on", 0)
    bench.runs.switch(on=False, by="boss@here")
    assert bench.runs.end(taken, "release", "", bench.rule("drafts")).outcome == "stopped"


def test_a_rule_that_is_changed_under_way_is_abandoned(bench: Bench) -> None:
    """A run goes on only while the rule's words mean what they meant at its start."""
    bench.sim.add_files(1000)
    bench.write(DRAFTS)
    bench.cleaner.page = 20
    run_id = bench.start("drafts")
    run_slice(bench.cleaner, run_id, seconds=0)
    bench.write(DRAFTS + '[rules.drafts.keep]\ntags = ["sale"]\n')
    assert bench.finish(run_id)["outcome"] == "abandoned"
    bench.write("")
    bench.delete_all()
    assert bench.sim.deleted() == []


def test_a_file_that_cannot_be_used_runs_nothing(bench: Bench) -> None:
    """A rules file with a mistake anywhere stops all its rules."""
    bench.sim.add_files(100)
    bench.write(DRAFTS)
    run_id = bench.start("drafts")
    bench.write(DRAFTS + "[rules.other]\n")
    assert bench.finish(run_id)["outcome"] == "failed"


def test_ids_that_expired_are_collected_anew(bench: Bench) -> None:
    """A run that stood still until its unsealed request was gone starts from the first page."""
    bench.sim.add_files(1000)
    bench.write(DRAFTS)
    bench.cleaner.page = 50
    expected = meant_by({"path": "/drafts/", "older_than_days": 30}, {}, bench.records(), bench.queue.now_ms())
    run_id = bench.start("drafts")
    run_slice(bench.cleaner, run_id, seconds=0)
    for part in ("about", "waiting", "seen"):
        bench.redis.delete(bench.queue.keys.request(request_of(run_id), part))
    assert int(bench.finish(run_id)["files"]) == len(expected)


def test_a_dry_run_shows_what_a_run_deletes_and_calls_nothing_else(bench: Bench) -> None:
    """What `--dry-run` lists is what goes afterwards; its calls are lists alone."""
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
    assert summary.kept.total() > 0
    assert bench.deleted_by("drafts") == {file.file_id for file in shown}


def test_a_rule_that_only_counts_deletes_nothing(bench: Bench) -> None:
    """`dry_run = true`: the run counts, and leaves no request."""
    bench.sim.add_files(1000)
    bench.write(f"{DRAFTS}dry_run = true\n")
    run = bench.run("drafts")
    assert run["outcome"] == "dry_run"
    assert int(run["files"]) > 50
    bench.delete_all()
    assert bench.sim.deleted() == []


def test_a_hold_leaves_time_to_cancel(bench: Bench) -> None:
    """Within the undo window nothing is deleted, and a cancel leaves nothing to delete."""
    bench.sim.add_files(1000)
    bench.write(f'{DRAFTS}hold = "24h"\n')
    run = bench.run("drafts")
    assert run["outcome"] == "released"
    bench.delete_all()
    assert bench.sim.deleted() == []
    bench.queue.cancel(run["request"])
    assert bench.report(run["request"])["cancelled"] == int(run["files"])


def test_the_list_calls_keep_their_own_limit(bench: Bench, real_redis: Redis, tmp_path: Path) -> None:
    """Lists are counted by themselves, and never beyond the limit."""
    bench.sim.add_files(2000)
    bench.sim.set_limits("10/1s", endpoint="list")
    limited = Bench(real_redis, bench.sim, tmp_path, rate_limits='["10/1s"]')
    limited.write(DRAFTS)
    limited.cleaner.page = 20
    limited.run("drafts")
    assert bench.sim.stats()["throttled"] == 0
    assert bench.sim.busiest(1000, "list") <= 10
    assert not real_redis.exists(limited.queue.keys.calls("delete"))


def test_an_api_that_never_ends_a_listing_ends_the_run(bench: Bench) -> None:
    """An API that answers every page alike fails the run instead of keeping it for ever."""
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


def test_memory_is_flat(bench: Bench) -> None:
    """What a run holds in memory does not grow with the files it collects."""

    class Large:
        def list_files(self, search: Mapping[str, str], skip: int, limit: int = 1000) -> ListAnswer:
            return Page(tuple(_object(number) for number in range(skip, min(skip + limit, 25_000))))

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


def _object(number: int) -> dict[str, Any]:
    return {
        "type": "file",
        "fileId": f"{number:024x}",
        "filePath": f"/drafts/{number}.jpg",
        "createdAt": "2020-01-01T00:00:00.000Z",
        "tags": None,
        "size": 10,
    }


def test_a_key_that_may_not_list_stops_no_deletion(bench: Bench) -> None:
    """A refused list is the run's trouble alone: deletions go on."""
    bench.sim.add_files(100)
    bench.write(DRAFTS)
    run_id = bench.start("drafts")
    bench.cleaner.api = _Refusing()
    run_slice(bench.cleaner, run_id)
    bench.queue.enqueue("r1", bench.sim.remaining()[:10], source="catalog")
    bench.delete_all()
    assert len(bench.sim.deleted()) == 10


class _Refusing:
    def list_files(self, search: Mapping[str, str], skip: int, limit: int = 1000) -> ListAnswer:
        return Unanswered("HTTP 503", sent=True)


# Whatever the rule

_TAGS = ["expired", "sale", "keep", "Keep", "größe", 'quo"te', "back\\slash"]
_PATHS = [*FOLDERS, "/Drafts/", "/products"]


@st.composite
def _rules(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    what: dict[str, Any] = {}
    if draw(st.booleans()):
        what["path"] = draw(st.sampled_from(FOLDERS))
        what["recursive"] = draw(st.booleans())
    if draw(st.booleans()) or not what:
        what["older_than_days"] = draw(st.integers(1, 200))
    if draw(st.booleans()):
        what["tags"] = draw(st.lists(st.sampled_from(_TAGS), min_size=1, max_size=3, unique=True))
    if draw(st.booleans()):
        what["file_type"] = draw(st.sampled_from(["image", "non-image"]))
    keep = {
        "tags": draw(st.lists(st.sampled_from(_TAGS), max_size=2, unique=True)),
        "paths": draw(st.lists(st.sampled_from(_PATHS), max_size=2, unique=True)),
    }
    if what.get("path") == "/" and what.get("recursive"):
        what.setdefault("older_than_days", 1)
    return what, keep


@pytest.fixture(scope="module")
def shared_sim() -> Iterator[Simulator]:
    with Simulator(private_key=KEY) as simulator:
        yield simulator


@given(rule=_rules(), lies=st.booleans())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_in_keep_goes_whatever_the_rule(
    rule: tuple[dict[str, Any], dict[str, Any]], lies: bool, real_redis: Redis, shared_sim: Simulator, tmp_path: Path
) -> None:
    """Under any rule, and with an index that returns every file for every search, only what is meant goes."""
    what, keep = rule
    real_redis.flushall()
    sim = shared_sim
    sim.set_strays()
    sim.take_away(sim.remaining())
    for number, folder in enumerate(FOLDERS * 6):
        tags = [_TAGS[number % 7], _TAGS[number // 7]] if number % 3 else None
        sim.add_file(
            folder=folder, tags=tags, ai_tags=["keep"] if number % 11 == 0 else [], created_at=f"{number * 5}d"
        )
    if lies:
        sim.set_strays(sim.remaining())
    bench = Bench(real_redis, sim, tmp_path)
    bench.write(_as_toml(what, keep))
    kept = {record.id for record in bench.records() if is_kept(keep, record)}
    expected = meant_by(what, keep, bench.records(), bench.queue.now_ms())
    gone = bench.deleted_by("any")
    assert not gone & kept
    assert gone == expected


def _as_toml(what: Mapping[str, Any], keep: Mapping[str, Any]) -> str:
    def text(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def texts(values: list[str]) -> str:
        return "[" + ", ".join(map(text, values)) + "]"

    lines = ["[rules.any]", RELEASED]
    if "path" in what:
        lines += [f"path = {text(what['path'])}", f"recursive = {str(what['recursive']).lower()}"]
    if "older_than_days" in what:
        lines.append(f'older_than = "{what["older_than_days"]}d"')
    if "tags" in what:
        lines.append(f"tags = {texts(what['tags'])}")
    if "file_type" in what:
        lines.append(f'file_type = "{what["file_type"]}"')
    lines += [f"keep.{name} = {texts(values)}" for name, values in keep.items() if values]
    return "\n".join(lines)
