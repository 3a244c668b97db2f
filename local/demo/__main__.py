"""`make run`: the main job from end to end, with everything that it needs started and stopped around it.

A list of ids goes through the command line to two workers, and the report is compared with the simulator's own counts.
ImageKit itself is called only if a private key is set, a file is named, and the user confirms.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from config.settings import ConfigError, Settings, load_settings
from config.windows import Window
from local.demo.input import DemoInput, make_input
from local.demo.run import REQUEST_ID, Demo, DemoError, temporary_demo
from local.demo.tally import differences, our_tally, simulator_tally, table
from local.environment import simulated
from local.ports import free_port
from local.up import say
from simulator import Simulator
from tasks.id_files import InputError, read_file_ids
from worker.errors import KitsweepError
from worker.states import State

FILES = 20_000
LIMIT = Window(20, 1000)
"""20 calls a second: the list takes some 15 seconds."""
REFUSAL = "Your request contains invalid fileId parameter."
"""What the API says of a file id that it refuses."""
RULE = """\
[rules.old-and-expired]
tags = ["expired"]
older_than = "30d"
schedule = "0 3 * * *"
"""
GOOD, BAD, WRONG_USE = 0, 1, 2


class WrongUse(KitsweepError):
    """`make run` was called in the wrong way."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `make run`; return the exit status: 0 everything is as it should be, 1 it is not, 2 wrong use."""
    given = _parser().parse_args(arguments)
    file: Path | None = given.file or given.named
    try:
        settings = load_settings()
        if settings.private_key and file:
            return _run_for_real(file, settings, agreed=given.yes)
        if settings.private_key:
            say("IMAGEKIT_PRIVATE_KEY is set, but no file of ids is named: this run uses the simulator instead of")
            say("ImageKit. It does not use the key, and nothing real is deleted.")
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
    """Delete made-up ids, or rehearse with those of `file`, on the simulator; compare what both sides say."""
    made = None if file else make_input(files)
    file_ids = made.existing if made else list(_read(file))
    with temporary_demo() as demo:
        path = file or demo.stack.folder.path / "ids.txt"
        if made:
            made.write(path)
        simulator = _start(demo, file_ids)
        if made:
            _describe(made, simulator)
            _show_a_rule(demo)
        demo.delete(path)
        say("")
        demo.show_report()
        _compare(demo, simulator)
        demo.stop()
    say("Everything has stopped.")
    return GOOD


def _start(demo: Demo, file_ids: Iterable[str]) -> Simulator:
    """Start Redis and a simulator with these files, and let workers and commands use both."""
    stack = demo.stack
    stack.start_redis(simulated=True)
    simulator = stack.start_simulator(file_ids, [LIMIT], free_port(), keep_ids=True)
    demo.use_defaults()
    demo.settings |= {**simulated(simulator.url), "KITSWEEP_RATE_LIMITS": f'["{LIMIT}"]'}
    demo.check_not_stopped()
    say(f"Redis runs at {stack.url}, a simulator of ImageKit at {simulator.url}, with a limit of {LIMIT.limit} calls")
    say("a second. Nothing real is deleted.")
    return simulator


def _describe(made: DemoInput, simulator: Simulator) -> None:
    """Say what the list holds, and have the simulator refuse one id of it."""
    simulator.refuse_ids([made.refused], REFUSAL)
    say(
        f"The list holds {len(made.existing):,} files, {made.duplicates:,} of them twice, and "
        f"{len(made.missing):,} ids of no file."
    )
    say("The API refuses one id on purpose, so the request will end as FAILURE with that one.")


def _show_a_rule(demo: Demo) -> None:
    """Show what a cleanup rule would delete."""
    path = demo.stack.folder.path / "cleanup.toml"
    path.write_text(RULE, encoding="utf-8")
    say("A cleanup rule, and what it would delete (a dry run deletes nothing):")
    say("".join(f"    {line}\n" for line in RULE.splitlines()))
    demo.settings["KITSWEEP_CLEANUP_FILE"] = str(path)
    demo.kitsweep("cleanup", "run", "old-and-expired", "--dry-run")
    say("")


def _compare(demo: Demo, simulator: Simulator) -> None:
    """Show what both sides counted. Raises `DemoError` if they do not agree."""
    logs = [process.log for process in demo.stack.celery]
    ours, theirs = our_tally(demo.stack.client, REQUEST_ID, logs), simulator_tally(simulator)
    say("")
    for line in table(ours, theirs):
        say(line)
    if wrong := differences(ours, theirs) + simulator.violations():
        raise DemoError("\n".join(["the two do not agree:", *wrong]))
    say("Both agree, file by file.")


def _run_for_real(file: Path, settings: Settings, *, agreed: bool) -> int:
    """Delete the files of a list from ImageKit, once the user confirms."""
    count = sum(1 for _ in _read(file))
    if not count:
        raise WrongUse(f"{file} holds no file ids")
    say(f"{file} lists {count:,} file ids. They will be deleted from {settings.base_url}, FOR GOOD.")
    if not agreed and not _agreed():
        say("Nothing was deleted.")
        return BAD
    with temporary_demo() as demo:
        demo.stack.start_redis(simulated=False)
        demo.delete(file)
        say("")
        demo.show_report()
        state = demo.stack.client.status(REQUEST_ID)["state"]
        demo.stop()
    say("Everything has stopped.")
    return GOOD if state == State.SUCCESS else BAD


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise WrongUse("there is no terminal to ask at; to delete the files without a question: make run FILE=… YES=1")
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
