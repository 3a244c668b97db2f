"""When a rule is due. A schedule is a pure function of time, so that any number of beats agree on each due time.

Cron expressions are those of Debian's cron, read by `cronsim`: a run at a fixed time of day happens once on each day,
also when the clocks change; one that the spring change leaps over happens right after the gap. `every` counts from
1970-01-01 00:00 UTC, so `6h` is due at 0, 6, 12 and 18 o'clock UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from worker.times import write_duration

LEAST_EVERY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Cron:
    """Due when the clocks of a time zone show what a cron expression of five fields says."""

    expression: str
    time_zone: str

    def __post_init__(self) -> None:
        """Refuse what cannot be read, or is never due: `ValueError`."""
        self._zone()
        if len(self.expression.split()) != 5:
            raise ValueError("a cron expression has five fields: minute hour day-of-month month day-of-week")
        try:
            next(CronSim(self.expression, datetime(2026, 1, 1, tzinfo=UTC)))
        except CronSimError as error:
            raise ValueError(f"this cron expression cannot be read ({error})") from None
        except StopIteration:
            raise ValueError("this cron expression is never due") from None

    def _zone(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f'unknown time zone {self.time_zone[:60]!a}; write one such as "Europe/Berlin"') from None

    def next_after(self, moment: datetime) -> datetime:
        """Return the first due time after `moment`, in UTC."""
        return next(CronSim(self.expression, moment.astimezone(self._zone()))).astimezone(UTC)

    def last_until(self, moment: datetime) -> datetime:
        """Return the latest due time that is not after `moment`, in UTC."""
        # Steps of growing length back, then forward: cronsim's way back differs from its way forth where clocks change.
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
        """Show the schedule as people read it."""
        return f"{self.expression} {self.time_zone}"


@dataclass(frozen=True, slots=True)
class Every:
    """Due each time that so many seconds since 1970 have passed."""

    seconds: int

    def __post_init__(self) -> None:
        """Refuse what is shorter than a minute: `ValueError`."""
        if self.seconds < LEAST_EVERY_SECONDS:
            raise ValueError(f"must be at least {LEAST_EVERY_SECONDS} seconds")

    def next_after(self, moment: datetime) -> datetime:
        """Return the first due time after `moment`, in UTC."""
        return self._numbered(int(moment.timestamp() // self.seconds) + 1)

    def last_until(self, moment: datetime) -> datetime:
        """Return the latest due time that is not after `moment`, in UTC."""
        return self._numbered(int(moment.timestamp() // self.seconds))

    def _numbered(self, number: int) -> datetime:
        return datetime.fromtimestamp(number * self.seconds, UTC)

    def __str__(self) -> str:
        """Show the schedule as people read it."""
        return f"every {write_duration(self.seconds)}"


Schedule = Cron | Every
