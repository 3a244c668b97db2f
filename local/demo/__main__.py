"""`make run`: the main job from end to end, with everything that it needs started and stopped around it.

A list of ids goes through the command line to two workers, and the report stands beside the simulator's own count.
The real API is called only where a private key is set, a file is named, and somebody agreed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from cli.screen.output import counted, number
from cli.screen.wording import report_lines
from config.settings import ConfigError, Settings, load_settings
from config.windows import Window
from local.demo.accounts import differences, our_account, simulator_account, table
from local.demo.input import DemoInput, make_input, write_list
from local.demo.run import (
    REQUEST_ID,
    DemoError,
    check_that_nothing_is_left,
    client_of,
    delete_by_command_line,
    go_on_unless_stopped,
    plain_settings,
    see_a_rule,
    temporary_run,
)
from local.ports import free_port
from local.programs import simulated
from local.stack import LocalRun
from local.up import say
from simulator import Control
from tasks.id_files import InputError, read_file_ids
from worker.errors import KitsweepError
from worker.states import State

FILES = 20_000
LIMIT = Window(20, 1000)
"""20 calls a second: the list takes some 15 seconds."""
REFUSAL = "Your request contains invalid fileId parameter."
"""What the API says of a file id that it refuses."""
GOOD, BAD, WRONG_USE = 0, 1, 2


class WrongUse(KitsweepError):
    """The command was called in a way that it does not take."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `make run`; return the exit status: 0 all as it should be, 1 not, 2 wrong use."""
    given = _parser().parse_args(arguments)
    file: Path | None = given.file or given.named
    try:
        settings = load_settings()
        if settings.private_key and file:
            return _run_for_real(file, settings, agreed=given.yes)
        if settings.private_key:
            say("IMAGEKIT_PRIVATE_KEY is set, but no file of ids is named: so the simulator takes the place of")
            say("ImageKit, the key is not used, and nothing real is deleted.")
            say("To delete files for good: make run FILE=ids.txt\n")
        return _run_simulated(file, given.files)
    except (ConfigError, WrongUse, InputError) as error:
        _explain(error)
        return WRONG_USE
    except (KitsweepError, OSError) as error:
        _explain(error)
        return BAD
    except KeyboardInterrupt:
        say("\nmake run: nothing was deleted")
        return BAD


def _explain(error: Exception) -> None:
    for line in str(error).splitlines():
        say(f"make run: {line}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make run", description="Run the main job once, from end to end.")
    what = "file ids to delete, as for `kitsweep delete`"
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help=what)
    parser.add_argument("--file", type=Path, dest="named", metavar="FILE", help="the same")
    parser.add_argument("--yes", action="store_true", help="with a private key set: delete without asking")
    parser.add_argument("--files", type=int, default=FILES, help=argparse.SUPPRESS)
    return parser


def _run_simulated(file: Path | None, files: int) -> int:
    """Delete made-up ids, or rehearse with those of `file`, in the simulator; compare what both sides say."""
    made = None if file else make_input(files)
    library = made.existing if made else list(_read(file))
    with temporary_run() as run:
        asked = file or run.places.folder / "ids.txt"
        if made:
            write_list(made, asked)
        url, port = _start_simulator(run, library, made)
        told = {**plain_settings(), **simulated(url), "KITSWEEP_RATE_LIMITS": f'["{LIMIT}"]'}
        if made:
            see_a_rule(run, told)
        delete_by_command_line(run, asked, told)
        _compare(run, url)
        run.stop()
        check_that_nothing_is_left(run, port, run.server.port if run.server else 0)
    say("Everything has stopped.")
    return GOOD


def _start_simulator(run: LocalRun, library: Iterable[str], made: DemoInput | None) -> tuple[str, int]:
    """Start Redis and the simulator with these files; return the simulator's URL and port."""
    run.start_server(run.places.redis(simulated=True), None)
    port = free_port()
    ids_file = run.places.sample_ids
    with ids_file.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{file_id}\n" for file_id in library)
    url = run.start_simulator(port, [LIMIT], ids_file, keep_ids=True)
    go_on_unless_stopped(run)
    say(f"Redis at {run.url}, a simulator of ImageKit at {url} that allows {LIMIT.limit} calls a second.")
    say("Nothing real is deleted.")
    if made:
        Control(url).refuse_ids([made.refused], REFUSAL)
        say(
            f"The list: {number(len(made.existing))} files, {number(made.duplicates)} of them given twice, "
            f"{counted(len(made.missing), 'id')} of no file."
        )
        say("One id the API refuses, on purpose: so the request is to end as FAILURE, with that one.")
    return url, port


def _compare(run: LocalRun, url: str) -> None:
    """Show the report, and what both sides counted. Raises `DemoError` if they do not agree."""
    client, control = client_of(run), Control(url)
    say("")
    for line in report_lines(client.status(REQUEST_ID)):
        say(line)
    logs = [process.log for process in run.working]
    ours, theirs = our_account(client, REQUEST_ID, logs), simulator_account(control)
    say("")
    for line in table(ours, theirs):
        say(line)
    wrong = differences(ours, theirs) + control.violations()
    control.close()
    if wrong:
        raise DemoError("\n".join(["the two do not agree:", *wrong]))
    say("Both agree, file by file.")


def _run_for_real(file: Path, settings: Settings, *, agreed: bool) -> int:
    """Delete the files of a list from ImageKit, after somebody agreed."""
    count = sum(1 for _ in _read(file))
    if not count:
        raise WrongUse(f"{file} holds no file ids")
    say(f"{file} lists {counted(count, 'file id')}. They are deleted from {settings.base_url}, FOR GOOD.")
    if not agreed and not _agreed():
        say("Nothing was deleted.")
        return BAD
    with temporary_run() as run:
        run.start_server(run.places.redis(simulated=False), None)
        delete_by_command_line(run, file, {})
        report = client_of(run).status(REQUEST_ID)
        say("")
        for line in report_lines(report):
            say(line)
        run.stop()
        check_that_nothing_is_left(run)
    say("Everything has stopped.")
    return GOOD if report["state"] == State.SUCCESS else BAD


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise WrongUse("nobody is there to ask: to delete them unasked, say `make run FILE=… YES=1`")
    return input("Delete them? [y/N] ").strip().lower() in {"y", "yes"}


def _read(file: Path | None) -> Iterable[str]:
    if file is None:
        return
    try:
        stream = file.open("rb")
    except OSError as error:
        raise WrongUse(f"{file}: {error.strerror}") from None
    with stream:
        for _, file_id in read_file_ids(stream):
            yield file_id


if __name__ == "__main__":
    sys.exit(main())
