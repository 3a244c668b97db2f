"""Purging: from a deleted file to its purged URL, and to the report of its request."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.unit.support_purge import SITE, Stand, url_of
from tests.unit.support_queue import raw, release_holds
from worker.imagekit.answers import (
    KeyRefused,
    ListAnswer,
    Page,
    PurgeAccepted,
    PurgeAnswer,
    PurgeStatus,
    Refused,
    Throttled,
    Unanswered,
)
from worker.metrics.reading import Reader
from worker.purge.planner import Purge
from worker.purge.sending import Then
from worker.reports.finding import Finder
from worker.reports.purges import FilePurge, read_purges
from worker.states import Outcome, PurgeState


@pytest.fixture
def stand(redis_client: Redis) -> Stand:
    """Return an account whose purges go nowhere."""
    return Stand(redis_client)


def counts(stand: Stand, request: str) -> tuple[int, int, int, int]:
    report = stand.report(request)
    return report["purged"], report["purge_pending"], report["purge_failed"], report["purge_skipped"]


def test_a_deleted_file_is_purged_by_its_url(stand: Stand) -> None:
    """The report of the deletion is final before, and counts the purges."""
    stand.enqueue("r", ["a.x", "a.y"])
    assert stand.delete() == ["r"]
    assert stand.report("r")["state"] == "SUCCESS"
    assert counts(stand, "r") == (0, 2, 0, 0)
    stand.purge()
    assert sorted(stand.cdn.purged) == [url_of("a.x"), url_of("a.y")]
    assert counts(stand, "r") == (2, 0, 0, 0)


@pytest.mark.parametrize(
    ("outcome", "is_purged"),
    [
        (Outcome.DELETED, True),
        (Outcome.PRESUMED_DELETED, True),
        (Outcome.NOT_FOUND, True),
        (Outcome.FAILED, False),
    ],
)
def test_only_files_that_are_gone_are_purged(stand: Stand, outcome: Outcome, is_purged: bool) -> None:
    """Also those that were gone before: copies of them may still be cached."""
    stand.enqueue("r", ["a.x"])
    stand.delete(outcome)
    stand.purge()
    assert bool(stand.cdn.purged) == is_purged


def test_a_request_without_purge_costs_nothing_more(stand: Stand) -> None:
    """It has the same keys and the same report as ever, even if its files came with URLs."""
    stand.enqueue("r", ["a.x"], purge=None)
    stand.delete()
    stand.purge()
    assert stand.cdn.purged == []
    assert "purged" not in stand.report("r")
    assert raw(stand.queue).keys("*purge*") == []


def test_a_finished_request_without_purge_lets_only_its_own_keys_expire(real_redis: Redis) -> None:
    """Of a request of one file: its hash and the list of its one outcome; more would cost every request."""
    stand = Stand(real_redis)
    stand.enqueue("r", ["a.x"], purge=None)
    real_redis.config_resetstat()
    stand.delete()
    assert real_redis.info("commandstats")["cmdstat_pexpire"]["calls"] == 2


def test_a_request_that_waits_for_its_purges_is_final_with_the_last(stand: Stand) -> None:
    """Until then it is in progress; a worker publishes it as any other."""
    stand.enqueue("r", ["a.x", "b.y"], purge="wait")
    assert stand.delete() == []
    assert stand.report("r")["state"] == "PROGRESS"
    stand.purge()
    assert stand.report("r")["state"] == "SUCCESS"
    assert stand.published == ["r"]
    [figures] = Reader(stand.queue.redis).read([stand.account.settings]).accounts
    assert figures.finished["SUCCESS"] == figures.request_ms.counts[-1] == 1


def test_a_purge_is_asked_for_until_it_is_completed(stand: Stand) -> None:
    """It is sent once, and followed under the API's id."""
    stand.cdn.answers = [PurgeAccepted("abc"), PurgeStatus(is_completed=False), PurgeStatus(is_completed=False)]
    stand.enqueue("r", ["a.x"])
    stand.delete()
    stand.purge()
    assert stand.cdn.purged == [url_of("a.x")]
    assert stand.cdn.asked == ["abc"] * 3
    assert counts(stand, "r") == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("answer", "quota"),
    [(Throttled(), 1), (Unanswered("no connection", sent=False), 1), (Unanswered("the answer was lost"), 2)],
)
def test_a_call_that_came_to_nothing_is_repeated(stand: Stand, answer: PurgeAnswer, quota: int) -> None:
    """It counts twice only if the first may have been carried out."""
    stand.cdn.answers = [answer]
    stand.enqueue("r", ["a.x"])
    stand.delete()
    stand.purge()
    assert counts(stand, "r") == (1, 0, 0, 0)
    assert stand.account.purges.quota().used == quota


