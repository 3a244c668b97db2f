"""The runs of cleanup rules in Redis. Each method that changes something is one Lua operation, atomic and idempotent.

A run is started, leased to one worker at a time, and ends with a `RunOutcome`.

Fields of `cleanup:run:<id>`: rule, due, started_at, by, words, token, lease_until, 'place' (position in the listing),
pages, files, bytes, oldest, newest, paths, excluded, failures, deaths, waits_for; at the end outcome, why, ended_at,
request; and afterwards decision, decided_by, decided_at (if it needed approval), result and counts (of its request).
Times are ms since 1970.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple, TypedDict, cast

from config.names import CLEANUP
from config.settings import Settings
from worker.cleanup.listing.matching import Match
from worker.cleanup.listing.paging import END, START, Cursor
from worker.cleanup.rules.rule import Rule
from worker.queue.operations import Queue
from worker.states import RunOutcome, RunStart

DAY_MS = 86_400_000
HAND_OUT_MS = 3000
"""How long a due run that was returned is not returned again."""
BY_HAND = ":hand:"


def request_of(run_id: str) -> str:
    """Return the id of the request that a run makes."""
    return CLEANUP + run_id


def run_id_of(rule_name: str, due: datetime, suffix: str = "") -> str:
    """Return the id of the run for a due time: the same on every beat. `suffix` is `RunStore.suffix`."""
    return f"{rule_name}:{due.astimezone(UTC):%Y%m%dT%H%M%SZ}{suffix}"


def run_id_by_hand(rule_name: str, now: datetime) -> str:
    """Return a new id for a manual run."""
    return f"{rule_name}{BY_HAND}{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"


def _storable(text: str) -> str:
    """Escape lone surrogates, which JSON can hold and UTF-8 cannot."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(frozen=True)
class Run:
    """A run, leased to this worker."""

    run_id: str
    token: str
    rule: str
    fingerprint: str
    """Of the rule, when the run started."""
    by: str
    started_ms: int
    cursor: Cursor | None
    """None when the listing has been read to its end."""
    files: int
    failures: int
    deaths: int
    """Consecutive workers that took this run and died."""
    is_off: bool

    @property
    def by_hand(self) -> bool:
        """Whether it was started manually, not by schedule."""
        return BY_HAND in self.run_id


class Purging(TypedDict):
    """What a page of a rule that purges adds."""

    purge: str
    priority: int
    endpoints: list[str]
    """URL endpoints of the account, as the page shows them."""
    urls: dict[str, str]
    """File id → URL."""


class Ended(NamedTuple):
    """How a run ended."""

    outcome: RunOutcome
    why: str
    files: int


class RuleState(NamedTuple):
    """The stored state of a rule."""

    last_due: int | None
    sizes: list[int]
    """Files of the last accepted runs, newest first."""
    running: str | None
    history: list[str]
    """Run ids, newest first."""


