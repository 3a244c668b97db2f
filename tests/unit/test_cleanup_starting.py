"""Starting runs, on a faked and on a real server: at most one for a due time, one at a time, and none while off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from config.settings import load_settings
from worker.cleanup.rules.file import parse_rules
from worker.cleanup.rules.rule import Rule
from worker.cleanup.runs.store import Runs, request_of, run_id_of
from worker.queue.operations import Queue
from worker.runtime.beat import LATE_SECONDS, start_due

RULE = parse_rules(b"[rules.drafts]\nevery = '1h'\npath = '/drafts/'\n").by_name["drafts"]


class Clockwork:
    """Runs on one server, with a clock of its own for beat."""

    def __init__(self, redis: Redis) -> None:
        settings = load_settings(rate_limits=())
        self.redis: Any = redis
        self.runs = Runs(Queue(redis, settings), settings)

    def due(self) -> datetime:
        """The latest due time of the hourly rule."""
        return RULE.schedule.last_until(datetime.fromtimestamp(self.runs.queue.now_ms() / 1000, UTC))

    def see(self, rule: Rule = RULE) -> None:
        """Let beat see a rule for the first time, some hours ago."""
        start_due(self.runs, [rule], "beat")
        self.redis.hset(
            self.runs.queue.keys.cleanup("rule", rule.name), "last_due", int(self.ago(5).timestamp() * 1000)
        )

    def ago(self, hours: int) -> datetime:
        """A due time before the latest."""
        return self.due() - timedelta(hours=hours)

    def end(self, run_id: str, outcome: str = "nothing") -> None:
        """End a run without anything."""
        run = self.runs.take(run_id)
        assert run is not None
        self.runs.end(run, outcome)


@pytest.fixture
def clock(redis_client: Redis) -> Clockwork:
    return Clockwork(redis_client)


def test_a_new_rule_begins_with_its_next_due_time(clock: Clockwork) -> None:
    """A rule that beat sees for the first time makes up for nothing."""
    assert start_due(clock.runs, [RULE], "beat") == []
    assert start_due(clock.runs, [RULE], "beat") == []
    assert clock.runs.rule_state("drafts").history == []


def test_a_due_time_starts_one_run_whoever_asks(clock: Clockwork) -> None:
    """Two beats, and one beat twice: one run."""
    clock.see()
    first, second = (start_due(clock.runs, [RULE], f"beat {number}") for number in (1, 2))
    assert first == [run_id_of("drafts", clock.due())]
    assert second == []
    assert clock.runs.rule_state("drafts").history == first


def test_missed_runs_are_made_up_for_once(clock: Clockwork) -> None:
    """However many due times passed while everything was down, one run makes up for them."""
    clock.see()
    (run_id,) = start_due(clock.runs, [RULE], "beat")
    clock.end(run_id)
    assert start_due(clock.runs, [RULE], "beat") == []
    assert clock.runs.rule_state("drafts").history == [run_id]


def test_missed_runs_are_skipped_where_the_rule_says_so(clock: Clockwork) -> None:
    """`missed = "skip"`: a run that would start too late is recorded as skipped."""
    rule = RULE.model_copy(update={"every": 86_400 * 365, "missed": "skip"})
    clock.see(rule)
    clock.redis.hset(clock.runs.queue.keys.cleanup("rule", "drafts"), "last_due", 1)
    assert start_due(clock.runs, [rule], "beat") == []
    (run_id,) = clock.runs.rule_state("drafts").history
    assert clock.runs.read(run_id)["outcome"] == "skipped"
    assert clock.runs.read(run_id)["why"] == "its time was missed"


@pytest.mark.parametrize(("late_ms", "verdict"), [(-2000, "started"), (2000, "missed")])
def test_how_late_a_run_may_start(clock: Clockwork, late_ms: int, verdict: str) -> None:
    """Up to five minutes late is in time."""
    clock.see()
    now = clock.runs.queue.now_ms()
    due = datetime.fromtimestamp((now - LATE_SECONDS * 1000 - late_ms) / 1000, UTC)
    clock.redis.hset(clock.runs.queue.keys.cleanup("rule", "drafts"), "last_due", 1)
    assert clock.runs.start(RULE, "drafts:x", "beat", due, LATE_SECONDS * 1000) == verdict


def test_a_rule_runs_once_at_a_time(clock: Clockwork) -> None:
    """While a run goes on, neither schedule nor hand starts another; the due time is not made up for."""
    clock.see()
    assert clock.runs.start(RULE, "drafts:hand:1", "me", None) == "started"
    assert clock.runs.start(RULE, "drafts:hand:2", "me", None) == "busy"
    assert start_due(clock.runs, [RULE], "beat") == []
    clock.end("drafts:hand:1")
    assert start_due(clock.runs, [RULE], "beat") == []
    assert clock.runs.start(RULE, "drafts:hand:3", "me", None) == "started"


def test_a_request_that_is_not_done_stops_the_next_run(clock: Clockwork) -> None:
    """While files of an earlier run wait (for approval, in the undo window), the rule does not ask for them again."""
    clock.see()
    keys = clock.runs.queue.keys
    clock.redis.hset(keys.cleanup("rule", "drafts"), "request", "r1")
    clock.redis.hset(keys.request("r1"), "state", "QUEUED")
    assert start_due(clock.runs, [RULE], "beat") == []
    assert clock.runs.start(RULE, "drafts:hand:1", "me", None) == "undecided"
    clock.redis.hset(keys.request("r1"), "state", "SUCCESS")
    assert clock.runs.start(RULE, "drafts:hand:2", "me", None) == "started"


def test_the_same_reason_is_recorded_once(clock: Clockwork) -> None:
    """What is skipped again and again for one reason does not push the real runs out of the history."""
    clock.see()
    clock.runs.switch(on=False, by="boss")
    for hours in (4, 3, 2):
        assert clock.runs.start(RULE, f"drafts:{hours}", "beat", clock.ago(hours)) == "off"
    assert clock.runs.rule_state("drafts").history == ["drafts:4"]


def test_while_cleanup_is_off_nothing_starts(clock: Clockwork) -> None:
    """What was due while off is skipped, and not made up for after `on`."""
    clock.see()
    clock.runs.switch(on=False, by="boss")
    assert start_due(clock.runs, [RULE], "beat") == []
    assert clock.runs.start(RULE, "drafts:hand:1", "me", None) == "off"
    assert clock.runs.off_since() is not None
    clock.runs.switch(on=True, by="boss")
    assert clock.runs.off_since() is None
    assert start_due(clock.runs, [RULE], "beat") == []


@pytest.mark.parametrize(
    "change",
    [
        {"cron": "0 * * * *", "every": None},
        {"enabled": False},
    ],
)
def test_a_changed_schedule_begins_anew(clock: Clockwork, change: dict[str, object]) -> None:
    """A new schedule, or a rule that was disabled and enabled again, makes up for nothing."""
    clock.see()
    assert start_due(clock.runs, [RULE.model_copy(update=change)], "beat") == []
    assert start_due(clock.runs, [RULE], "beat") == []
    assert start_due(clock.runs, [RULE], "beat") == []


def test_a_disabled_rule_is_never_due(clock: Clockwork) -> None:
    """Disabled, it starts nothing by schedule."""
    rule = RULE.model_copy(update={"enabled": False})
    clock.see(rule)
    assert start_due(clock.runs, [rule], "beat") == []


def test_a_run_is_handed_out_once_in_a_while(clock: Clockwork) -> None:
    """However many look after runs, a worker is sent once in some seconds, and again when it died."""
    clock.runs.start(RULE, "drafts:hand:1", "me", None)
    assert clock.runs.due() == ["drafts:hand:1"]
    assert clock.runs.due() == []
    clock.redis.zadd(clock.runs.queue.keys("cleanup:runs"), {"drafts:hand:1": 1})
    assert clock.runs.due() == ["drafts:hand:1"]
    assert clock.runs.take("drafts:hand:1") is not None
    assert clock.runs.due() == []


def test_run_ids_are_request_ids() -> None:
    """The id of a run's request keeps to the rule for request ids, with the longest rule name."""
    from worker.queue.validation import check_request_id  # noqa: PLC0415

    run_id = run_id_of("x" * 40, datetime(2026, 1, 1, tzinfo=UTC))
    assert check_request_id(request_of(run_id)) == "cleanup:" + "x" * 40 + ":20260101T000000Z"
