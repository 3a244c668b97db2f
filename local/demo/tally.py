"""Two tallies of the same run, ours and the simulator's, side by side.

Ours comes from the outcomes of all files, and from the line that workers log for each call. The simulator's comes from
its own ledger, which knows nothing of ours.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from simulator import Simulator
from tasks.client import Client
from worker.states import Outcome

_API_LOGGER = "kitsweep.imagekit"


class Tally(NamedTuple):
    """What one side counted."""

    outcomes: dict[str, str]
    """File id → how it ended."""
    calls: list[tuple[int, int | None]]
    """Number of ids and HTTP status of each call."""

    @property
    def figures(self) -> dict[str, str]:
        """The figures by name, as they are shown."""
        count = Counter(self.outcomes.values())
        ids = sum(ids for ids, _ in self.calls)
        return {
            "deleted": f"{count[Outcome.DELETED]:,}",
            "not found": f"{count[Outcome.NOT_FOUND]:,}",
            "failed": f"{count[Outcome.FAILED]:,}",
            "calls made": f"{len(self.calls):,}",
            "ids per call": f"{ids / max(1, len(self.calls)):.1f}",
            "answered 429": f"{sum(status == 429 for _, status in self.calls):,}",
        }


def our_tally(client: Client, request_id: str, worker_logs: Iterable[Path]) -> Tally:
    """Return what Kitsweep counted."""
    outcomes = {each.file_id: str(each.outcome) for each in client.outcomes(request_id)}
    return Tally(outcomes, [call for log in worker_logs for call in _logged_calls(log)])


def simulator_tally(simulator: Simulator) -> Tally:
    """Return what the simulator's ledger counted."""
    calls = simulator.calls("bulk_delete")
    outcomes = {file_id: str(Outcome.NOT_FOUND) for call in calls for file_id in call.ids}
    outcomes |= dict.fromkeys(simulator.existing(outcomes), str(Outcome.FAILED))
    outcomes |= dict.fromkeys(simulator.deleted(), str(Outcome.DELETED))
    return Tally(outcomes, [(call.id_count, call.status) for call in calls])


def differences(ours: Tally, theirs: Tally) -> list[str]:
    """Return where the tallies differ, file by file; empty if they agree."""
    file_ids = ours.outcomes.keys() | theirs.outcomes.keys()
    pairs = {file_id: (ours.outcomes.get(file_id), theirs.outcomes.get(file_id)) for file_id in file_ids}
    apart = {file_id: pair for file_id, pair in pairs.items() if pair[0] != pair[1]}
    found = [f"{len(apart)} files ended differently, such as {min(apart)}: {apart[min(apart)]}"] if apart else []
    figures = zip(ours.figures.items(), theirs.figures.values(), strict=True)
    return found + [f"{name}: {our} against {their}" for (name, our), their in figures if our != their]


def table(ours: Tally, theirs: Tally) -> Iterator[str]:
    """Yield the lines of a table of both."""
    yield f"{'':14}{'Kitsweep':>12}{'simulator':>12}"
    for (name, our), their in zip(ours.figures.items(), theirs.figures.values(), strict=True):
        yield f"{name:14}{our:>12}{their:>12}   {'agree' if our == their else 'DIFFER'}"


def _logged_calls(log: Path) -> Iterator[tuple[int, int | None]]:
    """Yield the number of ids and the status of each call in a worker's log, which has one JSON object a line."""
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                event = json.loads(line) if line.startswith("{") else {}
            except ValueError:
                continue
            if event.get("logger") == _API_LOGGER and "ids" in event:
                yield int(event["ids"]), event.get("status")
