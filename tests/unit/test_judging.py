"""Judging: the settlement of each item, for each answer of the API."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from worker.batch.isolation import ISOLATE_AFTER, ISOLATE_ALONE_AFTER, Circumstances, needs_witness, shows_health
from worker.batch.judging import judge, judge_known
from worker.imagekit.answers import Answer, KeyRefused, Missing, PerFile, Refused, Throttled, Unanswered
from worker.queue.claims import Claim, Item, Settlements
from worker.states import Doubt, Outcome

NO_ATTEMPT_LEFT = 7
"""Attempts behind an item that has one left, of eight."""


def item(file_id: str, attempts: int = 0, doubt: Doubt = Doubt.NONE) -> Item:
    return Item("r", file_id, attempts, doubt)


def judged(
    items: Iterable[Item],
    answer: Answer,
    *,
    fails: int = 0,
    suspect: bool = False,
    others_succeeded: bool = False,
    others_wait: bool = True,
    max_attempts: int = 8,
) -> Settlements:
    sent = list(items)
    about = Circumstances(max_attempts, others_succeeded, others_wait)
    return judge(Claim("t", sent, fails, None, suspect), sent, answer, about)


def ended(settlements: Settlements) -> dict[str, tuple[Outcome, int, str]]:
    """Return each ended file id's outcome, attempts and error."""
    return {file: (one["outcome"], one["attempts"], one["error"]) for one in settlements.ended for file in one["ids"]}


def retried(settlements: Settlements) -> dict[str, tuple[int, Doubt]]:
    """Return each retried file id's attempts and doubt."""
    return {file: (one["attempts"], one["doubt"]) for one in settlements.retried for file in one["ids"]}


def parked(settlements: Settlements) -> list[tuple[list[str], int, bool, Doubt]]:
    """Return each parked group's file ids, fails, suspicion and doubt."""
    return [
        ([file for part in group["requests"] for file in part["ids"]], group["fails"], group["suspect"], group["doubt"])
        for group in settlements.parked
    ]


def test_listed_ids_are_deleted() -> None:
    """200: what the API lists is deleted, with the attempt counted."""
    settlements = judged([item("a"), item("b", attempts=2)], PerFile(frozenset({"a", "b"}), {}))
    assert ended(settlements) == {"a": (Outcome.DELETED, 1, ""), "b": (Outcome.DELETED, 3, "")}
    assert not settlements.retried
    assert not settlements.parked


def test_an_id_that_was_sent_and_is_not_listed_is_retried() -> None:
    """It may have been deleted, so that a later 404 for it proves nothing."""
    settlements = judged([item("a"), item("b")], PerFile(frozenset({"a"}), {}))
    assert retried(settlements) == {"b": (1, Doubt.UNANSWERED)}


def test_errors_of_a_207_are_retried_and_fail_with_their_reason_in_the_end() -> None:
    """An attempt is spent each time; at the last one the item fails with the API's own words."""
    answer = PerFile(frozenset({"a"}), {"b": "locked", "c": "locked"})
    settlements = judged([item("a"), item("b"), item("c", attempts=NO_ATTEMPT_LEFT)], answer)
    assert retried(settlements) == {"b": (1, Doubt.UNANSWERED)}
    assert ended(settlements)["c"] == (Outcome.FAILED, 8, "locked")
    doubts = {file: one["doubt"] for one in settlements.ended for file in one["ids"]}
    assert doubts["c"] is Doubt.UNANSWERED


@pytest.mark.parametrize(
    ("doubt", "outcome"),
    [(Doubt.NONE, Outcome.NOT_FOUND), (Doubt.UNANSWERED, Outcome.PRESUMED_DELETED)],
)
def test_missing_ids_are_not_found_or_presumed_deleted(doubt: Doubt, outcome: Outcome) -> None:
    """404: an earlier unanswered call makes the difference; the rest is parked, due at once, no attempt spent."""
    settlements = judged([item("a", doubt=doubt), item("b"), item("c")], Missing(frozenset({"a"})), fails=1)
    assert ended(settlements) == {"a": (outcome, 1, "")}
    assert parked(settlements) == [(["b", "c"], 1, False, Doubt.NONE)]
    assert settlements.parked[0]["delay_ms"] == 0, "sent again at once"


