"""The sentence of the overview, and why a request waits: each cause has its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import Any, cast

import pytest

from tasks.figures import Memory
from tasks.search import History
from web.dashboard.diagnosis import Level, diagnose
from web.dashboard.sampler import Look, Sample
from web.dashboard.waiting import why_waiting
from worker.reports.reader import queued_report
from worker.reports.stats import PauseStats, Stats, WindowStats

NOW = "2026-11-24T03:00:00.000+00:00"
SINCE, UNTIL = "2026-11-24T02:50:00.000+00:00", "2026-11-24T03:00:08.000+00:00"
HISTORY = History(
    by="token shop",
    hold_until=None,
    guard=None,
    decided_by=None,
    decided_at=None,
    is_approved=False,
    cancelled_by=None,
    cancelled_at=None,
    first_ended_at=None,
    retrying=0,
    next_retry_at=None,
)


def stats(**changes: Any) -> Stats:
    """Figures of an account with a worker and nothing to do."""
    nothing = dict.fromkeys(
        ("unaccepted", "waiting", "in_flight", "due_retries", "held", "unapproved", "unpublished"), 0
    )
    more = {"parked": 0, "webhooks_waiting": 0, "webhooks_failed": 0, "sources": {}, "ended": {}, "windows": []}
    known = {**nothing, **more, "margin_ms": 8.0, "pause": None, "workers": ["w0"], "now": NOW, **changes}
    return cast("Stats", known)


def look(figures: Stats | None, rate: float | None = None, **changes: Any) -> Look:
    memory = changes.pop("memory", None)
    sample = Sample(0.0, figures, "" if figures else "cannot reach Redis at db:6379/0: refused", memory=memory)
    known: dict[str, Any] = {"rates": None if rate is None else {"deleted": rate}, "steps": [], "error_seconds": 0.0}
    return Look(sample, **{**known, "still_seconds": 0.0, "calls": 0, "throttled": 0, **changes})


def pause(by: str, **changes: Any) -> PauseStats:
    return PauseStats(**{"by": by, "reason": "", "until": UNTIL, "since": SINCE, "who": None, **changes})  # type: ignore[typeddict-item]


WINDOW = WindowStats(limit=5, interval_ms=1000, calls=5)
CAUSES = [
    (look(stats()), Level.IDLE, "All is well: nothing waits."),
    (look(stats(waiting=900, windows=[WINDOW]), 480), Level.GOOD, "Deleting 480 files a second, as fast as the limit"),
    (look(stats(waiting=900, windows=[{**WINDOW, "calls": 2}]), 480), Level.GOOD, "480 files a second. No limit is"),
    (
        look(stats(pause=pause("operator", who="token ann", reason="wrong list?"))),
        Level.BAD,
        "Paused by token ann since",
    ),
    (look(stats(pause=pause("throttled"))), Level.WAIT, "ImageKit throttles us until 03:00:08, in 8\xa0s."),
    (look(stats(pause=pause("trouble"))), Level.BAD, "ImageKit is failing since 02:50:00 (10\xa0min)."),
    (look(stats(pause=pause("key_refused"))), Level.BAD, "ImageKit refuses the private key since 02:50:00"),
    (look(stats(waiting=3, workers=[])), Level.BAD, "No worker is running, and 3\xa0files wait."),
    (look(None, error_seconds=12.0), Level.BAD, "Redis has not answered for 12\xa0s."),
    (look(stats(), memory=Memory(95, 100)), Level.BAD, "Redis is 95% full"),
    (look(stats(waiting=3), still_seconds=40.0), Level.WAIT, "3\xa0files wait, but none has been deleted for 40\xa0s."),
    (look(stats(waiting=3, due_retries=3), still_seconds=40.0), Level.WAIT, "3\xa0files failed and will be retried"),
    (look(stats(waiting=3, held=3, unapproved=1)), Level.WAIT, "1\xa0request waits for approval; nothing else waits."),
    (look(stats(waiting=3, held=3)), Level.IDLE, "Idle: all 3\xa0waiting files are inside their undo window."),
]


@pytest.mark.parametrize(("seen", "level", "told"), CAUSES, ids=[told for _, _, told in CAUSES])
def test_the_sentence_names_the_cause(seen: Look, level: Level, told: str) -> None:
    found = diagnose(seen)
    assert (found.level, told in found.sentence) == (level, True), found


def test_an_operators_pause_goes_before_what_it_hides() -> None:
    """Without a worker as well: who paused can say why."""
    assert "Paused" in diagnose(look(stats(pause=pause("operator"), workers=[]))).sentence


SHOP = {"waiting": 100, "in_flight": 0, "due_retries": 0, "held": 0}
REASONS = [
    (look(stats(sources={"shop": SHOP}), 50), {}, "It takes its turn. Done in about 2\xa0s at 50 files a second."),
    (
        look(stats(sources={"shop": {**SHOP, "waiting": 300}, "b": SHOP})),
        {},
        "behind up to 200\xa0files of its source, ",
    ),
    (look(stats(sources={"shop": {**SHOP, "waiting": 300}, "b": SHOP})), {}, "takes turns with 1\xa0other source"),
    (look(stats()), {"hold_until": UNTIL}, "inside its undo window, and starts at 03:00:08, in 8\xa0s."),
    (look(stats()), {"guard": "9 files are more than max_files = 5"}, "It waits for approval: 9 files are more"),
    (look(stats(pause=pause("operator", who="token ann"))), {}, "All calls are paused by token ann"),
    (look(stats(pause=pause("throttled"))), {}, "ImageKit throttles us until 03:00:08"),
    (look(stats(workers=[])), {}, "No worker is running"),
    (look(stats()), {"retrying": 100, "next_retry_at": UNTIL}, "will be tried again, the next in 8\xa0s."),
    (look(None), {}, "cannot reach Redis"),
]


@pytest.mark.parametrize(("seen", "history", "told"), REASONS, ids=[told for _, _, told in REASONS])
def test_a_request_says_why_it_waits(seen: Look, history: dict[str, Any], told: str) -> None:
    report = queued_report("r", "shop", None, 100, 0, None)
    assert told in why_waiting(report, replace(HISTORY, **history), seen, UTC)
