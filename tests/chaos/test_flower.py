"""Flower, Celery's monitor, shows what is under way and no secret; no more do `celery inspect` and `celery report`."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from local.ports import free_port
from tests.chaos.honesty import await_final
from tests.chaos.processes import say, wait_until
from tests.chaos.rig import PRIVATE_KEY, START_SECONDS, Rig, Server
from tests.chaos.test_security import PASSWORD, USER, secrets
from worker.states import State

pytest.importorskip("flower", reason="the extra `flower` is not installed")

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

PAGES = (
    "/",
    "/workers",
    "/workers?json=1",
    "/worker/w1@chaos",
    "/tasks",
    "/tasks/datatable?draw=1&start=0&length=100&search[value]=&order[0][column]=0&order[0][dir]=asc&columns[0][data]=name",
    "/broker",
    "/metrics",
    "/healthcheck",
    "/api/workers?refresh=1",
    "/api/tasks",
    "/api/task/types",
    "/api/queues/length",
)


class Flower:
    """Flower on a rig's broker, with its API unprotected, and all that it ever answered."""

    def __init__(self, rig: Rig) -> None:
        self._port = free_port()
        command = ["-m", "celery", "-A", "worker.app", "flower", "--address=127.0.0.1", f"--port={self._port}"]
        self.proc = rig.proc("flower", [*command, "--inspect_timeout=2000"], FLOWER_UNAUTHENTICATED_API="true")
        self.answers: dict[str, str] = {}
        wait_until(lambda: self.status_of("/healthcheck") == 200, START_SECONDS, f"it answers: {self.proc.tail()}")

    def status_of(self, path: str) -> int:
        """Fetch a page, store its text, and return its status; 0 while nothing listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=30) as answer:
                self.answers[path] = self.answers.get(path, "") + answer.read().decode()
                return int(answer.status)
        except urllib.error.HTTPError as error:
            self.answers[path] = self.answers.get(path, "") + error.read().decode()
            return error.code
        except OSError:
            return 0

    def has_seen(self, path: str, condition: Callable[[str], bool]) -> bool:
        """Fetch a page, and return whether a condition holds for its text."""
        self.answers.pop(path, None)
        return self.status_of(path) == 200 and condition(self.answers[path])


def inspected(rig: Rig) -> str:
    """What Celery's own commands print of a running worker, and of the application."""
    commands = {
        "conf": ["inspect", "conf", "--timeout", "10", "--destination", "w1@chaos"],
        "defaults": ["inspect", "--timeout", "10", "--destination", "w1@chaos", "--json", "conf", "true"],
        "stats": ["inspect", "stats", "--timeout", "10", "--destination", "w1@chaos"],
        "inspect-report": ["inspect", "report", "--timeout", "10", "--destination", "w1@chaos"],
        "report": ["report"],
    }
    procs = [rig.proc(name, ["-m", "celery", "-A", "worker.app", *words]) for name, words in commands.items()]
    for proc in procs:
        proc.wait(60)
        assert proc.exit_status == 0, proc.tail()
    texts = "".join(proc.text() for proc in procs)
    assert "kitsweep.unusual" in texts
    return texts


def test_flower_shows_no_secret(tmp_path: Path) -> None:
    """No page and no answer holds key or password: in work, while the key is refused, and after bad arguments."""
    server = Server(tmp_path, username=USER, password=PASSWORD)
    with Rig(tmp_path, files=200, server=server, batch_size=20, log_level="DEBUG") as rig:
        rig.sim.set_key(private_key="private_another")
        worker = rig.worker("w1")
        flower = Flower(rig)
        rig.await_workers(worker)
        rig.celery.control.enable_events()
        # Only messages that the intake leaves to Celery are seen as tasks, such as one that may expire.
        kwargs = {"reason": "a season is over"}
        sent = rig.celery.send_task("kitsweep.delete_files", [rig.sim.remaining()], kwargs, expires=3600)
        wait_until(lambda: rig.client.stats()["pause"], 30, "the key is refused")
        bad = rig.celery.send_task("kitsweep.delete_files", [["a b"]])
        wait_until(lambda: bad.state == State.FAILURE, 30, "it is refused")
        pages = [*PAGES, *(f"/{part}/{each.id}" for part in ("task", "api/task/info") for each in (sent, bad))]
        seen_both = "/api/tasks"
        wait_until(
            lambda: flower.has_seen(seen_both, lambda text: sent.id in text and bad.id in text), 30, "it shows tasks"
        )
        wait_until(
            lambda: flower.has_seen("/api/workers?refresh=1", lambda text: '"conf"' in text), 60, "it shows settings"
        )
        statuses = {page: flower.status_of(page) for page in pages}
        rig.sim.set_key(private_key=PRIVATE_KEY)
        rig.admin.resume()
        await_final(rig, [sent.id], 60)
        statuses |= {page: flower.status_of(page) for page in [*pages, f"/api/task/result/{sent.id}"]}
        shown = json.dumps(flower.answers) + flower.proc.text()
        printed = inspected(rig)
    assert {page: status for page, status in statuses.items() if status != 200} == {}
    assert "w1@chaos" in flower.answers["/workers"]
    assert "a season is over" in flower.answers[f"/task/{sent.id}"], "arguments are shown, as the threat model says"
    say(f"\nlooked through {len(shown)} characters of {len(statuses)} pages, and {len(printed)} of Celery's commands")
    plain = shown.replace("\\", "")
    assert [secret for secret in secrets() if secret in shown or secret in plain or secret in printed] == []
