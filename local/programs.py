"""The Celery processes of a Kitsweep on one machine: their commands, environment and files.

Settings, secrets among them, are passed in the environment and never on a command line, which every user of the
machine can read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from local.processes.process import Process

SIMULATOR_KEY = "private_simulator"
"""The private key when only the simulator is called."""
_PROJECT = Path(__file__).resolve().parent.parent


class DataFolder:
    """The folder for data, logs and notes, which git ignores."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes = path / "run"
        """Notes of running processes."""
        self.logs = path / "logs"
        self.lock = path / "lock"
        """Locked while the folder is in use."""
        self.sample_ids = path / "sample-ids.txt"
        """The ids of the simulator's files, one a line."""

    def redis(self, *, simulated: bool) -> Path:
        """Return the data folder of the embedded server: one for the simulator, one for ImageKit.

        With a single one, a start without the private key would report real files as not found.
        """
        return self.path / ("redis-simulator" if simulated else "redis")

    def make(self) -> None:
        """Create the folders."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.notes.mkdir(exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        (self.path / ".gitignore").write_text("*\n", encoding="utf-8")


def simulated(url: str) -> dict[str, str]:
    """Return the settings that send every call to the simulator at `url`, and the real key nowhere."""
    return {"IMAGEKIT_PRIVATE_KEY": SIMULATOR_KEY, "IMAGE_KIT_BASE_URL": url}


def environment_with(overrides: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with other settings; our modules can be imported from any working directory."""
    path = os.pathsep.join(filter(None, [str(_PROJECT), os.environ.get("PYTHONPATH")]))
    wanted = {**overrides, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    # Settings' names are case-insensitive: another spelling of the same name must not win.
    kept = {name: value for name, value in os.environ.items() if name.upper() not in wanted}
    return {**kept, **wanted}


def workers(
    count: int, folder: DataFolder, environment: Mapping[str, str], options: Sequence[str] = ()
) -> list[Process]:
    """Return worker processes with these options of `celery worker`. Our pid is part of their names."""
    names = [f"worker{number}" for number in range(1, count + 1)]
    return [
        _process(name, _celery("worker", "-n", f"{name}-{os.getpid()}@%h", *options), folder, environment)
        for name in names
    ]


def beat(folder: DataFolder, environment: Mapping[str, str]) -> Process:
    """Return the beat process, which keeps its state in Redis."""
    return _process("beat", _celery("beat"), folder, environment)


def _celery(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "worker.app", *arguments]


def _process(name: str, command: Sequence[str], folder: DataFolder, environment: Mapping[str, str]) -> Process:
    return Process(name, command, notes=folder.notes, log=folder.logs / f"{name}.log", environment=environment)
