"""Runs cleanup rules in the test's own process, with a real queue, a simulated API and no Celery.

No test sleeps: what is due later is made due in Redis.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from redis import Redis

from config.settings import Settings, load_settings
from simulator import Simulator
from simulator.library.records import Record
from tests.waiting import wait_until
from worker.account import Account
from worker.batch.pipeline import Ran
from worker.cleanup.rules.file import RulesFile
from worker.cleanup.rules.rule import Rule
from worker.cleanup.runs.slice import run_slice
from worker.cleanup.runs.store import request_of
from worker.reports.audit import Entry
from worker.reports.report import Report
from worker.states import RunStart

KEY = "private_test"
RELEASED = 'first_run = "release"\nguards = { max_files = 0, max_share = 0, usual_factor = 0 }\nevery = "1h"\n'
DRAFTS = f'[rules.drafts]\npath = "/drafts/"\nolder_than = "30d"\n{RELEASED}'
"""A rule without guards."""
DAY_MS = 86_400_000


class Bench:
    """One account with its rules, its library and its queue."""

    def __init__(self, redis: Redis, simulator: Simulator, folder: Path, **settings: Any) -> None:
        self.redis: Any = redis
        self.sim = simulator
        self.file = folder / "cleanup.toml"
        self.settings: Settings = load_settings(
            **{"rate_limits": (), "private_key": KEY, "base_url": simulator.url, "cleanup_file": str(self.file)}
            | {"max_attempts": 3, **settings}
        )
        self.account = self.another_account()
        self.queue, self.runs, self.cleaner = self.account.queue, self.account.runs, self.account.cleaner
        self.api, self.approvals, self.audit = self.account.api, self.account.approvals, self.account.audit

    def another_account(self) -> Account:
        """Return the account as another worker sees it."""
        return Account(self.settings, self.redis)

    def write(self, text: str) -> None:
        """Write the rules file."""
        self.file.write_text(text, encoding="utf-8")

    def rule(self, name: str) -> Rule:
        """Return a rule as the file says."""
        return RulesFile(self.file).rules().by_name[name]

    # Runs

    def start(self, name: str, run_id: str = "") -> str:
        """Start a run by hand; return its id."""
        run_id = run_id or f"{name}:hand:{self.redis.incr('test:runs')}"
        assert self.runs.start(self.rule(name), run_id, "me@here", None) is RunStart.STARTED
        return run_id

    def finish(self, run_id: str, seconds: float = 30) -> dict[str, str]:
        """Continue a run until it has ended; return its fields."""

        def has_ended() -> bool:
            self.forget_lease(run_id)
            run_slice(self.cleaner, run_id)
            return "outcome" in self.runs.read(run_id)

        wait_until(has_ended, seconds)
        return self.runs.read(run_id)

    def run(self, name: str) -> dict[str, str]:
        """Run a rule from start to end; return the fields of the run."""
        return self.finish(self.start(name))

    def forget_lease(self, run_id: str) -> None:
        """Let the lease of a run expire, as if its worker had died."""
        key = self.queue.keys.cleanup("run", run_id)
        if self.redis.hexists(key, "lease_until"):
            self.redis.hset(key, "lease_until", 1)

    # Deletions

    def delete_all(self) -> None:
        """Make all calls that delete."""
        while self.account.batches.run() is not Ran.NO_WORK:
            pass

    def report(self, request_id: str) -> Report:
        """Return a request's report."""
        found = self.account.reports.read([request_id])[0]
        assert found is not None
        return found

    def deleted_by(self, name: str) -> set[str]:
        """Run a rule, approve it if a guard holds it, delete, and return the ids that are gone."""
        before = set(self.sim.remaining())
        run = self.run(name)
        if run["outcome"] == "held":
            assert self.approvals.approve(run["request"], "boss@here") == "approved"
        self.delete_all()
        return before - set(self.sim.remaining())

    def entries(self, event: str) -> list[Entry]:
        """Return the audit entries of one event."""
        return [entry for entry in self.audit.entries() if entry["event"] == event]

    def records(self) -> list[Record]:
        """Return all files of the library."""
        return [record for record in self.sim._account.library.records() if record.type == "file"]


def listed_file(number: int) -> dict[str, Any]:
    """Return an old draft as the API lists it."""
    return {
        "type": "file",
        "fileId": f"{number:024x}",
        "filePath": f"/drafts/{number}.jpg",
        "createdAt": "2020-01-01T00:00:00.000Z",
        "tags": None,
        "size": 10,
    }


def matching(what: Mapping[str, Any], keep: Mapping[str, Any], records: list[Record], now_ms: int) -> set[str]:
    """Return the ids that a rule means; written independently of the code under test."""
    return set(_matching(what, keep, records, now_ms))


def _matching(what: Mapping[str, Any], keep: Mapping[str, Any], records: list[Record], now_ms: int) -> Iterator[str]:
    for record in records:
        tags = set(record.tags or ())
        folder, wanted = record.folder, what.get("path")
        if wanted is not None and folder != wanted and not (what.get("recursive") and folder.startswith(wanted)):
            continue
        if "older_than_days" in what and record.created >= now_ms - what["older_than_days"] * DAY_MS:
            continue
        if what.get("tags") and not tags & set(what["tags"]):
            continue
        if "file_type" in what and record.file_type != what["file_type"]:
            continue
        if is_kept(keep, record):
            continue
        yield record.id


def is_kept(keep: Mapping[str, Any], record: Record) -> bool:
    """Whether `keep` protects a file by its tags, AI tags or path, in any case of letters."""
    tags = {plain(tag) for tag in (*(record.tags or ()), *record.ai_tags)}
    if tags & {plain(tag) for tag in keep.get("tags", ())}:
        return True
    path = plain(record.path)
    return any(path == plain(kept) or path.startswith(plain(kept).rstrip("/") + "/") for kept in keep.get("paths", ()))


def plain(text: str) -> str:
    """Make texts equal that differ only in case or encoding."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).strip()


__all__ = ["DRAFTS", "KEY", "RELEASED", "Bench", "is_kept", "listed_file", "matching", "request_of"]
