"""What can go wrong with a call, and which call it hits."""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from simulator.plain import Json

# Whether the call's effect takes place, unless the fault says otherwise.
KINDS: dict[str, bool] = {
    "error_before": False,  # `status` (500), before the effect
    "error_after": True,  # `status` (500), after the effect
    "cut_before": False,  # the connection is reset, nothing was done
    "cut_after": True,  # the connection is reset, the answer to a done call is lost
    "cut_middle": True,  # the connection ends in the middle of the answer's body
    "slow": True,  # the effect, then `delay_ms`, then the answer
    "slow_before": True,  # `delay_ms`, then the effect and the answer
    "hang": True,  # no answer, and the connection stays open
    "endless": True,  # an answer that begins and goes on for ever, a byte every `delay_ms`
    "garbage": True,  # an answer with status `status` (200) of the wrong form; `shape` picks which
    "empty": True,  # 200 without a body
    "redirect": False,  # 302 to another path of this server
    "throttled": False,  # 429 with `reset_ms`, whatever the limit says
    "partial": True,  # 207: `share` of the ids, or `ids`, are not deleted and listed under errors
    "omit": True,  # 200: `share` of the ids, or `ids`, are neither deleted nor listed
    "foreign": True,  # the true answer, and an id in it that was never sent
    "answer": False,  # `status`, `body` and `headers` as they are given
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
    """One way to fail, and when.

    It hits the next `times` calls of its `endpoint` class (delete, list, purge; None is any), or, without
    `times`, each call with `probability`. Faults with `times` come first, in the order in which they were
    set. `effect` overrides whether the call is carried out; the other fields are the details that KINDS
    names. Raises ValueError for what makes no sense.
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
            raise ValueError(f"unknown fault {self.kind!r}; there are {', '.join(KINDS)}")
        if self.endpoint not in {None, *ENDPOINT_CLASSES}:
            raise ValueError(f"unknown endpoint class {self.endpoint!r}; there are {', '.join(ENDPOINT_CLASSES)}")
        if self.shape is not None and self.shape not in SHAPES:
            raise ValueError(f"unknown shape {self.shape!r}; there are {', '.join(SHAPES)}")
        if not (0 <= self.probability <= 1 and 0 <= self.share <= 1):
            raise ValueError("a probability or share lies between 0 and 1")
        if self.times is not None and self.times < 1:
            raise ValueError("a fault strikes at least once")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"no final HTTP status: {self.status}")

    @property
    def takes_effect(self) -> bool:
        """Whether the call is carried out all the same."""
        return KINDS[self.kind] if self.effect is None else self.effect

    @classmethod
    def from_json(cls, fields: Mapping[str, Json]) -> "Fault":
        """From the fields as JSON has them. Raises ValueError or TypeError."""
        return cls(**{**fields, "ids": frozenset(fields.get("ids") or ())})

    @classmethod
    def read(cls, form: str) -> "Fault":
        """Read the command line's form: `cut_after=0.02`, `error_before*3`, `slow=1@list` for a class."""
        rule, _, endpoint = form.partition("@")
        kind, sign, value = rule.partition("*") if "*" in rule else rule.partition("=")
        if not sign:
            raise ValueError(f"a fault is written KIND=PROBABILITY or KIND*TIMES, not {form!r}")
        if sign == "*":
            return cls(kind, times=int(value), endpoint=endpoint or None)
        return cls(kind, probability=float(value), endpoint=endpoint or None)


class FaultPlan:
    """The faults that are set, and the count of those that struck."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.struck: Counter[str] = Counter()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Set one more fault."""
        if fault.times is None:
            self._faults.append(fault)
            return
        place = sum(queued.times is not None for queued in self._faults)
        self._faults.insert(place, fault)

    def clear(self) -> None:
        """Nothing fails any more."""
        self._faults.clear()

    def pick(self, endpoint: str) -> Fault | None:
        """Take the fault that hits this call, if any."""
        for place, fault in enumerate(self._faults):
            if fault.endpoint not in {None, endpoint} or not self._strikes(fault, place):
                continue
            self.struck[fault.kind] += 1
            return fault
        return None

    def _strikes(self, fault: Fault, place: int) -> bool:
        if fault.times is None:
            return self.dice.random() < fault.probability
        if fault.times > 1:
            self._faults[place] = replace(fault, times=fault.times - 1)
        else:
            del self._faults[place]
        return fault.times > 0