def test_a_lone_refused_id_fails_with_the_reason() -> None:
    """400 for a single id: it is the culprit."""
    assert ended(judged([item("a")], Refused("invalid fileId"))) == {"a": (Outcome.FAILED, 1, "invalid fileId")}


@pytest.mark.parametrize(("count", "halves"), [(2, [1, 1]), (3, [2, 1]), (100, [50, 50])])
def test_a_refused_batch_is_split_in_halves(count: int, halves: list[int]) -> None:
    """400 for several: two separate halves, without attempts spent and without doubt."""
    settlements = judged([item(f"f{number}") for number in range(count)], Refused("invalid"))
    groups = parked(settlements)
    assert [len(files) for files, *_ in groups] == halves
    assert all((suspect, doubt) == (True, Doubt.NONE) for *_, suspect, doubt in groups)
    assert not settlements.ended


@pytest.mark.parametrize("answer", [KeyRefused("bad key"), Throttled(), Unanswered("no route", sent=False)])
@pytest.mark.parametrize("suspect", [False, True])
def test_a_failure_that_is_no_ids_fault_snoozes_all(answer: Answer, suspect: bool) -> None:
    """401, 403, 429 and no connection: the group goes back as it was, with no doubt, attempt or failure added."""
    settlements = judged([item("a", attempts=5), item("b")], answer, fails=1, suspect=suspect, others_succeeded=True)
    assert parked(settlements) == [(["a", "b"], 1, suspect, Doubt.NONE)]
    assert not settlements.ended
    assert not settlements.retried


@pytest.mark.parametrize(
    ("fails_before", "others_succeeded", "others_wait", "splits"),
    [
        (0, False, True, False),
        (0, True, True, False),
        (ISOLATE_AFTER - 1, True, True, True),
        (ISOLATE_AFTER - 1, False, True, False),
        (ISOLATE_ALONE_AFTER - 2, False, False, False),
        (ISOLATE_ALONE_AFTER - 1, False, False, True),
        (50, False, True, False),
    ],
)
def test_an_unanswered_batch_is_split_only_on_evidence(
    fails_before: int, others_succeeded: bool, others_wait: bool, splits: bool
) -> None:
    """It is parked whole while the API may be down; split when others succeed, or when there are no others."""
    items = [item("a"), item("b"), item("c")]
    settlements = judged(
        items, Unanswered("503"), fails=fails_before, others_succeeded=others_succeeded, others_wait=others_wait
    )
    groups = parked(settlements)
    assert all(doubt is Doubt.UNANSWERED for *_, doubt in groups)
    if splits:
        assert [(files, fails, suspect) for files, fails, suspect, _ in groups] == [
            (["a", "b"], 0, True),
            (["c"], 0, True),
        ]
    else:
        assert [(fails, suspect) for _, fails, suspect, _ in groups] == [(fails_before + 1, False)]
    assert not settlements.ended


def test_a_single_id_without_other_work_becomes_a_suspect_too() -> None:
    """Else it would be sent for ever where it is the only work there is."""
    settlements = judged([item("a")], Unanswered("500"), fails=ISOLATE_ALONE_AFTER - 1, others_wait=False)
    assert parked(settlements) == [(["a"], 0, True, Doubt.UNANSWERED)]


