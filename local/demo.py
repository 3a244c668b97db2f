"""`make run`: the main job from end to end, on a separate `kitsweep up` in a temporary folder.

A list of ids goes through the command line to two workers, and the report is compared with the simulator's own counts.
ImageKit itself is called only if a private key is set, a file is named, and the operator confirms.
"""

import argparse
import random
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from textwrap import indent

from config.settings import ConfigError, Settings, environment_name, load_settings
from local import purging
from local.over_http import delete_over_http
from local.ports import LOOPBACK, free_port
from local.processes.log_tail import last_lines
from local.processes.process import Process, wait_until
from local.processes.supervisor import StopSignals
from local.retrying import retry_failed
from local.stack import environment_with, simulated
from local.tally import figures, logged_calls
from local.up import say
from simulator import Control, generate_ids
from tasks.client import Client
from tasks.id_files import InputError, read_file_ids
from worker.errors import KitsweepError, QueueUnavailable, UnknownRequest
from worker.states import Outcome, State

FILES = 20_000
LIMIT = "20/1s"
"""The list takes some 15 seconds with it."""
MOST_OVER_HTTP = 500
REQUEST_ID = "make-run"
RULE = """\
[rules.old-and-expired]
tags = ["expired"]
older_than = "30d"
schedule = "0 3 * * *"
"""
GOOD, BAD, WRONG_USE = 0, 1, 2
_KEY_IS_NOT_USED = """\
IMAGEKIT_PRIVATE_KEY is set, but no file of ids is named: this run uses the simulator instead of ImageKit. It does not
use the key, and nothing real is deleted. To delete files for good: make run FILE=ids.txt
"""
_STOP_SECONDS = 70.0
_LOGGING = {"KITSWEEP_LOG_FORMAT": "json", "KITSWEEP_LOG_LEVEL": "INFO"}
"""From which the calls of the workers are counted."""


class WrongUse(KitsweepError):
    """Wrong arguments of `make run`."""


class DemoError(KitsweepError):
    """The run failed."""


