"""The figures that `make run` compares."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from worker.states import Outcome


def figures(outcomes: Mapping[str, str], calls: Sequence[tuple[int, int | None]]) -> dict[str, str]:
    """Return the figures of the table: file id → outcome, and number of ids and status of each call."""
    count = Counter(outcomes.values())
    taken = [ids for ids, status in calls if status != 429]  # a call over the limit is answered before its ids are read
    return {
        "deleted": f"{count[Outcome.DELETED]:,}",
        "not found": f"{count[Outcome.NOT_FOUND]:,}",
        "failed": f"{count[Outcome.FAILED]:,}",
        "calls made": f"{len(calls):,}",
        "ids per call": f"{sum(taken) / max(1, len(taken)):.1f}",
        "answered 429": f"{sum(status == 429 for _, status in calls):,}",
    }


def logged_calls(log: Path) -> Iterator[tuple[int, int | None]]:
    """Yield the number of ids and the status of each call in a worker's log, which has one JSON object per line."""
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        event = json.loads(line) if line.startswith("{") and line.endswith("}") else {}
        if event.get("logger") == "kitsweep.imagekit" and "ids" in event:
            yield int(event["ids"]), event.get("status")
