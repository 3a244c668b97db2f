"""Two tallies of the same run, ours and the simulator's, side by side.

Ours comes from the outcomes of all files, and from the line that workers log for each call. The simulator's comes from
its own ledger, which knows nothing of ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from simulator import Simulator
from tasks.client import Client
from worker.states import Outcome

_API_LOGGER = "kitsweep.imagekit"


@dataclass(frozen=True)
class Tally:
    """What one side counted."""

    deleted: frozenset[str]
    not_found: frozenset[str]
    failed: frozenset[str]
    calls: int
    ids_sent: int
    throttled: int
    """Calls answered 429."""
    other: frozenset[str] = field(default_factory=frozenset)
    """File ids that ended in any other way."""

    @property
    def figures(self) -> dict[str, str]:
        """The figures by name, as they are shown."""
        per_call = self.ids_sent / self.calls if self.calls else 0.0
        return {
            "deleted": f"{len(self.deleted):,}",
            "not found": f"{len(self.not_found):,}",
            "failed": f"{len(self.failed):,}",
            "calls made": f"{self.calls:,}",
            "ids per call": f"{per_call:.1f}",
            "answered 429": f"{self.throttled:,}",
        }


def our_tally(client: Client, request_id: str, worker_logs: Iterable[Path]) -> Tally:
    """Return what Kitsweep counted."""
    ended: dict[Outcome, set[str]] = {outcome: set() for outcome in Outcome}
    for each in client.outcomes(request_id):
        ended[Outcome(each.outcome)].add(each.file_id)
    calls = [call for log in worker_logs for call in _logged_calls(log)]
    return Tally(
        deleted=frozenset(ended[Outcome.DELETED]),
        not_found=frozenset(ended[Outcome.NOT_FOUND]),
        failed=frozenset(ended[Outcome.FAILED]),
        calls=len(calls),
        ids_sent=sum(ids for ids, _ in calls),
        throttled=sum(status == 429 for _, status in calls),
        other=frozenset(ended[Outcome.PRESUMED_DELETED] | ended[Outcome.CANCELLED]),
    )


def simulator_tally(simulator: Simulator) -> Tally:
    """Return what the simulator's ledger counted."""
    calls = simulator.calls("bulk_delete")
    sent = frozenset(file_id for call in calls for file_id in call.ids)
    deleted = frozenset(simulator.deleted())
    still_there = frozenset(simulator.existing(sent))
    return Tally(
        deleted=deleted,
        not_found=sent - deleted - still_there,
        failed=still_there,
        calls=len(calls),
        ids_sent=sum(call.id_count for call in calls),
        throttled=sum(call.status == 429 for call in calls),
    )


def differences(ours: Tally, theirs: Tally) -> list[str]:
    """Return where the tallies differ, file by file; empty if they agree."""
    names = ("deleted", "not_found", "failed", "other")
    found = [
        f"{len(apart)} files are {name} for one side only, such as {min(apart)}"
        for name in names
        if (apart := getattr(ours, name) ^ getattr(theirs, name))
    ]
    shown = zip(ours.figures.items(), theirs.figures.values(), strict=True)
    return found + [f"{name}: {our} against {their}" for (name, our), their in shown if our != their]


def table(ours: Tally, theirs: Tally) -> Iterator[str]:
    """Yield the lines of a table of both."""
    yield f"{'':14}{'Kitsweep':>12}{'simulator':>12}"
    for (name, our), their in zip(ours.figures.items(), theirs.figures.values(), strict=True):
        yield f"{name:14}{our:>12}{their:>12}   {'agree' if our == their else 'DIFFER'}"


def _logged_calls(log: Path) -> Iterator[tuple[int, int | None]]:
    """Yield the number of ids and the status of each call in a worker's log, which has one JSON object a line."""
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if not line.startswith("{"):
                continue
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if event.get("logger") == _API_LOGGER and "ids" in event:
                yield int(event["ids"]), event.get("status")
