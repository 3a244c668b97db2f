"""The command `find`."""

from __future__ import annotations

import json

import pytest
from redis import Redis

import cli.commands.find
import tasks.search
from cli import run
from tasks.search import Search
from tests.unit.support_queue import end_all, must_claim, settings_for_tests
from worker.queue.operations import NewRequest, Queue


@pytest.fixture(autouse=True)
def _searched(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.search, "connect", lambda _: redis_client)
    monkeypatch.setattr(cli.commands.find, "Search", lambda: Search(settings_for_tests()))


def test_every_request_of_a_file_is_shown(queue: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    """As a line or as JSON, the newest first; status 1 if one of the ids is in no request."""
    for name in ("r1", "r2"):
        queue.enqueue(NewRequest(name, "shop"), ["x"])
        end_all(queue, must_claim(queue, name))
    assert run(["find", "x"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(line[0], line[1], line[3], line[4]) for line in lines] == [
        ("x", "deleted", "r2", "shop"),
        ("x", "deleted", "r1", "shop"),
    ]
    assert run(["find", "x", "y", "--json"]) == 1
    out, err = capsys.readouterr()
    assert [json.loads(line)["request_id"] for line in out.splitlines()] == ["r2", "r1"]
    assert "y: in no request" in err


def test_what_is_no_file_id_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    """With the rule."""
    assert run(["find", "a b"]) == 2
    assert "a file id is" in capsys.readouterr().err