class Interrupted(DemoError):
    """A signal asked the run to stop."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `make run`; return the exit status: 0 success, 1 failure, 2 wrong use."""
    parser = argparse.ArgumentParser(prog="make run", description="Run the main job once, from end to end.")
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help="file ids, as for `kitsweep delete`")
    parser.add_argument("--yes", action="store_true", help="with a private key set: delete without asking")
    parser.add_argument("--files", type=int, default=FILES, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    try:
        return _run(given.file, given.files, agreed=given.yes)
    except (KitsweepError, ConfigError, OSError) as error:
        for line in str(error).splitlines():
            say(f"make run: {line}")
        return WRONG_USE if isinstance(error, ConfigError | WrongUse | InputError) else BAD


def _run(file: Path | None, files: int, *, agreed: bool) -> int:
    settings = load_settings()
    listed = _read(file) if file else []
    if settings.private_key and file:
        return _run_for_real(file, len(listed), settings, agreed=agreed)
    if settings.private_key:
        say(_KEY_IS_NOT_USED)
    # All settings but the account are the defaults.
    names = {environment_name(name) for name in Settings.model_fields if name != "account"}
    with _demo(
        {**dict.fromkeys(names, ""), "KITSWEEP_RATE_LIMITS": f'["{LIMIT}"]', "KITSWEEP_PURGE_WINDOW_SECONDS": "1"}
    ) as demo:
        control = demo.use_simulator()
        if file:
            control.add_files(listed)
        else:
            file, listed, more = _make_list(demo, control, files)
            _show_a_rule(demo)
            demo.delete_over_http(more)
            demo.requests.append(purging.REQUEST_ID)
            listed += purging.delete_and_purge(demo.kitsweep, control, demo.folder)
        demo.delete(file)
        _compare(demo, control, listed)
        if demo.client.status(REQUEST_ID)["failed"]:
            retry_failed(demo.kitsweep, control, demo.settings["KITSWEEP_REDIS_URL"], REQUEST_ID)
    say("Everything has stopped.")
    return GOOD


def _run_for_real(file: Path, count: int, settings: Settings, *, agreed: bool) -> int:
    """Delete the files of a list from ImageKit, after the operator confirms."""
    if not count:
        raise WrongUse(f"{file} contains no file ids")
    say(f"{file} lists {count:,} file ids. They will be deleted from {settings.base_url}, FOR GOOD.")
    if not agreed and not sys.stdin.isatty():
        raise WrongUse("no terminal to confirm at; to delete the files without confirmation: make run FILE=… YES=1")
    if not agreed and input("Delete them? [y/N] ").strip().lower() not in {"y", "yes"}:
        say("Nothing was deleted.")
        return BAD
    with _demo({}) as demo:
        demo.delete(file)
        state = demo.client.status(REQUEST_ID)["state"]
    say("Everything has stopped.")
    return GOOD if state == State.SUCCESS else BAD


def _read(file: Path) -> list[str]:
    try:
        with file.open("rb") as stream:
            return [file_id for _, file_id in read_file_ids(stream)]
    except OSError as error:
        raise WrongUse(f"{file}: {error.strerror}") from None


class Demo:
    """A `kitsweep up` in a temporary folder, and the commands that are called beside it."""

    def __init__(self, folder: Path, signals: StopSignals, settings: Mapping[str, str]) -> None:
        url = f"redis://{LOOPBACK}:{free_port()}/0"
        self.folder = folder
        self.signals = signals
        ours = {"KITSWEEP_WEB_PORT": str(free_port()), "KITSWEEP_SIGNING_KEY_FILE": str(folder / "signing-key.pem")}
        self.settings = {**settings, **_LOGGING, "KITSWEEP_REDIS_URL": url, **ours}
        self.client = Client(load_settings(redis_url=url, accounts_file=None))
        self.requests = [REQUEST_ID]
        """All requests of the run."""
        self.up = self._process("up", "--workers", "2", "--files", "0", "--data", str(folder / "data"))

    def start(self) -> None:
        """Start everything, and wait until it runs. Raises `DemoError` and `Interrupted`."""
        say("Starting Redis and 2 workers …")
        self.up.start()
        self._wait(lambda: not self.up.running or "Stop with Ctrl-C" in self.up.log.read_text(encoding="utf-8"))
        if not self.up.running:
            raise DemoError("\n".join(["kitsweep up did not start:", *last_lines(self.up.log, 5)]))

    def use_simulator(self) -> Control:
        """Direct the commands to the simulator, and return its control."""
        (url,) = re.findall(r"ImageKit +(\S+)", self.up.log.read_text(encoding="utf-8"))
        self.settings |= simulated(url)
        say(f"A simulator of ImageKit runs at {url}, with a limit of {LIMIT}. Nothing real is deleted.")
        return Control(url)

    def delete_over_http(self, file_ids: list[str]) -> None:
        """Delete files with ImageKit's SDK, through `kitsweep web`. Raises `OverHttpError`."""
        (url,) = re.findall(r"Web +(\S+)", self.up.log.read_text(encoding="utf-8"))
        say(f"\nImageKit's SDK for Python deletes {len(file_ids):,} more files, with its base URL set to {url}")
        self.requests += delete_over_http(url, self.settings["IMAGEKIT_PRIVATE_KEY"], file_ids)

    def delete(self, file: Path) -> None:
        """Run `kitsweep delete FILE --wait` to its end, and show the report. Raises `Interrupted` and `DemoError`."""
        options = ["--wait", "--yes", "--reason", "make run", "--request-id", REQUEST_ID]
        self.kitsweep("delete", str(file), *options, good={0, 1})
        self.kitsweep("status", REQUEST_ID, good={0, 1})

    def kitsweep(self, *arguments: str, good: Collection[int] = (0,)) -> None:
        """Run a command to its end, with its output shown. Raises `DemoError` if its status is not in `good`."""
        say(f"\n$ kitsweep {shlex.join(arguments)}")
        command = self._process(*arguments, shown=True)
        command.start()
        try:
            self._wait(lambda: not command.running)
        finally:
            if command.running and sys.stderr.isatty():
                sys.stderr.write("\x1b[?25h\n")  # The progress bar has hidden the cursor.
            command.stop()
        if command.exit_status not in good:
            raise DemoError(f"kitsweep {arguments[0]} ended with status {command.exit_status}")

    def cancel(self) -> None:
        """Cancel what waits, finish calls in flight, and show how many files were deleted."""
        say("Stopping once the calls in flight have finished. Press Ctrl-C again to stop at once.")
        with suppress(UnknownRequest, QueueUnavailable):
            report = self.client.cancel(REQUEST_ID)
            while report["in_flight"] and not self.signals.asked_to_hurry():
                time.sleep(0.1)
                report = self.client.status(REQUEST_ID)
            say(f"deleted {report['deleted']:,}, cancelled {report['cancelled']:,} of {report['total']:,} files")

    def stop(self) -> None:
        """Stop everything. May be called twice."""
        self.up.ask_to_stop()
        wait_until(lambda: self.signals.asked_to_hurry() or not self.up.running, _STOP_SECONDS)
        self.up.stop()  # A second signal makes it hurry.

    def _wait(self, condition: Callable[[], bool]) -> None:
        wait_until(lambda: condition() or self.signals.asked_to_stop(), float("inf"))
        if self.signals.asked_to_stop():
            raise Interrupted("stopped by a signal")

    def _process(self, *arguments: str, shown: bool = False) -> Process:
        return Process(
            arguments[0],
            [sys.executable, "-m", "cli", *arguments],
            notes=self.folder,
            log=self.folder / f"{arguments[0]}.log",
            environment=environment_with(self.settings),
            shown=shown,
        )


@contextmanager
def _demo(settings: Mapping[str, str]) -> Iterator[Demo]:
    """Yield a demo that runs, and stop it. Its folder, with the logs, is removed unless the run failed."""
    folder = Path(tempfile.mkdtemp(prefix="kitsweep-run-"))
    with StopSignals() as signals:
        demo = Demo(folder, signals, settings)
        try:
            demo.start()
            yield demo
            demo.stop()
            if demo.up.exit_status:
                raise DemoError(f"kitsweep up ended with status {demo.up.exit_status}")
        except Interrupted:
            demo.cancel()
            raise
        except KitsweepError:
            say(f"make run: the logs are in {folder}")
            raise
        finally:
            demo.stop()
            if isinstance(sys.exception(), Interrupted | None):
                shutil.rmtree(folder, ignore_errors=True)


def _make_list(demo: Demo, control: Control, files: int) -> tuple[Path, list[str], list[str]]:
    """Create files, and write a list of most of them with duplicates and unknown ids.

    Return the list's path, the distinct ids of all, and the files that are not on the list.
    """
    ids = generate_ids(seed=20_000)
    more = list(islice(ids, min(MOST_OVER_HTTP, files // 8)))
    existing, missing = list(islice(ids, max(1, files - len(more)))), list(islice(ids, max(1, files // 400)))
    dice = random.Random(1)  # noqa: S311 - no secrets
    twice = dice.choices(existing, k=max(1, files // 200))
    lines = [*existing, *missing, *twice]
    dice.shuffle(lines)
    path = demo.folder / "ids.txt"
    path.write_text("\n".join(["# file ids to delete, made by `make run`", *lines, ""]), encoding="utf-8")
    control.add_files([*existing, *more])
    control.refuse_ids([existing[len(existing) // 2]])
    say(f"The list holds {len(existing):,} files, {len(twice):,} of them twice, and {len(missing):,} ids of no file.")
    say("The API refuses one id on purpose, so the request will end as FAILURE with that one.")
    return path, [*existing, *missing, *more], more


def _show_a_rule(demo: Demo) -> None:
    """Show what a cleanup rule would delete."""
    path = demo.folder / "cleanup.toml"
    path.write_text(RULE, encoding="utf-8")
    say(f"A cleanup rule, and what it would delete (a dry run deletes nothing):\n{indent(RULE, '    ').rstrip()}")
    demo.settings["KITSWEEP_CLEANUP_FILE"] = str(path)
    demo.kitsweep("cleanup", "run", "old-and-expired", "--dry-run")


def _compare(demo: Demo, control: Control, file_ids: Sequence[str]) -> None:
    """Show what both sides counted: ours from outcomes and logs, theirs from the simulator. Raises `DemoError`."""
    found = {each.file_id: str(each.outcome) for name in demo.requests for each in demo.client.outcomes(name)}
    truth = dict.fromkeys(file_ids, str(Outcome.NOT_FOUND))
    truth |= dict.fromkeys(control.existing(file_ids), str(Outcome.FAILED))
    truth |= dict.fromkeys(control.deleted(), str(Outcome.DELETED))
    ours = figures(found, [call for log in demo.folder.rglob("worker*.log") for call in logged_calls(log)])
    theirs = figures(truth, [(call.id_count, call.status) for call in control.calls("bulk_delete")])
    say(f"\n{'':14}{'Kitsweep':>12}{'simulator':>12}")
    for name, our in ours.items():
        say(f"{name:14}{our:>12}{theirs[name]:>12}   {'agree' if our == theirs[name] else 'DIFFER'}")
    apart = sorted(found.items() ^ truth.items())[:10]
    wrong = [*(f"{file_id}: {outcome}" for file_id, outcome in apart), *control.violations()]
    if wrong or ours != theirs:
        raise DemoError("\n".join(["the two do not agree:", *wrong]))
    say("Both agree, file by file.")


if __name__ == "__main__":
    sys.exit(main())
