"""What a claim holds, and how its items go on: the plain data between queue, pipeline and judgement."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.states import Doubt, Outcome


class Item(NamedTuple):
    """One file id of one request, as a claim holds it."""

    request_id: str
    file_id: str
    attempts: int
    doubt: Doubt


@dataclass(frozen=True)
class Claim:
    """Up to 100 items taken for one call; `token` settles them, until the lease runs out."""

    token: str
    items: list[Item]
    fails: int = 0
    """How often this very group came back from a failed call."""
    failed_ago_ms: int | None = None
    """Milliseconds from its last failed call to the claim."""
    suspect: bool = False
    """Whether it is set apart, since one of its ids may be why its calls fail."""
    claimed_at: float = field(default_factory=time.monotonic, compare=False)

    def failed_ago(self) -> int | None:
        """Return the milliseconds from its last failed call to now; None if none has failed."""
        if self.failed_ago_ms is None:
            return None
        return self.failed_ago_ms + int((time.monotonic() - self.claimed_at) * 1000)


@dataclass
class Verdict:
    """How the items of a claim go on; see `lua/settle.lua` for the form in which it travels."""

    ended: list[tuple[str, str, int, str, list[str], str]] = field(default_factory=list)
    retried: list[tuple[str, int, str, int, list[str]]] = field(default_factory=list)
    parked: list[tuple[str, int, int, str, str, list[tuple[str, list[str]]]]] = field(default_factory=list)

    def end(
        self,
        items: Iterable[Item],
        outcome: Outcome,
        error: str = "",
        *,
        spent: int = 1,
        doubt: Doubt = Doubt.NONE,
    ) -> None:
        """Let items end with an outcome; `spent` attempts are added to those that each has behind it.

        `doubt` tells whoever asks for the same file later that this call may have deleted it.
        """
        for (request_id, attempts), ids in _grouped(items):
            self.ended.append((request_id, outcome.value, attempts + spent, error, ids, doubt.value))

    def retry(self, items: Iterable[Item], delay_ms: int, doubt: Doubt = Doubt.NONE) -> None:
        """Put items back one by one, an attempt spent, due after a delay."""
        for (request_id, attempts), ids in _grouped(items):
            self.retried.append((request_id, attempts + 1, doubt.value, delay_ms, ids))

    def park(
        self,
        token: str,
        items: Iterable[Item],
        *,
        delay_ms: int = 0,
        fails: int = 0,
        suspect: bool = False,
        doubt: Doubt = Doubt.NONE,
    ) -> None:
        """Put items back as one group under a new token, no attempt spent; it is claimed again as it stands."""
        by_request: dict[str, list[str]] = {}
        for item in items:
            by_request.setdefault(item.request_id, []).append(item.file_id)
        if by_request:
            flag = "1" if suspect else "0"
            self.parked.append((token, delay_ms, fails, flag, doubt.value, list(by_request.items())))

    def extend(self, other: Verdict) -> None:
        """Add all that another verdict says."""
        self.ended += other.ended
        self.retried += other.retried
        self.parked += other.parked

    def as_json(self) -> str:
        """Return the form that `settle.lua` reads; empty parts are left out."""
        parts = {"ended": self.ended, "retried": self.retried, "parked": self.parked}
        return json.dumps({name: part for name, part in parts.items() if part}, separators=(",", ":"))


def _grouped(items: Iterable[Item]) -> Iterable[tuple[tuple[str, int], list[str]]]:
    groups: dict[tuple[str, int], list[str]] = {}
    for item in items:
        groups.setdefault((item.request_id, item.attempts), []).append(item.file_id)
    return groups.items()
