"""The commands `failures` and `retry`."""

from __future__ import annotations

import io
import json
import sys

import pytest
from redis import Redis

import cli.commands.failures
import tasks.failures
from cli import run
from tasks.client import Client
from tasks.failures import Failures
from tests.unit.support_queue import end_all, must_claim, settings_for_tests
from worker.queue.operations import NewRequest, Queue
from worker.states import Outcome


@pytest.fixture(autouse=True)
def _failed(client: Client, queue: Queue, redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two requests have ended with three failed files."""
    monkeypatch.setattr(tasks.failures, "connect", lambda _: redis_client)
    monkeypatch.setattr(cli.commands.failures, "Failures", lambda: Failures(settings_for_tests(), client))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    for name, files, error in (("r1", ["a", "b"], "locked"), ("r2", ["c"], "name")):
        queue.enqueue(NewRequest(name, "shop"), files)
        end_all(queue, must_claim(queue, name), Outcome.FAILED, error)


def test_failures_are_counted_by_error_and_shown_by_file(capsys: pytest.CaptureFixture[str]) -> None:
    """A table of counts, a line for each file, or JSON."""
    assert run(["failures"]) == 0
    head, most, least = capsys.readouterr().out.splitlines()
    assert (head.split()[0], most.split()[:2], most.split()[-1]) == ("files", ["2", "shop"], "locked")
    assert least.split()[:2] == ["1", "shop"]
    assert run(["failures", "--files", "--error", "LOCK", "--since", "1h"]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["a", "b"]
    assert run(["failures", "--json"]) == 0
    assert [json.loads(line)["file_id"] for line in capsys.readouterr().out.splitlines()] == ["c", "a", "b"]


def test_a_retry_shows_the_count_and_needs_a_yes(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal only --yes will do; the same again makes nothing new."""
    assert run(["retry", "--error", "locked"]) == 2
    out, err = capsys.readouterr()
    assert (out, "2 files" in err, "--yes" in err) == ("", True, True)
    assert run(["retry", "--error", "locked", "--yes"]) == 0
    out, err = capsys.readouterr()
    assert (len(out.splitlines()), "2 files as 1 request" in err) == (1, True)
    assert run(["retry", "--error", "locked", "--yes"]) == 1
    assert "Nothing was retried" in capsys.readouterr().err


def test_a_request_or_a_file_is_retried(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """The new request names the old one."""
    assert run(["retry", "--file", "b", "--yes", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["retry_of"], made["files"]) == ("r1", 1)
    assert run(["retry", "r2", "--yes"]) == 0
    assert client.status(capsys.readouterr().out.strip())["retry_of"] == "r2"
    assert run(["retry", "nobody", "--yes"]) == 1


@pytest.mark.parametrize("arguments", [["retry"], ["retry", "--since", "soon"], ["failures", "--until", "x"]])
def test_wrong_use_says_what_to_write(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is retried by accident."""
    assert run(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
