"""The folder in which a run on this machine keeps its data, logs and notes."""

from __future__ import annotations

from pathlib import Path


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