def test_a_purge_that_the_api_forgot_is_sent_again(stand: Stand) -> None:
    """It answers 400 for an id that it does not know."""
    stand.cdn.answers = [PurgeAccepted("abc"), Refused("unknown")]
    stand.enqueue("r", ["a.x"])
    stand.delete()
    stand.purge()
    assert len(stand.cdn.purged) == 2
    assert counts(stand, "r") == (1, 0, 0, 0)


def test_a_refused_url_fails_with_the_message_of_the_api(stand: Stand) -> None:
    """The other files of the request are purged."""
    stand.cdn.answers = [Refused("The URL is not valid for cache purging.")]
    stand.enqueue("r", ["a.x", "b.y"])
    stand.delete()
    stand.purge()
    assert counts(stand, "r") == (1, 0, 1, 0)


def test_a_purge_whose_answers_are_lost_fails_at_last(stand: Stand) -> None:
    """Each call may cost a part of the quota, so their number is bounded."""
    stand.cdn.answers = [Unanswered("lost")] * 20
    stand.enqueue("r", ["a.x"])
    stand.delete()
    stand.purge()
    assert counts(stand, "r") == (0, 0, 1, 0)
    assert len(stand.cdn.purged) == stand.account.purges.quota().used == 5


@pytest.mark.parametrize(("stays", "purged"), [([], ["a/b/*"]), (["a.b.z"], ["a/b/x.jpg*", "a/b/y.jpg*"])])
def test_a_wildcard_covers_no_file_that_stays(stand: Stand, stays: list[str], purged: list[str]) -> None:
    """The folder is listed first; a file that we deleted may still be in the listing."""
    stand.account.purges.learn_endpoints([SITE])
    stand.cdn.library = ["a.b.x", *stays]
    stand.enqueue("r", ["a.b.x", "a.b.y"])
    stand.delete()
    stand.purge()
    assert stand.cdn.purged == [f"{SITE}/{path}" for path in purged]
    assert counts(stand, "r") == (2, 0, 0, 0)


def test_a_url_with_an_unknown_endpoint_is_purged_as_it_is(stand: Stand) -> None:
    """It is not known to which folder of the library it belongs, so nothing is listed."""
    stand.enqueue("r", ["a.b.x", "a.b.y"])
    stand.delete()
    stand.purge()
    assert (stand.cdn.purged, stand.cdn.queries) == ([url_of("a.b.x"), url_of("a.b.y")], [])


def test_a_folder_that_a_request_allows_is_one_purge(stand: Stand) -> None:
    """Files of other requests that lie there are covered too, and files that stay."""
    stand.enqueue("r", ["a.b.x", "a.b.y"], purge="folder")
    stand.enqueue("other", ["a.b.c.z"])
    stand.delete()
    stand.purge()
    assert stand.cdn.purged == [f"{SITE}/a/b/*"]
    assert counts(stand, "other") == (1, 0, 0, 0)


def test_a_refused_wildcard_is_replaced_by_the_urls(stand: Stand) -> None:
    """And not tried again."""
    stand.cdn.answers = [Refused("The URL is not valid for cache purging.")]
    stand.enqueue("r", ["a.b.x", "a.b.y"], purge="folder")
    stand.delete()
    stand.purge()
    assert stand.cdn.purged == [f"{SITE}/a/b/*", url_of("a.b.x"), url_of("a.b.y")]
    assert counts(stand, "r") == (2, 0, 0, 0)
    assert raw(stand.queue).smembers(stand.queue.keys("purges:refused")) == {f"{SITE}/a/b/*"}


