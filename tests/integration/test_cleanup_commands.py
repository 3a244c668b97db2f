"""The commands `cleanup` and `audit`: preview, run, hold, approve, and read who did it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis import Redis

from cli import run as kitsweep
from simulator import Simulator
from tests.redis_server import RedisServer
from tests.unit.support_cleanup import KEY, Bench

pytestmark = pytest.mark.real_server

RULES = '[rules.drafts]\npath = "/drafts/"\nolder_than = "30d"\nevery = "1h"\n'


class Said(NamedTuple):
    """What a command wrote, and its exit status."""

    status: int
    out: str
    err: str


Kitsweep = Callable[..., Said]


@pytest.fixture
def bench(
    redis_server: RedisServer,
    real_redis: Redis,
    tmp_path: Path,
    clean_environment: pytest.MonkeyPatch,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Bench]:
    """A bench that the commands find through the environment, without workers: the test executes runs."""
    with Simulator(500, private_key=KEY) as simulator:
        clean_environment.setenv("KITSWEEP_REDIS_URL", redis_server.url)
        clean_environment.setenv("IMAGEKIT_PRIVATE_KEY", KEY)
        clean_environment.setenv("IMAGE_KIT_BASE_URL", simulator.url)
        clean_environment.setenv("KITSWEEP_RATE_LIMITS", "[]")
        yield Bench(real_redis, simulator, tmp_path)


@pytest.fixture
def say(bench: Bench, capsys: pytest.CaptureFixture[str]) -> Kitsweep:
    """Run a command line."""

    def run(*arguments: str) -> Said:
        capsys.readouterr()
        status = kitsweep(list(arguments))
        return Said(status, *capsys.readouterr())

    return run


def test_from_the_rule_to_the_audit_trail(
    bench: Bench, say: Kitsweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check, dry run, run, held, approve, history, audit: each shows what the next one needs."""
    assert say("cleanup", "check").status == 1
    bench.write(RULES)
    checked = say("cleanup", "check")
    assert (checked.status, checked.out) == (0, "drafts: files in /drafts/, older than 30d; every 1h\n")
    seen = json.loads(say("cleanup", "run", "drafts", "--dry-run", "--json", "-o", "out.csv").out)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert seen["files"] == len(rows) > 10
    assert rows[0]["why"] == "in /drafts/, older than 30d"
    assert bench.sim.deleted() == []

    request = say("cleanup", "run", "drafts").out.strip()
    assert say("cleanup", "run", "drafts").err.endswith("it is already running\n")
    bench.finish(request.removeprefix("cleanup:"))
    (held,) = json.loads(say("cleanup", "held", "--json").out)["held"]
    assert (held["request_id"], held["total"]) == (request, len(rows))
    assert "the first run of this rule" in held["why"]
    assert set(say("cleanup", "held", request).out.split()) == {row["fileId"] for row in rows}
    bench.delete_all()
    assert bench.sim.deleted() == []

    told = say("cleanup", "approve", request)
    assert (told.status, "another person has to approve it" in told.err) == (1, True)
    monkeypatch.setenv("KITSWEEP_APPROVE_OWN", "true")
    assert say("cleanup", "approve", request).status == 0
    bench.delete_all()
    assert set(bench.sim.deleted()) == {row["fileId"] for row in rows}
    (run,) = json.loads(say("cleanup", "history", "drafts", "--json").out)["runs"]
    assert (run["outcome"], run["decision"], run["counts"]["deleted"]) == ("held", "approved", len(rows))
    (rule,) = json.loads(say("cleanup", "list", "--json").out)["rules"]
    assert (rule["usual"], rule["last"]["result"]) == (len(rows), "SUCCESS")
    trail = [json.loads(line) for line in say("audit", "--since", "1h", "--json").out.splitlines()]
    assert [entry["event"] for entry in trail] == ["held", "approved", "ended"]
    assert trail[2]["detail"]["deleted"] == len(rows)
    assert all("@" in entry["by"] for entry in trail)
    for command in (["list"], ["history", "drafts"], ["held"]):
        assert say("cleanup", *command).status == 0
    assert "approved" in say("audit").out


def test_a_dry_run_writes_jsonl_too(bench: Bench, say: Kitsweep, tmp_path: Path) -> None:
    """Any file name that does not end in .csv gets one JSON object per line."""
    bench.write(RULES)
    assert "would delete" in say("cleanup", "run", "drafts", "--dry-run", "-o", "out.jsonl").out
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {"fileId", "path", "bytes", "created", "why"} == set(lines[0])


def test_a_rejected_run_is_over(bench: Bench, say: Kitsweep) -> None:
    """A rejected request cannot be approved."""
    bench.write(RULES)
    request = say("cleanup", "run", "drafts").out.strip()
    bench.finish(request.removeprefix("cleanup:"))
    assert say("cleanup", "reject", request).status == 0
    told = say("cleanup", "approve", request)
    assert (told.status, "was rejected before" in told.err) == (1, True)


def test_the_switch(bench: Bench, say: Kitsweep) -> None:
    """While cleanup is off nothing starts, and the list says so."""
    bench.write(RULES)
    assert say("cleanup", "off").status == 0
    assert "cleanup is off" in say("cleanup", "run", "drafts").err
    assert "switched off by" in say("cleanup", "list").err
    assert say("cleanup", "on").status == 0
    assert say("cleanup", "run", "drafts").status == 0


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["run", "nope"], 2, "there are: drafts"),
        (["run", "drafts", "-o", "x.csv"], 2, "needs --dry-run"),
        (["run", "drafts", "--dry-run", "-o", "/nowhere/x.csv"], 2, "/nowhere/x.csv"),
        (["approve", "cleanup:x"], 1, "unknown"),
        (["reject", "a b"], 2, "ID"),
        (["held", "x"], 1, "does not wait"),
        (["history", "nope"], 0, "has not run yet"),
    ],
)
def test_wrong_use_is_one_line(bench: Bench, say: Kitsweep, arguments: list[str], status: int, told: Any) -> None:
    """It says what is wrong, and has an exit status for programs."""
    bench.write(RULES)
    said = say("cleanup", *arguments)
    assert (said.status, told in said.err) == (status, True), said


def test_mistakes_in_rules_are_shown_line_by_line(bench: Bench, say: Kitsweep) -> None:
    """`check` shows all mistakes; the other commands fail."""
    bench.write('[rules.a]\npath = "a"\nevery = "x"\n')
    assert [line.split(" ")[0] for line in say("cleanup", "check").err.splitlines()] == [
        "cleanup.toml:2:",
        "cleanup.toml:3:",
    ]
    assert say("cleanup", "list").status == 2


@pytest.mark.parametrize(("since", "status"), [("1h", 0), ("2026-01-01", 0), ("yesterday", 2)])
def test_since_when(say: Kitsweep, since: str, status: int) -> None:
    """An age or a date."""
    assert say("audit", "--since", since).status == status
