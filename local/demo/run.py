"""What `make run` runs on: a Kitsweep of its own in a temporary folder, and the command line as a program."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cli.screen.wording import report_lines
from config.settings import Settings, environment_name, load_settings
from local.ports import is_free
from local.processes.process import Process
from local.processes.supervisor import StopSignals
from local.programs import Places, environment_with
from local.stack import LocalRun
from local.up import say
from tasks.client import Client
from worker.errors import KitsweepError, UnknownRequest
from worker.states import State

WORKERS = 2
REQUEST_ID = "make-run"
LOGGED = {"KITSWEEP_LOG_FORMAT": "json", "KITSWEEP_LOG_LEVEL": "INFO"}
"""How workers log each call so that their calls can be counted."""

RULE = """\
[rules.old-and-expired]
tags = ["expired"]
older_than = "30d"
schedule = "0 3 * * *"
"""


class DemoError(KitsweepError):
    """Something is not as it should be."""


class Interrupted(KitsweepError):
    """A signal asked the run to stop."""

    def __str__(self) -> str:
        return "stopped by a signal"


@contextmanager
def temporary_run() -> Iterator[LocalRun]:
    """Give a run in a temporary folder, and stop everything at the end, however it comes.

    The folder is removed, unless the run failed: then its logs are of use. `Interrupted` after a signal.
    """
    places = Places(Path(tempfile.mkdtemp(prefix="kitsweep-run-")))
    places.make()
    with StopSignals() as signals:
        # Lines of others would tear the progress bar.
        run = LocalRun(places, signals, say, shows_warnings=False)
        try:
            yield run
        except Interrupted:
            _tell_what_became(run)
            raise
        except KitsweepError:
            say(f"make run: the logs are in {places.logs}")
            raise
        finally:
            run.stop()
            if isinstance(sys.exception(), Interrupted | None):
                shutil.rmtree(places.folder, ignore_errors=True)


def plain_settings() -> dict[str, str]:
    """Return environment entries that bring every setting of ours back to its default, but for the account."""
    names = {environment_name(name) for name in Settings.model_fields if name != "account"}
    return dict.fromkeys((name for name in names if name.startswith("KITSWEEP_")), "")


def delete_by_command_line(run: LocalRun, file: Path, told: Mapping[str, str]) -> None:
    """Start the workers, and let `kitsweep delete FILE --wait` run to its end. Raises `Interrupted`, `DemoError`."""
    told = {**told, **LOGGED, "KITSWEEP_REDIS_URL": run.url}
    say(f"Starting {WORKERS} workers …")
    run.start_workers(WORKERS, told)
    arguments = ["delete", str(file), "--wait", "--yes", "--reason", "make run", "--request-id", REQUEST_ID]
    status = _run_command(run, told, arguments, shown=3)
    if status not in {0, 1}:
        raise DemoError(f"kitsweep delete ended with status {status}")


def see_a_rule(run: LocalRun, told: Mapping[str, str]) -> None:
    """Let a dry run show what a cleanup rule would delete; it deletes nothing. Raises `Interrupted`, `DemoError`."""
    rules = run.places.folder / "cleanup.toml"
    rules.write_text(RULE, encoding="utf-8")
    say("A cleanup rule, and what it would delete (a dry run deletes nothing):")
    say("".join(f"    {line}\n" for line in RULE.splitlines()))
    told = {**told, "KITSWEEP_REDIS_URL": run.url, "KITSWEEP_CLEANUP_FILE": str(rules)}
    status = _run_command(run, told, ["cleanup", "run", "old-and-expired", "--dry-run"])
    if status != 0:
        raise DemoError(f"kitsweep cleanup run ended with status {status}")
    say("")


def _run_command(run: LocalRun, told: Mapping[str, str], arguments: list[str], shown: int | None = None) -> int | None:
    """Run the command line to its end, its output shown, and return its exit status. Raises `Interrupted`."""
    say(f"$ kitsweep {' '.join(arguments[:shown])}")
    command = Process(
        "kitsweep",
        [sys.executable, "-m", "cli", *arguments],
        notes=run.places.notes,
        log=run.places.logs / "kitsweep.log",
        environment=environment_with(told),
        shown=True,
    )
    go_on_unless_stopped(run)
    command.start()
    try:
        run.supervisor.keep_until(lambda: not command.running)
    finally:
        interrupted = command.running
        command.stop()
        if interrupted and sys.stderr.isatty():
            sys.stderr.write("\x1b[?25h\n")  # The progress bar had hidden the cursor.
    go_on_unless_stopped(run)
    return command.exit_status


def client_of(run: LocalRun) -> Client:
    """Return a client of the run's queue."""
    return Client(load_settings(redis_url=run.url))


def go_on_unless_stopped(run: LocalRun) -> None:
    """Raise `Interrupted` if a signal came."""
    if run.signals.asked_to_stop():
        raise Interrupted


def check_that_nothing_is_left(run: LocalRun, *ports: int) -> None:
    """Raise `DemoError` if a process or a port of a stopped run is still in use."""
    still = [process.name for process in run.processes if process.running]
    still += [f"port {port}" for port in ports if not is_free(port)]
    if still:
        raise DemoError(f"still in use after the end: {', '.join(still)}")


def _tell_what_became(run: LocalRun) -> None:
    """Cancel what waits, let calls in the air end, and show the report: nothing of it goes on later."""
    say("Stopping: calls in the air are finished first. Once more (Ctrl-C) stops at once.")
    if run.server is None or not run.server.answers():
        return
    client = client_of(run)
    try:
        was_accepted = State(client.cancel(REQUEST_ID)["state"]) is not State.OPEN
    except UnknownRequest:
        was_accepted = False
    run.stop_workers()
    if was_accepted:
        for line in report_lines(client.status(REQUEST_ID)):
            say(line)