def test_urls_are_looked_up_before_the_deletion(stand: Stand) -> None:
    """A hundred ids a call, of several requests; a file that is not listed is deleted, and reported as not purged."""
    names = [f"unknown{number}" for number in range(150)]
    stand.cdn.library = ["unknown0", "unknown149"]
    stand.enqueue("r", names[:120])
    stand.enqueue("q", names[120:])
    assert stand.delete() == []
    stand.purge()
    assert len(stand.cdn.queries) == 2
    assert sorted(stand.delete()) == ["q", "r"]
    stand.purge()
    assert counts(stand, "r") == (1, 0, 119, 0)
    assert counts(stand, "q") == (1, 0, 29, 0)


@pytest.mark.parametrize("answer", [Unanswered("down"), KeyRefused("no right to list"), Refused("bad query")])
def test_a_lookup_that_fails_does_not_stop_the_deletion(stand: Stand, answer: ListAnswer) -> None:
    """After some failures the files are deleted all the same."""
    stand.cdn.lists = [answer] * 20
    stand.enqueue("r", ["unknown1"])
    stand.purge()
    assert stand.delete() == ["r"]
    assert counts(stand, "r") == (0, 0, 1, 0)


def test_a_lookup_that_lies_is_not_believed(stand: Stand) -> None:
    """URLs of files that were not asked for, and what is no URL of a file, are ignored."""
    lies = [{"fileId": "other", "url": url_of("a.b")}, {"fileId": "unknown1", "url": "https://h/*"}, 7, {"fileId": []}]
    stand.cdn.lists = [Page(tuple(lies))]
    stand.enqueue("r", ["unknown1"])
    stand.purge()
    stand.delete()
    stand.purge()
    assert (stand.cdn.purged, counts(stand, "r")) == ([], (0, 0, 1, 0))


def test_a_cancelled_request_is_not_looked_up(stand: Stand) -> None:
    """Nothing of it comes back into line, even if the lookup is under way."""
    stand.enqueue("r", ["unknown1"])
    lookups = stand.account.purges.take_lookups()
    stand.queue.cancel("r")
    stand.account.purges.look_up(lookups, {"unknown1": url_of("a.b")})
    assert stand.queue.claim("t") is None
    assert stand.report("r")["state"] == "REVOKED"


def test_a_hold_ends_before_the_lookup(stand: Stand) -> None:
    """URLs are looked up as late as possible."""
    stand.enqueue("r", ["unknown1"], hold_seconds=60)
    stand.purge()
    assert stand.cdn.queries == []
    release_holds(stand.queue)
    stand.delete()
    stand.purge()
    assert stand.delete() == ["r"]
    assert len(stand.cdn.queries) == 1


def test_what_the_quota_does_not_cover_waits_for_the_next_month(redis_client: Redis) -> None:
    """Files come in the order of the priority of their requests, those that somebody waits for first."""
    stand = Stand(redis_client, purge_quota=2)
    stand.enqueue("late", ["a.x"], priority=5)
    stand.enqueue("early", ["b.x"])
    stand.enqueue("first", ["c.x"], purge="wait")
    stand.delete()
    stand.purge()
    assert stand.cdn.purged == [url_of("c.x"), url_of("b.x")]
    assert counts(stand, "late") == (0, 1, 0, 0)
    raw(stand.queue).delete(stand.queue.keys("purges:quota"))
    stand.purge()
    assert stand.cdn.purged[2:] == [url_of("a.x")]
    assert counts(stand, "late") == (1, 0, 0, 0)


def test_what_the_quota_does_not_cover_can_be_skipped(redis_client: Redis, caplog: pytest.LogCaptureFixture) -> None:
    """The report and each file say so; a warning comes before, at 80 %."""
    stand = Stand(redis_client, purge_quota=4, purge_over_quota="skip")
    stand.enqueue("r", [f"{folder}.x" for folder in "abcdef"], purge="wait")
    stand.delete()
    stand.purge()
    assert counts(stand, "r") == (4, 0, 0, 2)
    assert stand.report("r")["state"] == "SUCCESS"
    assert "4 of 4 purge calls" in caplog.text
    assert "the quota of 4 purge calls is used up" in caplog.text


