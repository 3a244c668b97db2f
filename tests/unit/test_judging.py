"""From an answer to what becomes of each item: one case for each ending of a call."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from worker.batch.judging import ISOLATE_AFTER, ISOLATE_ALONE_AFTER, Circumstances, judge, judge_known
from worker.imagekit.answers import Answer, KeyRefused, Listed, Missing, Refused, Throttled, Unanswered
from worker.queue.claims import Claim, Item, Verdict
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
) -> Verdict:
    sent = list(items)
    numbers = itertools.count(1)
    about = Circumstances(max_attempts, others_succeeded, others_wait)
    return judge(Claim("t", sent, fails, None, suspect), sent, answer, about, lambda: f"g{next(numbers)}")


def ended(verdict: Verdict) -> dict[str, tuple[str, int, str]]:
    """Return each ended file id's outcome, attempts and error."""
    return {file: (outcome, tries, error) for _, outcome, tries, error, files, _ in verdict.ended for file in files}


def retried(verdict: Verdict) -> dict[str, tuple[int, str]]:
    """Return each retried file id's attempts and doubt."""
    return {file: (attempts, doubt) for _, attempts, doubt, _, files in verdict.retried for file in files}


def parked(verdict: Verdict) -> list[tuple[list[str], int, bool, Doubt]]:
    """Return each parked group's file ids, fails, suspicion and doubt."""
    return [
        ([file for _, files in requests for file in files], fails, suspect == "1", Doubt(doubt))
        for _, _, fails, suspect, doubt, requests in verdict.parked
    ]


def test_listed_ids_are_deleted() -> None:
    """200: what the API lists is deleted, with the attempt counted."""
    verdict = judged([item("a"), item("b", attempts=2)], Listed(frozenset({"a", "b"}), {}))
    assert ended(verdict) == {"a": (Outcome.DELETED, 1, ""), "b": (Outcome.DELETED, 3, "")}
    assert not verdict.retried
    assert not verdict.parked


def test_an_id_that_was_sent_and_is_not_listed_is_retried() -> None:
    """It may have been deleted, so that a later 404 for it proves nothing."""
    verdict = judged([item("a"), item("b")], Listed(frozenset({"a"}), {}))
    assert retried(verdict) == {"b": (1, Doubt.UNANSWERED)}


def test_errors_of_a_207_are_retried_and_fail_with_their_reason_in_the_end() -> None:
    """An attempt is spent each time; at the last one the item fails with the API's own words."""
    answer = Listed(frozenset({"a"}), {"b": "locked", "c": "locked"})
    verdict = judged([item("a"), item("b"), item("c", attempts=NO_ATTEMPT_LEFT)], answer)
    assert retried(verdict) == {"b": (1, Doubt.UNANSWERED)}
    assert ended(verdict)["c"] == (Outcome.FAILED, 8, "locked")
    doubts = {file: doubt for *_, files, doubt in verdict.ended for file in files}
    assert doubts["c"] == Doubt.UNANSWERED


@pytest.mark.parametrize(
    ("doubt", "outcome"),
    [(Doubt.NONE, Outcome.NOT_FOUND), (Doubt.UNANSWERED, Outcome.PRESUMED_DELETED)],
)
def test_missing_ids_are_not_found_or_presumed_deleted(doubt: Doubt, outcome: Outcome) -> None:
    """404: a lost call of ours makes the difference; the rest goes back at once, no attempt spent."""
    verdict = judged([item("a", doubt=doubt), item("b"), item("c")], Missing(frozenset({"a"})), fails=1)
    assert ended(verdict) == {"a": (outcome, 1, "")}
    assert parked(verdict) == [(["b", "c"], 1, False, Doubt.NONE)]
    assert verdict.parked[0][1] == 0, "sent again at once"


def test_a_lone_refused_id_fails_with_the_reason() -> None:
    """400 for a single id: it is the culprit."""
    assert ended(judged([item("a")], Refused("invalid fileId"))) == {"a": (Outcome.FAILED, 1, "invalid fileId")}


