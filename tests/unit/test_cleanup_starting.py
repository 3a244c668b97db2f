"""Starting runs: at most one for each due time, one at a time for each rule, and none while cleanup is off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from config.settings import load_settings
from worker.cleanup.rules.file import parse_rules
from worker.cleanup.rules.rule import Rule
from worker.cleanup.runs.store import RunStore, request_of, run_id_of
from worker.queue.operations import Queue
from worker.runtime.beat import LATE_SECONDS, start_due
from worker.states import RunOutcome, RunStart

RULE = parse_rules(b"[rules.drafts]\nevery = '1h'\npath = '/drafts/'\n").by_name["drafts"]


class Clockwork:
    """Runs on one server, and the times at which a rule is due."""

    def __init__(self, redis: Redis) -> None:
        settings = load_settings(rate_limits=())
        self.redis: Any = redis
        self.runs = RunStore(Queue(redis, settings), settings)

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

    def end(self, run_id: str) -> None:
        """End a run that found no files."""
        run = self.runs.take(run_id)
        assert run is not None
        self.runs.end(run, RunOutcome.NOTHING)


@pytest.fixture
def clock(redis_client: Redis) -> Clockwork:
    return Clockwork(redis_client)


def test_a_new_rule_starts_with_its_next_due_time(clock: Clockwork) -> None:
    """Due times before beat first saw the rule are not made up for."""
    assert start_due(clock.runs, [RULE], "beat") == []
    assert start_due(clock.runs, [RULE], "beat") == []
    assert clock.runs.rule_state("drafts").history == []


def test_a_due_time_starts_one_run(clock: Clockwork) -> None:
    """Two beats start it once."""
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


def test_missed_runs_are_skipped_if_the_rule_says_so(clock: Clockwork) -> None:
    """With `missed = "skip"`, a run that would start too late is recorded as skipped."""
    rule = RULE.model_copy(update={"every": 86_400 * 365, "missed": "skip"})
    clock.see(rule)
    clock.redis.hset(clock.runs.queue.keys.cleanup("rule", "drafts"), "last_due", 1)
    assert start_due(clock.runs, [rule], "beat") == []
    (run_id,) = clock.runs.rule_state("drafts").history
    assert clock.runs.read(run_id)["outcome"] == "skipped"
    assert clock.runs.read(run_id)["why"] == "its time was missed"


@pytest.mark.parametrize(("late_ms", "start"), [(-2000, RunStart.STARTED), (2000, RunStart.MISSED)])
def test_how_late_a_run_may_start(clock: Clockwork, late_ms: int, start: RunStart) -> None:
    """A run up to five minutes late is not missed."""
    clock.see()
    now = clock.runs.queue.now_ms()
    due = datetime.fromtimestamp((now - LATE_SECONDS * 1000 - late_ms) / 1000, UTC)
    clock.redis.hset(clock.runs.queue.keys.cleanup("rule", "drafts"), "last_due", 1)
    assert clock.runs.start(RULE, "drafts:x", "beat", due, LATE_SECONDS * 1000) is start


def test_a_rule_runs_once_at_a_time(clock: Clockwork) -> None:
    """While a run is in progress no other starts, by schedule or by hand; its due time is not made up for."""
    clock.see()
    assert clock.runs.start(RULE, "drafts:hand:1", "me", None) is RunStart.STARTED
    assert clock.runs.start(RULE, "drafts:hand:2", "me", None) is RunStart.BUSY
    assert start_due(clock.runs, [RULE], "beat") == []
    clock.end("drafts:hand:1")
    assert start_due(clock.runs, [RULE], "beat") == []
    assert clock.runs.start(RULE, "drafts:hand:3", "me", None) is RunStart.STARTED


def test_an_unfinished_request_prevents_the_next_run(clock: Clockwork) -> None:
    """While files of an earlier run wait for approval or in the undo window, they are not requested again."""
    clock.see()
    keys = clock.runs.queue.keys
    clock.redis.hset(keys.cleanup("rule", "drafts"), "request", "r1")
    clock.redis.hset(keys.request("r1"), "state", "QUEUED")
    assert start_due(clock.runs, [RULE], "beat") == []
    assert clock.runs.start(RULE, "drafts:hand:1", "me", None) is RunStart.UNDECIDED
    clock.redis.hset(keys.request("r1"), "state", "SUCCESS")
    assert clock.runs.start(RULE, "drafts:hand:2", "me", None) is RunStart.STARTED


def test_the_same_reason_to_skip_is_recorded_once(clock: Clockwork) -> None:
    """Runs skipped repeatedly for one reason do not push other runs out of the history."""
    clock.see()
    clock.runs.switch(on=False, by="boss")
    for hours in (4, 3, 2):
        assert clock.runs.start(RULE, f"drafts:{hours}", "beat", clock.ago(hours)) is RunStart.OFF
    assert clock.runs.rule_state("drafts").history == ["drafts:4"]


def test_while_cleanup_is_off_nothing_starts(clock: Clockwork) -> None:
    """Runs due while cleanup is off are skipped, and not made up for after `on`."""
    clock.see()
    clock.runs.switch(on=False, by="boss")
    assert start_due(clock.runs, [RULE], "beat") == []
    assert clock.runs.start(RULE, "drafts:hand:1", "me", None) is RunStart.OFF
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
def test_a_changed_schedule_starts_with_its_next_due_time(clock: Clockwork, change: dict[str, object]) -> None:
    """A new schedule, or a rule disabled and enabled again, makes up for no earlier due time."""
    clock.see()
    assert start_due(clock.runs, [RULE.model_copy(update=change)], "beat") == []
    assert start_due(clock.runs, [RULE], "beat") == []
    assert start_due(clock.runs, [RULE], "beat") == []


def test_a_disabled_rule_is_never_due(clock: Clockwork) -> None:
    """The schedule starts no run of it."""
    rule = RULE.model_copy(update={"enabled": False})
    clock.see(rule)
    assert start_due(clock.runs, [rule], "beat") == []


def test_a_run_is_handed_out_at_intervals(clock: Clockwork) -> None:
    """However many processes ask, a run is handed out once in some seconds, and again if its worker died."""
    clock.runs.start(RULE, "drafts:hand:1", "me", None)
    assert clock.runs.next_due() == "drafts:hand:1"
    assert clock.runs.next_due() is None
    clock.redis.zadd(clock.runs.queue.keys("cleanup:runs"), {"drafts:hand:1": 1})
    assert clock.runs.next_due() == "drafts:hand:1"
    assert clock.runs.take("drafts:hand:1") is not None
    assert clock.runs.next_due() is None


def test_run_ids_are_request_ids() -> None:
    """The request id of a run is valid even with the longest rule name."""
    from worker.queue.validation import check_request_id  # noqa: PLC0415

    run_id = run_id_of("x" * 40, datetime(2026, 1, 1, tzinfo=UTC))
    assert check_request_id(request_of(run_id)) == "cleanup:" + "x" * 40 + ":20260101T000000Z"
