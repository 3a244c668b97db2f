"""A foreign service for chaos tests: it sends requests with callbacks, and records which of them ran, and how often."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from celery import Signature, chain, chord, group

from tests.chaos.processes import Proc, wait_until
from tests.chaos.rig import Rig

NOTES = "catalog-notes"
"""Where `follower_app` notes what it is called with; importing it would make its app Celery's current one here."""
FILES = 5
"""Files of each request: as many as a batch has, so that a batch ends one request where nothing fails."""


class Service:
    """Knows Celery alone. Each kind of canvas notes what must go off under a tag, and with which argument."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._app = rig.celery
        self._backend: Any = rig.celery.backend
        self.asked: dict[str, list[str]] = {}
        self.failed: list[str] = []
        """File ids that cannot be deleted."""
        self.revoked: list[str] = []
        """Ids of requests that are cancelled before anything of them is deleted."""
        self._later: set[str] = set()
        """Ids of requests that are sent when another has ended."""
        self._expected: dict[str, Callable[[], Any]] = {}
        (rig.folder / "traps").mkdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Celery's results unsubscribe when they are collected, at any time: there is no server any more by then.
        self._backend.result_consumer.subscribed_to.clear()

    def start_worker(self, name: str = "w1", pool: str = "threads") -> Proc:
        """Start a worker of ours, which has traps."""
        command = ["-m", "celery", "-A", "tests.chaos.trapped_app", "worker", "-P", pool, "-c", "4", "-l", "INFO"]
        return self._rig.proc(name, [*command, "-n", f"{name}@chaos", "--without-mingle"])

    def start_follower(self) -> Proc:
        """Start the service's own worker, which runs the callbacks and is never harmed."""
        command = ["-m", "celery", "-A", "follower_app", "worker", "-P", "threads", "-c", "2", "-n", "catalog@chaos"]
        env = {"CATALOG_REDIS": self._rig.server.url, "PYTHONPATH": str(Path(__file__).parent)}
        return self._rig.proc("catalog", [*command, "-l", "INFO", "--without-mingle"], **env)

    def trap(self, name: str, moment: str) -> None:
        """Let the worker that meets this request (or body of a chord) at that moment die there."""
        (self._rig.folder / "traps" / f"{name}.{moment}").touch()

    def traps_left(self) -> list[str]:
        """Return the traps that no worker has hit yet."""
        return sorted(path.name for path in (self._rig.folder / "traps").iterdir() if path.suffix != ".sprung")

    # What is sent

    def _deletion(self, *, fails: bool = False, follows: bool = False) -> tuple[Signature[Any], str]:
        """A request for new files, and its id. With `fails`, one of them cannot be deleted; `follows` in a chain."""
        name = f"request-{len(self.asked)}"
        ids = self.asked[name] = self._rig.sim.add_files(FILES)
        if fails:
            self.failed.append(ids[0])
            self._rig.sim.fail_ids(self.failed)
        if follows:
            self._later.add(name)
        return self._app.signature("kitsweep.delete_files", (ids,), immutable=follows, task_id=name), name

    def link(self, *, fails: bool = False) -> str:
        """A request with `link` and `link_error`, of which one must go off; returns its id."""
        first, name = self._deletion(fails=fails)
        first.link(self._note(f"{name} done", None if fails else lambda: self.result(name)))
        first.link_error(self._note(f"{name} sorry", (lambda: name) if fails else None))
        first.apply_async()
        return name

    def row(self, *, fails: bool = False) -> str:
        """A chain of a request and a task; returns the request's id. If it fails, only its `link_error` runs."""
        first, name = self._deletion(fails=fails)
        first.link_error(self._note(f"{name} sorry", (lambda: name) if fails else None))
        follower = self._note(f"{name} next", None if fails else lambda: self.result(name))
        chain(first, follower, app=self._app).apply_async()
        return name

    def chain(self) -> str:
        """A chain of two requests and a task; returns the id of the first."""
        (first, name), (second, second_name) = self._deletion(), self._deletion(follows=True)
        follower = self._note(f"{second_name} next", lambda: self.result(second_name))
        chain(first, second, follower, app=self._app).apply_async()
        return name

    def chord(self, *, fails: bool = False) -> tuple[list[str], str]:
        """Three requests and a body; returns their ids. If one fails, the body's `link_error` runs instead.

        The first request also has a callback.
        """
        header = [self._deletion(), self._deletion(fails=fails), self._deletion()]
        names = [name for _, name in header]
        body_id = f"body-of-{names[0]}"
        body = self._note(body_id, None if fails else lambda: [self.result(name) for name in names])
        body.set(task_id=body_id)
        body.link_error(self._note(f"{body_id} sorry", (lambda: body_id) if fails else None))
        header[0][0].link(self._note(f"{names[0]} done", lambda: self.result(names[0])))
        chord([each for each, _ in header], app=self._app)(body)
        return names, body_id

    def group(self, *, fails: bool = False) -> list[str]:
        """Two requests at once, with callbacks; returns their ids."""
        both = [self._deletion(), self._deletion(fails=fails)]
        for (each, name), failing in zip(both, (False, fails), strict=True):
            each.link(self._note(f"{name} done", None if failing else partial(self.result, name)))
            each.link_error(self._note(f"{name} sorry", partial(str, name) if failing else None))
        group([each for each, _ in both], app=self._app).apply_async()
        return [name for _, name in both]

    def expect_revoked(self, name: str) -> None:
        """A request with a `link` that is revoked, so `link_error` runs instead."""
        self.revoked.append(name)
        self._expected[f"{name} sorry"] = lambda: name
        del self._expected[f"{name} done"]

    def _note(self, tag: str, argument: Callable[[], Any] | None) -> Signature[Any]:
        if argument:
            self._expected[tag] = argument
        return self._app.signature("catalog.note", (tag,), queue="catalog")

    # Results

    def state(self, request_id: str) -> str:
        """What Celery's callers see as the state."""
        return str(self._app.AsyncResult(request_id).state)

    def result(self, request_id: str) -> Any:
        """What Celery's callers see as the result."""
        return self._app.AsyncResult(request_id).result

    def await_accepted(self) -> None:
        """Wait until all that was sent is in our queue."""
        waiting = self.asked.keys() - self._later

        def all_in() -> bool:
            waiting.difference_update({name for name in waiting if self._app.AsyncResult(name).state != "PENDING"})
            return not waiting

        wait_until(all_in, 60, f"all requests are accepted; not so {sorted(waiting)}")

    def await_notes(self, seconds: float) -> None:
        """Wait until everything has gone off at least once."""
        missing: list[str] = []

        def all_went_off() -> bool:
            missing[:] = self._expected.keys() - self.notes().keys()
            return not missing

        try:
            wait_until(all_went_off, seconds, "everything has gone off")
        except AssertionError as error:
            raise AssertionError(f"{error}; not so {sorted(missing)}") from None

    def check_notes(self) -> Counter[str]:
        """Nothing went off but what must, and each with its argument; returns how often each did."""
        notes = self.notes()
        assert sorted(notes) == sorted(self._expected)
        for tag, given in notes.items():
            assert all(each == self._expected[tag]() for each in given), (tag, given)
        return Counter({tag: len(given) for tag, given in notes.items()})

    def notes(self) -> dict[str, list[Any]]:
        """What went off, by tag, with its arguments."""
        found: dict[str, list[Any]] = defaultdict(list)
        lines: Any = self._rig.redis.lrange(NOTES, 0, -1)
        for tag, given in map(json.loads, lines):
            found[tag].append(given)
        return found