def test_a_call_whose_answer_was_lost_waits_for_quota_too(redis_client: Redis) -> None:
    """Its repetition costs a call, which the month does not have any more."""
    stand = Stand(redis_client, purge_quota=1)
    stand.cdn.answers = [Unanswered("lost")]
    stand.enqueue("r", ["a.x"])
    stand.delete()
    stand.purge(20)
    assert (len(stand.cdn.purged), counts(stand, "r")) == (1, (0, 1, 0, 0))
    raw(stand.queue).delete(stand.queue.keys("purges:quota"))
    stand.purge()
    assert counts(stand, "r") == (1, 0, 0, 0)


def test_a_worker_that_dies_in_a_call_loses_nothing(stand: Stand) -> None:
    """Between deletion and plan, in a plan, in a call, and while a purge ends: another worker goes on."""
    stand.enqueue("r", ["a.x", "b.x"])
    stand.delete()
    purges = stand.account.purges
    lock = purges.lock()
    assert lock is not None
    purges.plan(lock, Purge(url_of("a.x"), ["a.x r"]))
    raw(stand.queue).delete(stand.queue.keys("purges:lock"))
    taken = purges.take()
    assert taken is not None
    assert purges.take() is None
    stand.let_time_pass()
    stand.purge()
    assert counts(stand, "r") == (2, 0, 0, 0)
    purges.record(taken, Then(PurgeState.READY))
    assert list(purges.end(taken, PurgeState.FAILED)) == [[]]
    assert counts(stand, "r") == (2, 0, 0, 0)


def test_the_end_of_a_large_purge_is_taken_over(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is recorded in steps; a worker that dies between two of them leaves the rest to another."""
    monkeypatch.setattr("worker.purge.store.AT_ONCE", 2)
    stand.enqueue("r", ["a.b.v", "a.b.w", "a.b.x", "a.b.y", "a.b.z"], purge="folder")
    stand.delete()
    stand.purger.step()
    taken = stand.account.purges.take()
    assert taken is not None
    next(stand.account.purges.end(taken, PurgeState.PURGED))
    assert counts(stand, "r") == (2, 3, 0, 0)
    stand.purge()
    assert counts(stand, "r") == (5, 0, 0, 0)


def test_a_request_does_not_expire_before_its_purges(stand: Stand) -> None:
    """They may wait for a month; the report is published again as they end."""
    stand.enqueue("r", ["a.x"])
    stand.delete()
    about, urls = stand.queue.keys.request("r"), stand.queue.keys.request("r", "purge")
    assert raw(stand.queue).pttl(about) == raw(stand.queue).pttl(urls) == -1
    stand.purge()
    assert raw(stand.queue).pttl(about) > 0
    assert raw(stand.queue).pttl(urls) > 0
    assert raw(stand.queue).zrange(stand.queue.keys("purges:changed"), 0, -1) == ["r"]


def test_each_file_says_what_became_of_its_purge(stand: Stand) -> None:
    """For searches and proofs: state, URL, time, and why it failed."""
    stand.cdn.answers = [Refused("no")]
    stand.enqueue("r", ["a.x", "b.x", "unknown1"])
    stand.enqueue("plain", ["c.x"], purge=None)
    stand.purge()
    stand.delete()

    def read() -> list[FilePurge | None]:
        files = [("r", "a.x"), ("r", "b.x"), ("r", "unknown1"), ("plain", "c.x")]
        return read_purges(stand.queue.redis, stand.queue.keys, files)

    pending = read()[0]
    assert pending == FilePurge("purge_pending", url_of("a.x"))
    stand.purge()
    refused, purged, unknown, plain = read()
    assert refused is not None
    assert purged is not None
    assert unknown is not None
    assert (refused.state, refused.error, refused.url) == ("purge_failed", "no", url_of("a.x"))
    assert (purged.state, purged.error, purged.at is not None) == ("purged", "", True)
    assert (unknown.state, unknown.error, unknown.url) == ("purge_failed", "the URL is not known", "")
    assert plain is None
    (trace,) = Finder(stand.queue.redis, stand.queue.keys).page("b.x").traces
    assert (trace.state, trace.purge) == ("deleted", "purged")