@pytest.mark.parametrize(
    ("fails", "others_succeeded", "fails_after"),
    [(0, False, 1), (0, True, 1), (3, True, 4), (3, False, 3), (100, False, 100)],
)
def test_a_lone_suspect_spends_attempts_only_while_others_succeed(
    fails: int, others_succeeded: bool, fails_after: int
) -> None:
    """An outage of any length fails no id."""
    settlements = judged([item("a")], Unanswered("500"), fails=fails, suspect=True, others_succeeded=others_succeeded)
    assert parked(settlements) == [(["a"], fails_after, True, Doubt.UNANSWERED)]


def test_a_lone_suspect_fails_at_its_last_attempt() -> None:
    """Out of attempts while others succeed: failed, with the reason and the number of calls."""
    settlements = judged([item("a")], Unanswered("500"), fails=7, suspect=True, others_succeeded=True)
    assert ended(settlements) == {"a": (Outcome.FAILED, 8, "every call with this id failed: 500")}


def test_even_with_one_attempt_only_evidence_fails_an_id() -> None:
    """With a single attempt allowed, a failure during an outage is still no id's fault."""
    asked = [item("a")]
    waiting = judged(asked, Unanswered("500"), suspect=True, max_attempts=1)
    assert not waiting.ended
    assert ended(judged(asked, Unanswered("500"), fails=1, suspect=True, max_attempts=1, others_succeeded=True))


def test_known_deletions_need_no_call() -> None:
    """A file that an earlier call deleted is deleted, and no attempt is spent."""
    assert ended(judge_known([item("a", doubt=Doubt.GONE)])) == {"a": (Outcome.DELETED, 0, "")}


@pytest.mark.parametrize(
    "answer",
    [
        PerFile(frozenset({"f0", "f1"}), {"f2": "locked"}),
        Missing(frozenset({"f3"})),
        Refused("no"),
        KeyRefused("no"),
        Throttled(),
        Unanswered("no"),
        Unanswered("no", sent=False),
    ],
    ids=lambda answer: type(answer).__name__,
)
@pytest.mark.parametrize("suspect", [False, True])
@pytest.mark.parametrize("fails", [0, 1, 2, 9])
@pytest.mark.parametrize("succeeded", [False, True])
def test_every_item_gets_exactly_one_settlement(answer: Answer, suspect: bool, fails: int, succeeded: bool) -> None:
    """Whatever the answer, each id that was sent ends, is retried, or is parked: once."""
    items = [item(f"f{number}") for number in range(5)]
    settlements = judged(items, answer, fails=fails, suspect=suspect, others_succeeded=succeeded, others_wait=False)
    places = [
        *ended(settlements),
        *retried(settlements),
        *(file for files, *_ in parked(settlements) for file in files),
    ]
    assert sorted(places) == sorted(one.file_id for one in items)


@pytest.mark.parametrize(
    ("suspect", "count", "fails", "needed"),
    [
        (True, 1, 0, False),
        (True, 1, 1, True),
        (True, 2, 1, False),
        (False, 1, 1, False),
        (False, 9, ISOLATE_ALONE_AFTER - 2, False),
        (False, 9, ISOLATE_ALONE_AFTER - 1, True),
        (True, 2, ISOLATE_ALONE_AFTER - 1, True),
    ],
)
def test_a_witness_is_needed_where_the_next_failure_counts(suspect: bool, count: int, fails: int, needed: bool) -> None:
    """For a lone suspect that failed before, and for a group that the next failure isolates."""
    items = [item(f"f{number}") for number in range(count)]
    assert needs_witness(Claim("t", items, fails, None, suspect), items) is needed


@pytest.mark.parametrize(
    ("suspect", "fails", "shows"),
    [(False, 0, True), (False, ISOLATE_AFTER - 1, True), (False, ISOLATE_AFTER, False), (True, 0, False)],
)
def test_calls_of_a_suspect_do_not_count_toward_health(suspect: bool, fails: int, shows: bool) -> None:
    """What fails by itself must not slow the account down."""
    assert shows_health(Claim("t", [item("a")], fails, None, suspect)) is shows