class RunStore:
    """The runs of one account."""

    def __init__(self, queue: Queue, settings: Settings) -> None:
        self.queue = queue
        self.suffix = "" if settings.account == settings.home_account else f":{settings.account}"
        """End of the ids of scheduled runs: two accounts may have rules of the same name."""
        self._keys, self._redis, self._scripts = queue.keys, queue.redis, queue.scripts
        self._lease_ms = int((settings.http_timeout_seconds + settings.http_connect_timeout_seconds + 10) * 1000)
        self._unsealed_ttl_ms = int(settings.unsealed_ttl_seconds * 1000)
        self._callbacks = settings.callbacks
        self._keep_ms = int(settings.result_ttl_seconds * 1000) + settings.audit_days * DAY_MS

    def start(self, rule: Rule, run_id: str, by: str, due: datetime | None, latest_ms: int | None = None) -> RunStart:
        """Start the run for a due time unless it is more than `latest_ms` past; without a due time, a manual run."""
        return RunStart(
            self._scripts.run(
                "cleanup/start",
                {
                    "rule": rule.name,
                    "run": run_id,
                    "due": None if due is None else int(due.timestamp() * 1000),
                    "timing": rule.timing,
                    "latest_ms": latest_ms,
                    "words": rule.fingerprint,
                    "by": by,
                    "keep_ms": self._keep_ms,
                },
            )
        )

    def next_due(self) -> str | None:
        """Return a run to continue now, to one caller in some seconds; None if none is due."""
        run_id = self._scripts.run("cleanup/next_due", {"hand_out_ms": HAND_OUT_MS})
        return None if run_id is None else str(run_id)

    def take(self, run_id: str) -> Run | None:
        """Lease a run; None if it has ended, or another worker has it."""
        token = uuid.uuid4().hex
        reply = self._scripts.run(
            "cleanup/take",
            {"run": run_id, "token": token, "lease_ms": self._lease_ms, "request": request_of(run_id)},
        )
        if not reply:
            return None
        *flat, is_off = reply
        about = dict(zip(flat[::2], flat[1::2], strict=True))
        cursor = about.get("place")
        return Run(
            run_id=run_id,
            token=token,
            rule=about["rule"],
            fingerprint=about["words"],
            by=about["by"],
            started_ms=int(about["started_at"]),
            cursor=START if cursor is None else None if cursor == END else Cursor.from_json(cursor),
            files=int(about.get("files", 0)),
            failures=int(about.get("failures", 0)),
            deaths=int(about["deaths"]) - 1,
            is_off=is_off == "1",
        )

    def add_page(
        self,
        run: Run,
        reason: str,
        cursor: Cursor | None,
        excluded: Mapping[str, int],
        matches: Iterable[Match],
        purging: Purging | None = None,
    ) -> tuple[str, int]:
        """Add a page's files, and advance to `cursor`; return on, off, lost or gone, and how many files were new."""
        files = [
            {"id": file.file_id, "bytes": file.size, "created_ms": file.created_ms, "path": _storable(file.path)}
            for file in matches
        ]
        state, new = self._scripts.run(
            "cleanup/page",
            {
                "run": run.run_id,
                "token": run.token,
                "lease_ms": self._lease_ms,
                "request": request_of(run.run_id),
                "source": CLEANUP + run.rule,
                "reason": reason,
                "by": run.by,
                "unsealed_ttl_ms": self._unsealed_ttl_ms,
                "position": END if cursor is None else cursor.as_json(),
                "excluded": dict(excluded),
                "files": files,
                **(purging or {}),
            },
        )
        return str(state), int(new)

    def give_back(self, run: Run, wait_ms: int, why: str = "", failures: int = 0) -> None:
        """Return a run until it is due again in `wait_ms`."""
        self._scripts.run(
            "cleanup/yield",
            {"run": run.run_id, "token": run.token, "wait_ms": wait_ms, "why": why, "failures": failures},
        )

    def end(
        self,
        run: Run,
        outcome: RunOutcome | Literal["release"],
        why: str = "",
        rule: Rule | None = None,
        share: str = "",
    ) -> Ended:
        """End a run. `release` enqueues its request under the guards of `rule`; `share`: why it exceeds `max_share`."""
        guards = rule.guards if rule else None
        ended, why, files = self._scripts.run(
            "cleanup/end",
            {
                "run": run.run_id,
                "token": run.token,
                "request": request_of(run.run_id),
                "outcome": outcome,
                "why": why,
                "hold_ms": int(rule.hold_seconds * 1000) if rule else 0,
                "guard": guards.model_dump() if guards else None,
                "hold_first": rule is None or rule.first_run == "hold",
                "share": share,
                "callback": self._callbacks.url_of(CLEANUP + run.rule),
                "keep_ms": self._keep_ms,
            },
        )
        return Ended(RunOutcome(ended), str(why), int(files))

    # Reading

    def read(self, run_id: str) -> dict[str, str]:
        """Return the fields of a run; empty if it is unknown or has expired."""
        return cast("dict[str, str]", self._redis.hgetall(self._keys.cleanup("run", run_id)))

    def rule_state(self, name: str, most: int = 100) -> RuleState:
        """Return the stored state of a rule, with at most `runs` of its last runs."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(self._keys.cleanup("rule", name), ["last_due", "run"])
            pipe.lrange(self._keys.sizes(CLEANUP + name), 0, -1)
            pipe.lrange(self._keys.cleanup("history", name), 0, most - 1)
            (last_due, running), sizes, history = pipe.execute()
        return RuleState(int(last_due) if last_due else None, [int(size) for size in sizes], running, history)

    # The switch

    def switch(self, *, on: bool, by: str) -> None:
        """Switch all rules off or on. Runs stop at their next page."""
        self._scripts.run("cleanup/switch", {"on": on, "by": by})

    def off_since(self) -> tuple[str, str] | None:
        """Return by whom and when (ms) cleanup was switched off; None while it is on."""
        off, by, at = self._redis.hmget(self._keys("cleanup"), ["off", "off_by", "off_at"])
        return (str(by), str(at)) if off else None
