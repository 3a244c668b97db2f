"""What `make run` runs on: a stack of its own in a temporary folder, and the command line as a program."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from config.settings import Settings, environment_name
from local.data_folder import DataFolder
from local.environment import environment_with
from local.ports import is_free
from local.processes.process import Process
from local.processes.supervisor import StopSignals
from local.stack import Stack
from local.up import say
from worker.errors import KitsweepError, UnknownRequest
from worker.states import State

WORKERS = 2
REQUEST_ID = "make-run"
_LOGGING = {"KITSWEEP_LOG_FORMAT": "json", "KITSWEEP_LOG_LEVEL": "INFO"}
"""So that the calls of the workers can be counted in their logs."""
_STATUS_SECONDS = 30.0


class DemoError(KitsweepError):
    """The run did not end as it should."""


class Interrupted(KitsweepError):
    """A signal asked the run to stop."""

    def __str__(self) -> str:
        return "stopped by a signal"


@dataclass
class Demo:
    """A stack and the settings of its workers and commands, on top of our environment."""

    stack: Stack
    settings: dict[str, str] = field(default_factory=dict)

    def use_defaults(self) -> None:
        """Bring every setting back to its default, except for the account."""
        names = {environment_name(name) for name in Settings.model_fields if name != "account"}
        self.settings |= dict.fromkeys((name for name in names if name.startswith("KITSWEEP_")), "")

    def delete(self, file: Path) -> None:
        """Start workers, and run `kitsweep delete FILE --wait` to its end. Raises `Interrupted` and `DemoError`."""
        say(f"Starting {WORKERS} workers …")
        self.stack.start_workers(WORKERS, {**self.settings, **_LOGGING})
        options = ["--wait", "--yes", "--reason", "make run", "--request-id", REQUEST_ID]
        self.kitsweep("delete", str(file), *options, shown=3, good={0, 1})

    def kitsweep(self, *arguments: str, good: frozenset[int] | set[int] = frozenset({0}), shown: int = 9) -> None:
        """Run the command line to its end, with its output shown and so many of its arguments.

        Raises:
            Interrupted: a signal came.
            DemoError: its exit status is none of the `good` ones.
        """
        folder = self.stack.folder
        command = Process(
            "kitsweep",
            _kitsweep(*arguments),
            notes=folder.notes,
            log=folder.logs / "kitsweep.log",
            environment=self._environment(),
            shown=True,
        )
        say(f"$ kitsweep {' '.join(arguments[:shown])}")
        self.check_not_stopped()
        command.start()
        try:
            self.stack.supervisor.run_until(lambda: not command.running)
        finally:
            was_running = command.running
            command.stop()
            if was_running and sys.stderr.isatty():
                sys.stderr.write("\x1b[?25h\n")  # The progress bar has hidden the cursor.
        self.check_not_stopped()
        if command.exit_status not in good:
            raise DemoError(f"kitsweep {arguments[0]} ended with status {command.exit_status}")

    def show_report(self) -> None:
        """Show `kitsweep status` of the request, even after a signal."""
        say(f"$ kitsweep status {REQUEST_ID}")
        subprocess.run(  # noqa: S603 - our own program
            _kitsweep("status", REQUEST_ID),
            env=self._environment(),
            start_new_session=True,
            timeout=_STATUS_SECONDS,
            check=False,
        )

    def stop(self) -> None:
        """Stop everything. Raises `DemoError` if a process or a port is still in use then."""
        redis, simulator = self.stack.redis, self.stack.simulator
        ports = [redis.port] if redis else []
        ports += [int(simulator.url.rpartition(":")[2])] if simulator else []
        self.stack.stop()
        still = [process.name for process in self.stack.processes if process.running]
        still += [f"port {port}" for port in ports if not is_free(port)]
        if still:
            raise DemoError(f"still in use after the end: {', '.join(still)}")

    def check_not_stopped(self) -> None:
        """Raise `Interrupted` if a signal came."""
        if self.stack.signals.asked_to_stop():
            raise Interrupted

    def cancel(self) -> None:
        """Cancel what still waits, let calls in flight finish, and show the report."""
        say("Stopping once the calls in flight have finished. Press Ctrl-C again to stop at once.")
        if self.stack.redis is None or not self.stack.redis.answers():
            return
        try:
            was_accepted = self.stack.client.cancel(REQUEST_ID)["state"] != State.OPEN
        except UnknownRequest:
            was_accepted = False
        self.stack.stop_workers()
        if was_accepted:
            self.show_report()

    def _environment(self) -> dict[str, str]:
        return environment_with({**self.settings, "KITSWEEP_REDIS_URL": self.stack.url})


def _kitsweep(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cli", *arguments]


@contextmanager
def temporary_demo() -> Iterator[Demo]:
    """Yield a demo in a temporary folder, and stop everything at the end, whatever happens.

    The folder is removed unless the run failed: then its logs are of use. Raises `Interrupted` after a signal.
    """
    folder = DataFolder(Path(tempfile.mkdtemp(prefix="kitsweep-run-")))
    folder.make()
    with StopSignals() as signals:
        # Lines of workers would tear the progress bar.
        demo = Demo(Stack(folder, signals, say, shows_warnings=False))
        try:
            yield demo
        except Interrupted:
            demo.cancel()
            raise
        except KitsweepError:
            say(f"make run: the logs are in {folder.logs}")
            raise
        finally:
            demo.stack.stop()
            if isinstance(sys.exception(), Interrupted | None):
                shutil.rmtree(folder.path, ignore_errors=True)
