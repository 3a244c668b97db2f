"""A service of another team, run as a program: it has Celery, the broker's address and our task's name.

Started as `python -I -S support_foreign_program.py BROKER SITE_PACKAGES`, so that no path leads to this project and no
file of an installation is read. It refuses to import anything of ours, reads one JSON command a line, and answers each
with one line of JSON.
"""

from __future__ import annotations

import importlib.abc
import json
import sys
from typing import Any

OURS = frozenset({"config", "kitsweep", "simulator", "tasks", "tests", "worker"})


class _Wall(importlib.abc.MetaPathFinder):
    """Comes before all other finders, in case a package of ours is among the installed ones."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.partition(".")[0] in OURS:
            raise ImportError(f"{fullname} belongs to Kitsweep: a foreign service has none of it")


class Service:
    """Each public method is a command."""

    def __init__(self, broker: str) -> None:
        import celery  # noqa: PLC0415 - found only once the path is set

        self._celery = celery
        self._app = celery.Celery("catalog", broker=broker, backend=broker)

    def send(self, args: Any = (), kwargs: Any = None, **options: Any) -> str:
        result = self._app.send_task("kitsweep.delete_files", args, kwargs, **options)
        return str(result.id)

    def send_other(self, name: str) -> str:
        return str(self._app.send_task(name).id)

    def look(self, request_id: str) -> dict[str, Any]:
        result = self._app.AsyncResult(request_id)
        return {"state": result.state, **_shown(result.info), "ready": result.ready(), "failed": result.failed()}

    def get(self, request_id: str, timeout: float) -> dict[str, Any]:
        try:
            return _shown(self._app.AsyncResult(request_id).get(timeout=timeout))
        except Exception as error:  # noqa: BLE001 - what comes is what the test wants to see
            return _shown(error)

    def revoke(self, request_id: str) -> None:
        self._app.AsyncResult(request_id).revoke()

    def revoke_first(self, request_id: str) -> list[Any]:
        """Revoke an id that is not sent yet; return the workers' answers."""
        return self._app.control.revoke(request_id, reply=True, timeout=2) or []

    def link(self, file_ids: list[str], queue: str, **options: Any) -> str:
        """Send a request on whose end `catalog.done` or `catalog.sorry` is sent to a queue."""
        done, sorry = (self._app.signature(f"catalog.{name}", queue=queue) for name in ("done", "sorry"))
        return str(self._request(file_ids, options).apply_async(link=done, link_error=sorry).id)

    def chain(self, file_ids: list[str], queue: str, **options: Any) -> str:
        """Send a chain of a request and `catalog.next`."""
        following = self._app.signature("catalog.next", queue=queue)
        result: Any = self._celery.chain(self._request(file_ids, options), following).apply_async()
        return str(result.parent.id)

    def chord(self, requests: list[list[str]], queue: str, **options: Any) -> list[str]:
        """Send a chord of requests, whose body is `catalog.all`."""
        body = self._app.signature("catalog.all", queue=queue)
        result: Any = self._celery.chord([self._request(ids, options) for ids in requests], app=self._app)(body)
        return [child.id for child in result.parent.children]

    def loaded(self) -> dict[str, list[str]]:
        return {"path": sys.path, "ours": sorted(name for name in sys.modules if name.partition(".")[0] in OURS)}

    def _request(self, file_ids: list[str], options: dict[str, Any]) -> Any:
        return self._app.signature("kitsweep.delete_files", args=(file_ids,), app=self._app, options=options)


def _shown(info: Any) -> dict[str, Any]:
    if isinstance(info, BaseException):
        return {"error": type(info).__name__, "args": list(info.args), "text": str(info)}
    return {"info": info}


def main() -> None:
    """Answer commands until standard input ends."""
    broker, packages = sys.argv[1:]
    sys.path.append(packages)
    sys.meta_path.insert(0, _Wall())
    service = Service(broker)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = {"answer": getattr(service, command["do"])(*command["args"], **command["options"])}
        except Exception as error:  # noqa: BLE001 - reported to the test, which continues
            answer = {"broken": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
