"""What `delete` says when it is interrupted: never anything wrong about whether the request was accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from cli import run
from cli.commands import delete as deleting
from tests.unit.test_cli_words import report
from worker.errors import NotDurable, RedisUnreachable, UnknownRequest
from worker.reports.report import Report


class BrokenClient:
    """A client whose `enqueue` ends in an error, before or after the request was accepted."""

    def __init__(self, error: BaseException, *, accepts: bool, away: bool = False) -> None:
        self.error = error
        self.accepts = accepts
        self.away = away
        self.tried = False

    def enqueue(self, file_ids: Iterable[str], **asked: Any) -> str:
        assert list(file_ids) == ["a", "b"]
        self.tried = True
        raise self.error

    def status(self, request_id: str) -> Report:
        if self.tried and self.away:
            raise RedisUnreachable("host:1/0")
        if not (self.tried and self.accepts):
            raise UnknownRequest(request_id)
        return report(request_id=request_id)


Broken = Callable[[BrokenClient], tuple[int, str]]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Broken:
    """Runs `delete` with a client, and returns the status and the last line."""
    path = tmp_path / "ids.txt"
    path.write_text("a\nb\n")

    def run_broken(client: BrokenClient) -> tuple[int, str]:
        monkeypatch.setattr(deleting, "Client", lambda settings: client)
        status = run(["delete", str(path), "--request-id", "job-7"])
        out, err = capsys.readouterr()
        assert (out, "Traceback" in err) == ("", False)
        return status, err.strip()

    return run_broken


def test_interrupted_before_it_was_accepted(broken: Broken) -> None:
    """Nothing was enqueued, and the message says so."""
    assert broken(BrokenClient(KeyboardInterrupt(), accepts=False)) == (130, "kitsweep: Nothing was enqueued.")


def test_interrupted_after_it_was_accepted(broken: Broken) -> None:
    """After Ctrl-C that came a moment too late, the message says that the request continues."""
    status, told = broken(BrokenClient(KeyboardInterrupt(), accepts=True))
    assert status == 130
    assert "the request continues" in told
    assert "kitsweep cancel job-7" in told


def test_interrupted_without_redis(broken: Broken) -> None:
    """If the state is unknown, the message says so, and how to check."""
    status, told = broken(BrokenClient(KeyboardInterrupt(), accepts=True, away=True))
    assert (status, "may have been accepted: check with `kitsweep status job-7`" in told) == (130, True)


def test_redis_becomes_unavailable_midway(broken: Broken) -> None:
    """The request may have been accepted: the message has its id, and how to send it again safely."""
    status, told = broken(BrokenClient(RedisUnreachable("host:1/0"), accepts=True, away=True))
    assert status == 2
    assert "Redis at host:1/0 cannot be reached" in told
    assert "with `--request-id job-7` it is safe to send it again" in told
    assert "\n" not in told


@pytest.mark.parametrize(("accepted", "told"), [(True, "Its id is job-7."), (False, "Nothing was enqueued.")])
def test_not_durable(broken: Broken, accepted: bool, told: str) -> None:
    """A request that was accepted but may not be on disk: the message has its id."""
    error = NotDurable("host:1/0", "keeps no append-only file", accepted=accepted)
    status, line = broken(BrokenClient(error, accepts=accepted))
    assert (status, line.endswith(told)) == (2, True)
