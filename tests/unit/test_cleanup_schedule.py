"""When rules are due: in any time zone, on days when the clocks change, and the same for any number of beats."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cleanup.rules.schedule import Cron, Every, Schedule
from worker.times import parse_duration, write_duration


def at(text: str) -> datetime:
    """A moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "zone", "after", "due"),
    [
        ("0 3 * * *", "UTC", "2026-05-01T02:59:59", "2026-05-01T03:00:00"),
        ("0 3 * * *", "Europe/Berlin", "2026-07-01T00:00:00", "2026-07-01T01:00:00"),
        ("0 3 * * *", "Europe/Berlin", "2026-12-01T00:00:00", "2026-12-01T02:00:00"),
        ("0 3 * * *", "Asia/Kolkata", "2026-12-01T00:00:00", "2026-12-01T21:30:00"),
        ("30 6 * * MON", "America/New_York", "2026-11-23T00:00:00", "2026-11-23T11:30:00"),
        ("0 0 L * *", "UTC", "2026-02-01T00:00:00", "2026-02-28T00:00:00"),
    ],
)
def test_a_cron_expression_applies_in_its_time_zone(cron: str, zone: str, after: str, due: str) -> None:
    """The time zone of the rule counts, not that of the machine."""
    assert Cron(cron, zone).next_after(at(after)) == at(due)


@pytest.mark.parametrize(
    ("after", "first", "second"),
    [
        ("2026-03-28T12:00:00", "2026-03-29T01:00:00", "2026-03-30T00:30:00"),
        ("2026-10-24T12:00:00", "2026-10-25T00:30:00", "2026-10-26T01:30:00"),
    ],
    ids=["skipped in spring: due right after the gap", "repeated in autumn: due at the first"],
)
def test_a_fixed_time_is_due_once_a_day_when_the_clocks_change(after: str, first: str, second: str) -> None:
    """Berlin has no 2:30 on 29 March 2026, and two on 25 October."""
    schedule = Cron("30 2 * * *", "Europe/Berlin")
    assert schedule.next_after(at(after)) == at(first)
    assert schedule.next_after(at(first)) == at(second)


def test_an_hourly_rule_is_due_every_hour() -> None:
    """When the clocks change, no run is dropped or doubled."""
    rule, moment, dues = Cron("0 * * * *", "Europe/Berlin"), at("2026-10-24T22:00:00"), []
    for _ in range(6):
        moment = rule.next_after(moment)
        dues.append(moment.hour)
    assert dues == [23, 0, 1, 2, 3, 4]


def test_every_counts_from_1970() -> None:
    """`6h` is due at 0, 6, 12 and 18 o'clock UTC, whenever beat started."""
    rule = Every(6 * 3600)
    assert rule.next_after(at("2026-03-29T05:59:59")) == at("2026-03-29T06:00:00")
    assert rule.last_until(at("2026-03-29T05:59:59")) == at("2026-03-29T00:00:00")
    assert rule.last_until(at("2026-03-29T06:00:00")) == at("2026-03-29T06:00:00")


_CRONS = [
    "* * * * *",
    "*/7 * * * *",
    "0 3 * * *",
    "30 2 * * *",
    "15 0 1 * *",
    "0 0 29 2 *",
    "5 4 * * SUN",
    "30 */2 * * *",
]
_ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"]
_SCHEDULES: st.SearchStrategy[Schedule] = st.one_of(
    st.builds(Cron, st.sampled_from(_CRONS), st.sampled_from(_ZONES)), st.builds(Every, st.integers(60, 10**6))
)
_MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001 - hypothesis wants them naive


@given(schedule=_SCHEDULES, moment=_MOMENTS)
def test_the_last_due_time_is_the_one_before_the_next(schedule: Schedule, moment: datetime) -> None:
    """The due times are the same at every moment, with none between the last and the next."""
    moment = moment.replace(microsecond=0)
    last, following = schedule.last_until(moment), schedule.next_after(moment)
    assert last <= moment < following
    assert schedule.next_after(last) == following
    assert schedule.last_until(following - timedelta(seconds=1)) == last


@given(st.integers(0, 10**8))
def test_written_durations_can_be_read_again(seconds: int) -> None:
    """Writing and parsing a duration agree."""
    assert parse_duration(write_duration(seconds)) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "30 days", "1y", "-1d", "1.5h", 30, None, "9999999999d", "99999999w", "30D"]
)
def test_an_invalid_duration_is_refused(text: object) -> None:
    """It must be a number with one unit, and at most 100 years."""
    with pytest.raises(ValueError, match="must be"):
        parse_duration(text)
