"""The REST API of the cleanup: the rules, what each would delete, and the switch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from redis import Redis

import web.api.cleanup
from simulator import Simulator
from tasks.tokens import Scope
from tests.unit import support_web
from tests.unit.support_cleanup import DRAFTS
from tests.unit.support_web import KEY, api_of, context_on
from web.context import Context
from web.long_calls import MOST

CLEANUP = "/api/v1/cleanup"


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator(private_key=KEY) as simulator:
        yield simulator


@pytest.fixture
def context(fake_redis: Redis, monkeypatch: pytest.MonkeyPatch, sim: Simulator, tmp_path: Path) -> Iterator[Context]:
    (tmp_path / "cleanup.toml").write_text(DRAFTS, "utf-8")
    context = context_on(fake_redis, monkeypatch, base_url=sim.url, cleanup_file=str(tmp_path / "cleanup.toml"))
    yield context
    context.close()


@pytest.fixture
def app(context: Context) -> FastAPI:
    return api_of(context)


def call(app: FastAPI, method: str, path: str) -> httpx2.Response:
    return support_web.call(app, method, CLEANUP + path, auth=(KEY, ""))


def add_drafts(sim: Simulator, count: int) -> set[str]:
    return {str(sim.add_file(folder="/drafts/", created_at="40d")["fileId"]) for _ in range(count)}


def lines(answer: httpx2.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.text.splitlines()]


def test_the_rules_are_listed(app: FastAPI) -> None:
    """In words, with their next run."""
    (rule,) = call(app, "GET", "/rules").json()["rules"]
    assert (rule["name"], rule["last"]) == ("drafts", None)
    assert "older than 30d" in rule["means"]
    assert rule["next"]


def test_rules_that_cannot_be_read_are_a_problem(app: FastAPI, tmp_path: Path) -> None:
    """It names the file and the line."""
    (tmp_path / "cleanup.toml").write_text("[rules.x]\nfolder = 1\n", "utf-8")
    answer = call(app, "GET", "/rules")
    assert (answer.status_code, "cleanup.toml" in answer.json()["detail"]) == (409, True)


@pytest.mark.parametrize("count", [0, 3, 250])
def test_a_dry_run_lists_what_would_be_deleted(app: FastAPI, sim: Simulator, count: int) -> None:
    """Each file, then the sums; nothing is deleted."""
    drafts = add_drafts(sim, count)
    sim.add_file(folder="/drafts/", created_at="1d")
    answer = call(app, "POST", "/rules/drafts/dry-run")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/x-ndjson")
    *files, last = lines(answer)
    assert {file["file_id"] for file in files} == drafts
    assert last["files"] == len(files) == count
    assert all(file["path"].startswith("/drafts/") for file in files)
    assert drafts <= set(sim.remaining())


def test_a_dry_run_that_cannot_start_has_a_status(app: FastAPI, sim: Simulator) -> None:
    """An unknown rule, or an API that refuses."""
    unknown = call(app, "POST", "/rules/nobody/dry-run")
    assert (unknown.status_code, "there are: drafts" in unknown.json()["detail"]) == (404, True)
    sim.set_key(state="disabled")
    refused = call(app, "POST", "/rules/drafts/dry-run")
    assert (refused.status_code, "refuses the private key" in refused.json()["detail"]) == (502, True)


def test_a_dry_run_that_breaks_off_says_so(app: FastAPI, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last line is the error."""
    add_drafts(sim, 1100)
    monkeypatch.setattr(web.api.cleanup, "FILES_AT_ONCE", 900)
    real = web.api.cleanup._lines

    def then_refuse(matches: Any) -> str:
        text = real(matches)
        sim.set_key(state="disabled")
        return text

    monkeypatch.setattr(web.api.cleanup, "_lines", then_refuse)
    answer = call(app, "POST", "/rules/drafts/dry-run")
    assert answer.status_code == 200
    assert "refuses the private key" in lines(answer)[-1]["error"]


def test_few_long_calls_run_at_a_time(app: FastAPI, context: Context) -> None:
    """Further ones are told to come back."""
    context.long_calls._free = 0
    answer = call(app, "POST", "/rules/drafts/dry-run")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    context.long_calls._free = 1
    assert call(app, "POST", "/rules/drafts/dry-run").status_code == 200
    assert context.long_calls._free == 1
    assert MOST > 1


def test_cleanup_is_switched_off_and_on(app: FastAPI, context: Context) -> None:
    """Who did it is kept."""
    token = context.admin.tokens.create("ops", [Scope.OPERATE])
    answer = support_web.call(app, "POST", f"{CLEANUP}/off", auth=(token, ""))
    assert answer.json() == {"on": False}
    assert call(app, "GET", "/rules").json()["off_by"] == "token ops"
    assert call(app, "POST", "/on").json() == {"on": True}
    assert call(app, "GET", "/rules").json()["off_by"] is None