@pytest.mark.parametrize(("count", "halves"), [(2, [1, 1]), (3, [2, 1]), (100, [50, 50])])
def test_a_refused_batch_is_split_in_halves(count: int, halves: list[int]) -> None:
    """400 for several: both halves stand by themselves, nothing is spent and nothing is in doubt."""
    verdict = judged([item(f"f{number}") for number in range(count)], Refused("invalid"))
    groups = parked(verdict)
    assert [len(files) for files, *_ in groups] == halves
    assert all((suspect, doubt) == (True, Doubt.NONE) for *_, suspect, doubt in groups)
    assert not verdict.ended


@pytest.mark.parametrize("answer", [KeyRefused("bad key"), Throttled(), Unanswered("no route", sent=False)])
@pytest.mark.parametrize("suspect", [False, True])
def test_what_is_nobodys_fault_snoozes_all(answer: Answer, suspect: bool) -> None:
    """401, 403, 429 and no connection: the group goes back as it was, with no doubt, attempt or failure added."""
    verdict = judged([item("a", attempts=5), item("b")], answer, fails=1, suspect=suspect, others_succeeded=True)
    assert parked(verdict) == [(["a", "b"], 1, suspect, Doubt.NONE)]
    assert not verdict.ended
    assert not verdict.retried


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
    verdict = judged(
        items, Unanswered("503"), fails=fails_before, others_succeeded=others_succeeded, others_wait=others_wait
    )
    groups = parked(verdict)
    assert all(doubt is Doubt.UNANSWERED for *_, doubt in groups)
    if splits:
        assert [(files, fails, suspect) for files, fails, suspect, _ in groups] == [
            (["a", "b"], 0, True),
            (["c"], 0, True),
        ]
    else:
        assert [(fails, suspect) for _, fails, suspect, _ in groups] == [(fails_before + 1, False)]
    assert not verdict.ended


def test_a_single_id_without_company_becomes_a_suspect_too() -> None:
    """Else it would be sent for ever where it is the only work there is."""
    verdict = judged([item("a")], Unanswered("500"), fails=ISOLATE_ALONE_AFTER - 1, others_wait=False)
    assert parked(verdict) == [(["a"], 0, True, Doubt.UNANSWERED)]


@pytest.mark.parametrize(
    ("fails", "others_succeeded", "fails_after"),
    [(0, False, 1), (0, True, 1), (3, True, 4), (3, False, 3), (100, False, 100)],
)
def test_a_lone_suspect_spends_attempts_only_while_others_succeed(
    fails: int, others_succeeded: bool, fails_after: int
) -> None:
    """An outage of any length fails no id."""
    verdict = judged([item("a")], Unanswered("500"), fails=fails, suspect=True, others_succeeded=others_succeeded)
    assert parked(verdict) == [(["a"], fails_after, True, Doubt.UNANSWERED)]


def test_a_lone_suspect_fails_at_its_last_attempt() -> None:
    """Out of attempts while others succeed: failed, with the reason and the number of calls."""
    verdict = judged([item("a")], Unanswered("500"), fails=7, suspect=True, others_succeeded=True)
    assert ended(verdict) == {"a": (Outcome.FAILED, 8, "every call with this id failed: 500")}


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
        Listed(frozenset({"f0", "f1"}), {"f2": "locked"}),
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
def test_every_item_gets_exactly_one_verdict(answer: Answer, suspect: bool, fails: int, succeeded: bool) -> None:
    """Whatever the answer, each id that was sent ends, is retried, or is parked: once."""
    items = [item(f"f{number}") for number in range(5)]
    verdict = judged(items, answer, fails=fails, suspect=suspect, others_succeeded=succeeded, others_wait=False)
    places = [*ended(verdict), *retried(verdict), *(file for files, *_ in parked(verdict) for file in files)]
    assert sorted(places) == sorted(one.file_id for one in items)
