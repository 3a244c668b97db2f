"""The processes of a Kitsweep on one machine: workers, beat, simulator; where their files lie, and what they are told.

Settings, secrets among them, reach them through the environment, never through a command line, which everybody on the
machine can read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.windows import Window
from local.ports import LOOPBACK
from local.processes.process import Process

SIMULATOR_KEY = "private_simulator"
"""Stands for a private key where only the simulator is called."""
_PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Places:
    """Where things lie under one data folder, which ignores itself for git."""

    folder: Path

    @property
    def notes(self) -> Path:
        """The notes of running processes."""
        return self.folder / "run"

    @property
    def logs(self) -> Path:
        """One log for each process."""
        return self.folder / "logs"

    @property
    def lock(self) -> Path:
        """The file that is locked while somebody uses the folder."""
        return self.folder / "lock"

    @property
    def sample_ids(self) -> Path:
        """The ids of the simulator's files, one a line."""
        return self.folder / "sample-ids.txt"

    def redis(self, *, simulated: bool) -> Path:
        """Return the folder of the embedded server's data. What was enqueued for the simulator stays apart.

        Otherwise a start without the private key would report real files as not found.
        """
        return self.folder / ("redis-simulator" if simulated else "redis")

    def make(self) -> None:
        """Make the folders."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.notes.mkdir(exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        (self.folder / ".gitignore").write_text("*\n", encoding="utf-8")


def simulated(url: str) -> dict[str, str]:
    """Return the settings that send every call to the simulator at `url`, and never the real key anywhere."""
    passed_by = ",".join(filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), LOOPBACK]))
    return {"IMAGEKIT_PRIVATE_KEY": SIMULATOR_KEY, "IMAGE_KIT_BASE_URL": url, "NO_PROXY": passed_by}


def environment_with(overrides: Mapping[str, str]) -> dict[str, str]:
    """Return this process' environment with other settings, in which our modules are found from any folder."""
    path = os.pathsep.join(filter(None, [str(_PROJECT), os.environ.get("PYTHONPATH")]))
    wanted = {**overrides, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    # Settings are read in any case of letters: another spelling of the same name must not win.
    kept = {name: value for name, value in os.environ.items() if name.upper() not in wanted}
    return {**kept, **wanted}


def workers(count: int, places: Places, environment: Mapping[str, str], options: Sequence[str] = ()) -> list[Process]:
    """Return worker processes; `options` go to each `celery worker`. Their names tell them from earlier ones."""
    names = [f"worker{number}" for number in range(1, count + 1)]
    return [
        _process(name, _celery("worker", "-n", f"{name}-{os.getpid()}@%h", *options), places, environment)
        for name in names
    ]


def beat(places: Places, environment: Mapping[str, str]) -> Process:
    """Return the beat process; Redis is its memory."""
    return _process("beat", _celery("beat"), places, environment)


def simulator(
    places: Places, port: int, limits: Iterable[Window], ids_file: Path, *, keep_ids: bool = False
) -> Process:
    """Return the simulator process, with a file for each id in `ids_file`; its ledger may keep all ids."""
    library = ["--ids-file", str(ids_file.resolve())]
    limit = [part for window in limits for part in ("--limit", str(window))]
    ledger = ["--keep-calls", "100000", "--keep-ids"] if keep_ids else []
    command = [sys.executable, "-m", "simulator", "--port", str(port), *library, *limit, *ledger]
    # It must not read the real key even by accident.
    return _process("simulator", command, places, environment_with({"IMAGEKIT_PRIVATE_KEY": ""}))


def _celery(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "worker.app", *arguments]


def _process(name: str, command: Sequence[str], places: Places, environment: Mapping[str, str]) -> Process:
    return Process(name, command, notes=places.notes, log=places.logs / f"{name}.log", environment=environment)
