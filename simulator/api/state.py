"""Everything that the simulated account is and remembers, in one place."""

import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from simulator.api.keys import KeyCheck
from simulator.faults import ENDPOINT_CLASSES, Fault, FaultPlan
from simulator.ledger import Call, Ledger
from simulator.library.files import Library
from simulator.library.listing import Lister
from simulator.limits import SlidingLimit, Verdict

HEADER_POLICIES = ("always", "429", "never")
REAL_ID = re.compile("[0-9a-f]{24}")


def now_ms() -> int:
    """Read the present moment, in ms since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Behaviour:
    """How the API behaves, changeable at any time.

    `latency_ms` before the effect of every call, give or take `jitter_ms`. `headers` says when the rate
    headers come: always, with a 429 only, or never; `header_overrides` replaces their values (None drops
    one). `duplicates` in a bulk call are accepted or refused, `malformed_ids` are missing or refused: the
    vendor documents neither. `refused` ids make a call a 400 with that message, `poison` ids a 500, `partial`
    ids end in a 207 with that error. A purge is pending for `purge_ms`. With `shuffle_ties` a list answers
    equal sort keys in another order at every call.
    """

    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    headers: str = "429"
    header_overrides: dict[str, str | None] = field(default_factory=dict)
    duplicates: str = "accept"
    malformed_ids: str = "missing"
    refused: dict[str, str] = field(default_factory=dict)
    poison: set[str] = field(default_factory=set)
    partial: dict[str, str] = field(default_factory=dict)
    purge_ms: float = 500.0
    shuffle_ties: bool = False


class State:
    """The account: library, key, limits, faults, ledger.

    Belongs to one event loop; not safe for several threads.
    """

    def __init__(self, *, seed: int, private_key: str | None, keep_calls: int, keep_ids: bool) -> None:
        self.library = Library(seed, now_ms)
        self.lister = Lister(self.library)
        self.key = KeyCheck(private_key)
        self.limits = {endpoint: SlidingLimit() for endpoint in ENDPOINT_CLASSES}
        self.dice = random.Random(seed)  # noqa: S311 (no secrets)
        self.faults = FaultPlan(self.dice)
        self.ledger = Ledger(keep_calls, keep_ids=keep_ids)
        self.behaviour = Behaviour()
        self.outage: str | None = None
        self.purges: dict[str, tuple[str, int]] = {}
        self.in_flight = 0
        self.max_in_flight = 0
        self.on_call: Callable[[Call], None] | None = None


@dataclass(slots=True)
class Visit:
    """One call on its way through: what was sent, and what is known so far of its fate.

    `endpoint` is the operation's name, `limit` the class whose limits and faults concern it, `argument` the
    id in its path.
    """

    arrived: float
    endpoint: str
    limit: str
    argument: str
    parameters: Mapping[str, str]
    body: bytes
    request_id: str
    fault: Fault | None = None
    verdict: Verdict = Verdict(allowed=True)  # noqa: RUF009 (it is frozen)
    ids: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    detail: str = ""
