"""A stop that has begun gives calls up in time; before that it changes nothing."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator

import pytest

from config.settings import load_settings
from tests.unit.scripted_server import Caller, ScriptedServer, always, http, scripted_server
from worker.imagekit.answers import PerFile, Unanswered
from worker.imagekit.client import ImageKit
from worker.runtime import stopping

FILE_ID = "598821f949c0a938d57563bd"
GONE = b'{"successfullyDeletedFileIds": ["598821f949c0a938d57563bd"]}'


@pytest.fixture(autouse=True)
def _no_signal_stays() -> Iterator[None]:
    assert not stopping.has_begun()
    yield
    stopping._signals.clear()


@pytest.fixture(name="server")
def _server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


def api_of(server: ScriptedServer, stop_seconds: float) -> ImageKit:
    """Make a client as a worker has it."""
    settings = load_settings(private_key="private_x", base_url=server.url, http_timeout_seconds=20)
    return ImageKit(settings, stopping.calls_end_at(stop_seconds))


def signal_when(event: threading.Event) -> None:
    """Ask the worker to stop as soon as something has happened."""
    event.wait()
    stopping._note()


def test_calls_end_some_seconds_before_the_time_to_stop_is_over() -> None:
    """Of 10 s the last four are for the rest; of a very short time a quarter is for the calls."""
    ends = {seconds: stopping.calls_end_at(seconds) for seconds in (10.0, 1.0, 60.0)}
    assert {end() for end in ends.values()} == {math.inf}
    before = time.monotonic()
    stopping._note()
    stopping._note()
    after = time.monotonic()
    for seconds, patience in ((10.0, 6.0), (1.0, 0.25), (60.0, 56.0)):
        assert before + patience <= ends[seconds]() <= after + patience


def test_a_hanging_call_is_aborted_when_the_worker_stops(server: ScriptedServer) -> None:
    """It counts as unanswered: it may have had its effect."""
    waiting = threading.Event()

    def hang(caller: Caller) -> None:
        waiting.set()
        server.stopped.wait()

    server.play = hang
    with contextlib.closing(api_of(server, stop_seconds=1)) as api:
        signal = threading.Thread(target=signal_when, args=(waiting,))
        signal.start()
        start = time.monotonic()
        answer = api.delete([FILE_ID])
        signal.join()
    assert isinstance(answer, Unanswered)
    assert answer.sent
    assert "the worker is stopping" in answer.reason
    assert time.monotonic() - start < 5, "far less than the time-out of the call"


def test_a_call_that_is_answered_in_time_is_not_given_up(server: ScriptedServer) -> None:
    """Calls in flight when the signal arrives are finished."""
    answer = http(200, GONE)

    def tell_of_the_stop_first(caller: Caller) -> None:
        stopping._note()
        always(answer)(caller)

    server.play = tell_of_the_stop_first
    with contextlib.closing(api_of(server, stop_seconds=20)) as api:
        assert isinstance(api.delete([FILE_ID]), PerFile)
