"""Faults: what can go wrong with a call, and which calls it hits."""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from simulator.json_value import Json

# Each kind of fault, and whether the call is carried out all the same (unless the fault says otherwise).
KINDS: dict[str, bool] = {
    "error_before": False,  # `status` (500), before the effect
    "error_after": True,  # `status` (500), after the effect
    "cut_before": False,  # connection reset; the call is not carried out
    "cut_after": True,  # connection reset after the call is carried out
    "cut_middle": True,  # connection closed in the middle of the response body
    "slow": True,  # effect, then `delay_ms`, then the response
    "slow_before": True,  # `delay_ms`, then effect and response
    "hang": True,  # no response; the connection stays open
    "endless": True,  # a response that never ends, one byte every `delay_ms`
    "garbage": True,  # a body of the wrong form with `status` (200); `shape` picks the form
    "empty": True,  # 200 without a body
    "redirect": False,  # `status` (302) to another path of this server
    "throttled": False,  # 429 with `reset_ms`, whatever the limit
    "partial": True,  # 207: `ids`, or a `share` of all, are not deleted and are listed under `errors`
    "omit": True,  # 200: `ids`, or a `share` of all, are neither deleted nor listed
    "foreign": True,  # the real response, plus an id that was never sent
    "answer": False,  # `status`, `body` and `headers` as given
}

SHAPES: dict[str, bytes] = {
    "html": b"<!DOCTYPE html><html><body><h1>Please wait</h1></body></html>",
    "list": b"[]",
    "null": b"null",
    "number": b"42",
    "string": b'"done"',
    "object": b"{}",
    "wrong_type": b'{"successfullyDeletedFileIds": "all of them"}',
    "nested": b'{"successfullyDeletedFileIds": [["a"], {"fileId": 1}, null]}',
    "errors_type": b'{"successfullyDeletedFileIds": [], "errors": {"fileId": "x"}}',
    "truncated": b'{"successfullyDeletedFileIds": ["59882',
    "not_utf8": b'{"successfullyDeletedFileIds": ["\xff\xfe"]}',
    "nan": b'{"successfullyDeletedFileIds": NaN}',
    "deep": b"[" * 5000,
}

ENDPOINT_CLASSES = ("delete", "list", "purge")


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault, and the calls that it hits.

    It hits the next `times` calls of its `endpoint` class (delete, list or purge; None: any) or, without `times`, each
    call with `probability`. Faults with `times` are used first, in the order in which they were added. `effect`
    overrides whether the call is carried out. KINDS says which of the other fields a kind reads. Raises ValueError for
    values out of range.
    """

    kind: str
    probability: float = 0.0
    times: int | None = None
    endpoint: str | None = None
    effect: bool | None = None
    status: int | None = None
    delay_ms: float = 1000.0
    reset_ms: int = 1000
    share: float = 0.3
    ids: frozenset[str] = frozenset()
    shape: str | None = None
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}; known are {', '.join(KINDS)}")
        if self.endpoint not in {None, *ENDPOINT_CLASSES}:
            raise ValueError(f"unknown endpoint class {self.endpoint!r}; known are {', '.join(ENDPOINT_CLASSES)}")
        if self.shape is not None and self.shape not in SHAPES:
            raise ValueError(f"unknown shape {self.shape!r}; known are {', '.join(SHAPES)}")
        if not (0 <= self.probability <= 1 and 0 <= self.share <= 1):
            raise ValueError(f"probability ({self.probability}) and share ({self.share}) must be from 0 to 1")
        if self.times is not None and self.times < 1:
            raise ValueError(f"times must be at least 1, not {self.times}")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"status must be from 200 to 599, not {self.status}")

    @property
    def takes_effect(self) -> bool:
        """Whether the call is carried out."""
        return KINDS[self.kind] if self.effect is None else self.effect

    @classmethod
    def from_json(cls, fields: Mapping[str, Json]) -> "Fault":
        """Build a fault from JSON. Raises ValueError or TypeError."""
        return cls(**{**fields, "ids": frozenset(fields.get("ids") or ())})

    @classmethod
    def read(cls, form: str) -> "Fault":
        """Parse `cut_after=0.02` (probability), `error_before*3` (times), `slow=1@list` (endpoint class)."""
        rule, _, endpoint = form.partition("@")
        kind, sign, value = rule.partition("*") if "*" in rule else rule.partition("=")
        if not sign:
            raise ValueError(f"{form!r} is not a fault; write KIND=PROBABILITY or KIND*TIMES")
        if sign == "*":
            return cls(kind, times=int(value), endpoint=endpoint or None)
        return cls(kind, probability=float(value), endpoint=endpoint or None)


class FaultPlan:
    """The faults that are set, and how many calls each kind has hit."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.counts: Counter[str] = Counter()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Add a fault."""
        if fault.times is None:
            self._faults.append(fault)
            return
        after = sum(queued.times is not None for queued in self._faults)
        self._faults.insert(after, fault)

    def clear(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    def pick(self, endpoint: str) -> Fault | None:
        """Return the fault that hits this call, if any."""
        for index, fault in enumerate(self._faults):
            if fault.endpoint not in {None, endpoint} or not self._hits(fault, index):
                continue
            self.counts[fault.kind] += 1
            return fault
        return None

    def _hits(self, fault: Fault, index: int) -> bool:
        if fault.times is None:
            return self.rng.random() < fault.probability
        if fault.times > 1:
            self._faults[index] = replace(fault, times=fault.times - 1)
        else:
            del self._faults[index]
        return fault.times > 0
