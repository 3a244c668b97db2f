"""Claims and settlements: what a batch takes from the queue, and what happens to each item. Plain data."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypedDict

from worker.states import Doubt, Outcome


class Item(NamedTuple):
    """One file id of one request, in a claim."""

    request_id: str
    file_id: str
    attempts: int
    doubt: Doubt


@dataclass(frozen=True)
class Claim:
    """Up to 100 items taken for one call; `token` settles them until the lease expires."""

    token: str
    items: list[Item]
    fails: int = 0
    """Consecutive failed calls of this group."""
    failed_ago_ms: int | None = None
    """Milliseconds between its last failed call and this claim; None if none has failed."""
    suspect: bool = False
    """Whether the group is isolated, because one of its ids may be why its calls fail."""
    claimed_at: float = field(default_factory=time.monotonic, compare=False)

    def request_ids(self) -> list[str]:
        """Return the ids of the requests that its items belong to."""
        return list(dict.fromkeys(item.request_id for item in self.items))

    def failed_ago(self) -> int | None:
        """Return the milliseconds since the group's last failed call; None if none has failed."""
        if self.failed_ago_ms is None:
            return None
        return self.failed_ago_ms + int((time.monotonic() - self.claimed_at) * 1000)


def read_claim(token: str, fails: int, failed_ago: int, suspect: str, packed: str) -> Claim:
    """Read the reply of the operation `claim`."""
    items = list(_unpacked(packed))
    return Claim(token, items, int(fails), None if int(failed_ago) < 0 else int(failed_ago), suspect == "1")


def _unpacked(packed: str) -> Iterator[Item]:
    """Yield the items of a claim from their runs (see `pack_items` in `lua/lib/claims.lua`)."""
    for request_id, attempts, doubt, file_ids in json.loads(packed):
        spent, how_sure = int(attempts), Doubt(doubt)
        for file_id in file_ids:
            yield Item(request_id, file_id, spent, how_sure)


class Ended(TypedDict):
    """Items of one request with the same outcome; `doubt`: whether our call may have deleted them nevertheless."""

    request: str
    outcome: Outcome
    attempts: int
    error: str
    doubt: Doubt
    ids: list[str]


class Retried(TypedDict):
    """Items of one request that are retried; `attempts` includes the one just spent."""

    request: str
    attempts: int
    doubt: Doubt
    delay_ms: int
    ids: list[str]


class ParkedItems(TypedDict):
    """The items of one request in a parked group."""

    request: str
    ids: list[str]


class Parked(TypedDict):
    """Items that return to the queue as a group, to be claimed together again."""

    delay_ms: int
    fails: int
    suspect: bool
    doubt: Doubt
    requests: list[ParkedItems]


@dataclass(frozen=True)
class Settlements:
    """What happens to each item of a claim. Items that are not mentioned stay claimed."""

    ended: tuple[Ended, ...] = ()
    retried: tuple[Retried, ...] = ()
    parked: tuple[Parked, ...] = ()

    def __add__(self, other: Settlements) -> Settlements:
        return Settlements(self.ended + other.ended, self.retried + other.retried, self.parked + other.parked)


def end(
    items: Iterable[Item], outcome: Outcome, error: str = "", *, spent: int = 1, doubt: Doubt = Doubt.NONE
) -> Settlements:
    """End items with an outcome, adding `spent` attempts to each.

    `doubt` tells later requests for the same file that this call may have deleted it.
    """
    return Settlements(
        ended=tuple(
            Ended(request=request, outcome=outcome, attempts=attempts + spent, error=error, doubt=doubt, ids=ids)
            for (request, attempts), ids in _grouped(items).items()
        )
    )


def retry(items: Iterable[Item], delay_ms: int, doubt: Doubt = Doubt.NONE) -> Settlements:
    """Retry items after a delay, spending an attempt of each."""
    return Settlements(
        retried=tuple(
            Retried(request=request, attempts=attempts + 1, doubt=doubt, delay_ms=delay_ms, ids=ids)
            for (request, attempts), ids in _grouped(items).items()
        )
    )


def park(
    items: Iterable[Item], *, delay_ms: int = 0, fails: int = 0, suspect: bool = False, doubt: Doubt = Doubt.NONE
) -> Settlements:
    """Return items to the queue as one group, due after a delay, without spending an attempt."""
    by_request: dict[str, list[str]] = {}
    for item in items:
        by_request.setdefault(item.request_id, []).append(item.file_id)
    if not by_request:
        return Settlements()
    requests = [ParkedItems(request=request, ids=ids) for request, ids in by_request.items()]
    return Settlements(
        parked=(Parked(delay_ms=delay_ms, fails=fails, suspect=suspect, doubt=doubt, requests=requests),)
    )


def snooze(claim: Claim, items: Iterable[Item]) -> Settlements:
    """Return items of a claim to the queue as they were, due at once, without spending an attempt."""
    return park(items, fails=claim.fails, suspect=claim.suspect)


def _grouped(items: Iterable[Item]) -> dict[tuple[str, int], list[str]]:
    groups: dict[tuple[str, int], list[str]] = {}
    for item in items:
        groups.setdefault((item.request_id, item.attempts), []).append(item.file_id)
    return groups
