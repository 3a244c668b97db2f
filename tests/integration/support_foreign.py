"""The calling service of the tests: plain Celery in a separate process, without any code of this project."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

import celery

from tests.integration.support_waiting import wait_until

PROGRAM = Path(__file__).with_name("support_foreign_program.py")
PACKAGES = Path(celery.__file__).parents[1]
FINAL = frozenset({"SUCCESS", "FAILURE", "REVOKED"})


class Seen(NamedTuple):
    """What `AsyncResult` shows a service."""

    state: str
    report: dict[str, Any]
    """`.info`, or what the exception carries; empty when there is neither."""
    error: str | None
    """The type of the exception that `.info` is."""
    args: list[Any]
    text: str


class ForeignService:
    """Runs the program, and hands commands to it; safe for one thread."""

    def __init__(self, broker: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._errors = (folder / "foreign-service.log").open("w", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(PROGRAM), broker, str(PACKAGES)],
            cwd=folder,
            env={"HOME": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._lock = threading.Lock()

    def do(self, command: str, *args: Any, **options: Any) -> Any:
        """Run one command. Raises `AssertionError` if the program fails."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with self._lock:
            stdin.write(json.dumps({"do": command, "args": args, "options": options}) + "\n")
            stdin.flush()
            line = stdout.readline()
        assert line, f"the foreign service ended; see {self._errors.name}"
        answer = json.loads(line)
        assert "broken" not in answer, f"the foreign service, asked to {command}: {answer['broken']}"
        return answer["answer"]

    def send(self, *args: Any, options: dict[str, Any] | None = None, **kwargs: Any) -> str:
        """Send `kitsweep.delete_files` by name, and return the request id."""
        return str(self.do("send", list(args), kwargs, **(options or {})))

    def look(self, request_id: str) -> Seen:
        """Return what `AsyncResult(request_id)` shows now."""
        return _seen(self.do("look", request_id))

    def final(self, request_id: str, seconds: float = 20.0) -> Seen:
        """Poll until the request is final."""
        found: list[Seen] = []

        def is_final() -> bool:
            found[:] = [self.look(request_id)]
            return found[0].state in FINAL

        wait_until(is_final, f"request {request_id} is final, not {found}", seconds)
        return found[0]

    def stop(self) -> None:
        """End the program by the end of its input."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        self._errors.close()


def _seen(about: dict[str, Any]) -> Seen:
    if "error" in about:
        args = about["args"]
        report = args[0] if len(args) == 1 and isinstance(args[0], dict) else {}
        return Seen(about["state"], report, about["error"], args, about["text"])
    return Seen(about["state"], about["info"] or {}, None, [], "")
