from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from local.processes.log_tail import LogTail, last_lines
from local.processes.process import Process
from local.processes.supervisor import StopSignals, Supervisor, describe_end, restart_pause, stop_together

TRACE = """\
2026-11-23T21:04:17.786Z INFO    celery.worker: ready.
2026-11-23T21:04:18.000Z WARNING kitsweep.imagekit: bulk delete of 1 ids: Refused
2026-11-23T21:04:19.000Z INFO    kitsweep.imagekit: no ERROR at all
2026-11-23T21:04:20.000Z ERROR   kitsweep.dispatcher: it failed
Traceback (most recent call last):
ValueError: \x1b[31mred
2026-11-23T21:04:21.000Z INFO    celery.worker: continues
"""


def sleeper(folder: Path, name: str, seconds: float = 60, *, heeds: bool = True) -> Process:
    ignore = "" if heeds else "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    program = f"{ignore}print('runs', flush=True); import time; time.sleep({seconds})"
    return Process(name, [sys.executable, "-c", program], notes=folder, log=folder / f"{name}.log")


class TestLogs:
    """Which lines of the logs are shown."""

    def test_warnings_and_their_tracebacks_are_shown(self, tmp_path: Path) -> None:
        """Lines at WARNING or above are shown, tracebacks included; control characters are escaped."""
        log = tmp_path / "log"
        log.write_text("2026-11-23T21:04:10.000Z ERROR   old: of an earlier run\n")
        tail = LogTail(log)
        with log.open("a") as stream:
            stream.write(TRACE)
        shown = [line.split(": ", 1)[-1] for line in tail.severe_lines()]
        expected = [
            "bulk delete of 1 ids: Refused",
            "it failed",
            "Traceback (most recent call last):",
            "\\x1b[31mred",
        ]
        assert shown == expected
        assert list(tail.severe_lines()) == []

    def test_json_lines_are_shown_by_their_message(self, tmp_path: Path) -> None:
        """Of a line of JSON, level and message are shown."""
        log = tmp_path / "log"
        tail = LogTail(log)
        log.write_text(
            '{"at": "2026-11-23T21:04:10Z", "level": "WARNING", "message": "it waits"}\n'
            '{"at": "2026-11-23T21:04:10Z", "level": "INFO", "message": "a WARNING"}\n'
        )
        assert list(tail.severe_lines()) == ["WARNING it waits"]

    def test_a_long_log_is_set_aside(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Logs do not fill the disk over many starts; the new log is followed from its beginning."""
        monkeypatch.setattr("local.processes.process.MAX_LOG_BYTES", 100)
        process = sleeper(tmp_path, "worker1", seconds=0)
        process.log.write_text("x" * 200)
        tail = LogTail(process.log)
        process.start()
        assert process.wait(20)
        process.kill()
        assert process.log.read_text() == "runs\n"
        assert (tmp_path / "worker1.old.log").read_text() == "x" * 200
        process.log.write_text(TRACE)
        assert len(list(tail.severe_lines())) == 4

    def test_a_missing_log_has_no_last_lines(self, tmp_path: Path) -> None:
        """A process may end before it writes anything."""
        assert last_lines(tmp_path / "none", 3) == []


class TestRestarts:
    """Processes that end by themselves."""

    def test_restart_pauses_grow_up_to_30_seconds(self) -> None:
        """The pause doubles with each end in a row, up to 30 s."""
        assert [restart_pause(ends) for ends in (1, 2, 3, 6, 10_000)] == [1, 2, 4, 30, 30]

    @pytest.mark.parametrize(
        ("status", "words"), [(0, "ended with status 0"), (-9, "was killed by signal 9"), (-99, "killed by signal 99")]
    )
    def test_the_end_of_a_process_is_described(self, status: int, words: str) -> None:
        """Exit status or signal, known or not."""
        assert words in describe_end(status)

    def test_a_process_that_ends_is_restarted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It starts again after a pause; a message says so, with the last lines of its log."""
        monkeypatch.setattr("local.processes.supervisor.FIRST_PAUSE_SECONDS", 0.05)
        said: list[str] = []
        process = sleeper(tmp_path, "short", seconds=0)
        with StopSignals() as signals:
            supervisor = Supervisor(signals, said.append)
            supervisor.start(process)
            runs_twice = lambda: process.log.read_text().count("runs") >= 2  # noqa: E731
            assert supervisor.run_until(runs_twice, 20)
            supervisor.stop([process], 5)
        assert "short ended with status 0; restarting in 0.05 s" in said[0]
        assert said[1] == "short | runs"
        assert not process.running


class TestStopping:
    """Signals."""

    def test_the_first_signal_stops_and_the_second_hurries(self) -> None:
        """SIGTERM ends the wait; a second signal asks to hurry."""
        with StopSignals() as signals:
            supervisor = Supervisor(signals, lambda _: None)
            signal.raise_signal(signal.SIGTERM)
            assert not supervisor.run_until(lambda: False)
            assert not signals.asked_to_hurry()
            signal.raise_signal(signal.SIGINT)
            assert signals.asked_to_hurry()

    def test_signal_handlers_are_restored(self) -> None:
        """After the block, signals have their old handlers."""
        before = signal.getsignal(signal.SIGINT)
        with StopSignals():
            assert signal.getsignal(signal.SIGINT) != before
        assert signal.getsignal(signal.SIGINT) == before

    def test_hurry_kills_a_process_that_does_not_stop(self, tmp_path: Path) -> None:
        """A slow process is killed at the second signal, not after the full time."""
        process = sleeper(tmp_path, "slow", heeds=False)
        process.start()
        with StopSignals() as signals:
            supervisor = Supervisor(signals, lambda _: None)
            assert supervisor.run_until(lambda: "runs" in process.log.read_text(), 20)
        stop_together([process], 60, hurry=lambda: True)
        assert process.exit_status == -signal.SIGKILL
