"""The simulated account: everything that the API knows, in one place."""

import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from simulator.api.authentication import KeyCheck
from simulator.faults import ENDPOINT_CLASSES, Fault, FaultPlan
from simulator.ledger import Call, Ledger
from simulator.library.files import MediaLibrary
from simulator.library.listing import Lister
from simulator.limits import Admission, SlidingLimit

HEADER_POLICIES = ("always", "429", "never")
REAL_ID = re.compile("[0-9a-f]{24}")


def now_ms() -> int:
    """Return the current time in ms since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Behaviour:
    """How the API behaves, changeable at any time.

    Every call takes `latency_ms`, plus or minus `jitter_ms`, before its effect. `headers`: when rate headers are sent
    (always, with a 429 only, or never); `header_overrides` replaces their values, and None drops a header. The vendor
    does not document what happens to duplicate ids in a bulk call (`duplicates`: accept or refuse), nor to malformed
    ones (`malformed_ids`: missing or refuse). A call with one of the `refused` ids gets a 400 with that message, with
    one of the `poison` ids a 500; `partial` ids are listed with that error in a 207. A purge is pending for `purge_ms`,
    and the first `stuck_purges` for ever; beyond `purge_quota` purges, the others are answered 429 (what the vendor
    answers is not published). With `shuffle_ties`, files with equal sort keys are listed in another order each time.
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
    purge_quota: int | None = None
    stuck_purges: int = 0
    shuffle_ties: bool = False


@dataclass(slots=True)
class Purge:
    """A purge that was accepted. `number`: the first has number 0."""

    url: str
    at_ms: int
    number: int

    def is_completed(self, behaviour: Behaviour) -> bool:
        """Return whether copies under its URL are gone from the CDN."""
        return self.number >= behaviour.stuck_purges and now_ms() - self.at_ms >= behaviour.purge_ms

    def covers(self, url: str) -> bool:
        """Return whether it removes the copy under a URL."""
        return url.startswith(self.url[:-1]) if self.url.endswith("*") else url == self.url


class SimulatedAccount:
    """Library, key, limits, faults and ledger of one account. Not thread-safe: it belongs to one event loop."""

    def __init__(self, *, seed: int, private_key: str | None, keep_calls: int, keep_ids: bool) -> None:
        self.library = MediaLibrary(seed, now_ms)
        self.lister = Lister(self.library)
        self.key = KeyCheck(private_key)
        self.limits = {endpoint: SlidingLimit() for endpoint in ENDPOINT_CLASSES}
        self.rng = random.Random(seed)  # noqa: S311 (no secrets)
        self.faults = FaultPlan(self.rng)
        self.ledger = Ledger(keep_calls, keep_ids=keep_ids)
        self.behaviour = Behaviour()
        self.outage: str | None = None
        self.purges: dict[str, Purge] = {}
        self.forgotten_purges: set[str] = set()
        self.in_flight = 0
        self.max_in_flight = 0
        self.on_call: Callable[[Call], None] | None = None


@dataclass(slots=True)
class PendingCall:
    """A call in progress: what was sent, and what has happened so far.

    `arrived`: seconds since 1970. `endpoint`: name of the operation, "" if there is none. `limit`: the endpoint class
    whose limits and faults apply. `argument`: the id in the path.
    """

    arrived: float
    endpoint: str
    limit: str
    argument: str
    parameters: Mapping[str, str]
    body: bytes
    request_id: str
    fault: Fault | None = None
    admission: Admission = Admission(allowed=True)  # noqa: RUF009 (it is frozen)
    ids: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    detail: str = ""
