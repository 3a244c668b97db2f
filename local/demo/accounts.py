"""Two accounts of the same run, ours and the simulator's, side by side.

Ours comes from the outcomes of all files, and from what the workers logged of each call. The simulator's comes from
its own ledger, which knows nothing of ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from simulator import Control
from tasks.client import Client
from worker.states import Outcome

_API_LOGGER = "kitsweep.imagekit"


@dataclass(frozen=True)
class Account:
    """What one side says came of a run."""

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
        """What can be counted, by name, as it is shown."""
        per_call = self.ids_sent / self.calls if self.calls else 0.0
        return {
            "deleted": f"{len(self.deleted):,}",
            "not found": f"{len(self.not_found):,}",
            "failed": f"{len(self.failed):,}",
            "calls made": f"{self.calls:,}",
            "ids per call": f"{per_call:.1f}",
            "answered 429": f"{self.throttled:,}",
        }


def our_account(client: Client, request_id: str, worker_logs: Iterable[Path]) -> Account:
    """Read what Kitsweep says."""
    ended: dict[Outcome, set[str]] = {outcome: set() for outcome in Outcome}
    for each in client.outcomes(request_id):
        ended[Outcome(each.outcome)].add(each.file_id)
    calls = [call for log in worker_logs for call in _logged_calls(log)]
    return Account(
        deleted=frozenset(ended[Outcome.DELETED]),
        not_found=frozenset(ended[Outcome.NOT_FOUND]),
        failed=frozenset(ended[Outcome.FAILED]),
        calls=len(calls),
        ids_sent=sum(ids for ids, _ in calls),
        throttled=sum(status == 429 for _, status in calls),
        other=frozenset(ended[Outcome.PRESUMED_DELETED] | ended[Outcome.CANCELLED]),
    )


def simulator_account(control: Control) -> Account:
    """Read what the simulator's ledger says."""
    calls = control.calls("bulk_delete")
    sent = frozenset(file_id for call in calls for file_id in call.ids)
    deleted = frozenset(control.deleted())
    still_there = frozenset(control.existing(sent))
    return Account(
        deleted=deleted,
        not_found=sent - deleted - still_there,
        failed=still_there,
        calls=len(calls),
        ids_sent=sum(call.id_count for call in calls),
        throttled=sum(call.status == 429 for call in calls),
    )


def differences(ours: Account, theirs: Account) -> list[str]:
    """Say where the accounts differ, file by file; empty when they agree."""
    names = ("deleted", "not_found", "failed", "other")
    found = [
        f"{len(apart)} files are {name} for one side only, such as {min(apart)}"
        for name in names
        if (apart := getattr(ours, name) ^ getattr(theirs, name))
    ]
    shown = zip(ours.figures.items(), theirs.figures.values(), strict=True)
    return found + [f"{name}: {our} against {their}" for (name, our), their in shown if our != their]


def table(ours: Account, theirs: Account) -> Iterator[str]:
    """Yield the lines of a table of both."""
    yield f"{'':14}{'Kitsweep':>12}{'simulator':>12}"
    for (name, our), their in zip(ours.figures.items(), theirs.figures.values(), strict=True):
        yield f"{name:14}{our:>12}{their:>12}   {'agree' if our == their else 'DIFFER'}"


def _logged_calls(log: Path) -> Iterator[tuple[int, int | None]]:
    """Yield ids and status of each call that a worker logged, as JSON, one event a line."""
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
