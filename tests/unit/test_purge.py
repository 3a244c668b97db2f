"""Purging: from a deleted file to its purged URL, and to the report of its request."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.unit.support_purge import Stand, url_of
from tests.unit.support_queue import raw
from worker.imagekit.answers import PurgeAccepted, PurgeAnswer, PurgeStatus, Refused, Throttled, Unanswered
from worker.states import Outcome


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


def test_a_request_that_waits_for_its_purges_is_final_with_the_last(stand: Stand) -> None:
    """Until then it is in progress; a worker publishes it as any other."""
    stand.enqueue("r", ["a.x", "b.y"], purge="wait")
    assert stand.delete() == []
    assert stand.report("r")["state"] == "PROGRESS"
    stand.purge()
    assert stand.report("r")["state"] == "SUCCESS"
    assert stand.published == ["r"]


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
