"""When a rule is due. A schedule is a pure function of time, so that any number of beats agree on each due time.

Cron expressions are those of Debian's cron, read by `cronsim`: a run at a fixed time of day happens once a day, also
when the clocks change; a time that the spring change skips is due right after the gap. `every` counts from
1970-01-01 00:00 UTC, so `6h` is due at 0, 6, 12 and 18 o'clock UTC.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from worker.times import write_duration

MIN_EVERY_SECONDS = 60


def check_cron(expression: str) -> str:
    """Return a valid cron expression that is due at some time; `ValueError` for any other."""
    if len(expression.split()) != 5:
        raise ValueError("must be a cron expression of five fields: minute hour day-of-month month day-of-week")
    try:
        next(CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise ValueError(f"is not a valid cron expression ({error})") from None
    except StopIteration:
        raise ValueError("is a cron expression that is never due") from None
    return expression


def find_zone(name: str) -> ZoneInfo:
    """Return a time zone by its name in the time zone database; `ValueError` if there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f'must be a time zone such as "Europe/Berlin", not {name[:60]!a}') from None


@dataclass(frozen=True, slots=True)
class Cron:
    """Due when the clocks of a time zone show what a checked cron expression says."""

    expression: str
    time_zone: str

    def next_after(self, moment: datetime) -> datetime:
        """Return the first due time after `moment`, in UTC."""
        return next(CronSim(self.expression, moment.astimezone(find_zone(self.time_zone)))).astimezone(UTC)

    def last_until(self, moment: datetime) -> datetime:
        """Return the latest due time that is not after `moment`, in UTC."""
        # Step back in growing spans, then forward: backwards, cronsim differs where clocks change.
        span = timedelta(hours=1)
        while True:
            due = self.next_after(moment - span)
            if due <= moment:
                break
            span *= 8
        while (later := self.next_after(due)) <= moment:
            due = later
        return due

    def __str__(self) -> str:
        """Describe the schedule in one line."""
        return f"{self.expression} {self.time_zone}"


@dataclass(frozen=True, slots=True)
class Every:
    """Due at each multiple of `seconds` since 1970."""

    seconds: int

    def next_after(self, moment: datetime) -> datetime:
        """Return the first due time after `moment`, in UTC."""
        return self._numbered(int(moment.timestamp() // self.seconds) + 1)

    def last_until(self, moment: datetime) -> datetime:
        """Return the latest due time that is not after `moment`, in UTC."""
        return self._numbered(int(moment.timestamp() // self.seconds))

    def _numbered(self, number: int) -> datetime:
        return datetime.fromtimestamp(number * self.seconds, UTC)

    def __str__(self) -> str:
        """Describe the schedule in one line."""
        return f"every {write_duration(self.seconds)}"


Schedule = Cron | Every
