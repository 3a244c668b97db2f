"""An installation of the previous version is upgraded under load: no request is lost, and none is misreported."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import tarfile
from itertools import islice
from pathlib import Path

import pytest

from tests.chaos.honesty import await_final, check_honest
from tests.chaos.processes import Proc, say, wait_until
from tests.chaos.rig import ROOT, Rig
from worker.queue.operations import CHUNK_IDS
from worker.states import State

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

PREVIOUS = "9fae61fd42abe049c53db4a8824af03f51b12670"
"""The last commit of the previous version."""
ENQUEUE = """
import json, sys
from tasks.client import Client
client = Client()
for request_id, file_ids, options in json.load(open(sys.argv[1])):
    client.enqueue(file_ids, request_id=request_id, **options)
"""
STREAM = """
import json, os, sys, time
from tasks.client import Client
def stream():
    *ids, last = json.load(open(sys.argv[1]))
    yield from ids
    while not os.path.exists(sys.argv[2]):
        time.sleep(0.05)
    yield last
Client().enqueue(stream(), request_id="streamed")
"""
"""Streams all ids but the last, which comes when a file exists."""
SEND = """
import json, os, sys, time
from celery import Celery
app = Celery(broker=os.environ["KITSWEEP_REDIS_URL"])
for request_id, file_id in json.load(open(sys.argv[1])):
    app.send_task("kitsweep.delete_files", [[file_id]], task_id=request_id)
    print(request_id)
    if os.path.exists(sys.argv[2]):
        break
    time.sleep(0.05)
"""
"""A service, which knows Celery alone: it sends messages until a file exists."""
SIZES = {"large": 300, "streamed": 2 * CHUNK_IDS + 2} | {f"small{number}": 1 + number % 3 for number in range(300)}
OPTIONS = {"undone": {"hold_seconds": 3600}, "on-hold": {"hold_seconds": 10}, "guarded": {"source": "guarded"}}
GUARDS = '{"guarded": {"max_files": 1}}'


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the code of the previous version."""
    command = ["git", "archive", PREVIOUS, "config", "worker", "tasks", "cli", "local", "simulator"]
    packed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        pytest.skip(f"the history lacks the previous version: {packed.stderr.decode().strip()}")
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


class Installation:
    """An installation of the previous version, with requests in every state, and a service that goes on sending."""

    def __init__(self, rig: Rig, previous: Path) -> None:
        self.rig = rig
        self._code = {"PYTHONPATH": str(previous)}
        self._files = iter(rig.sim.remaining())
        self.asked: dict[str, list[str]] = {}
        self.worker = rig.worker("previous", PYTHONPATH=str(previous))
        self._is_upgraded = rig.folder / "is-upgraded"

    def _start(self, name: str, script: str, given: object) -> Proc:
        path = self.rig.folder / f"{name}.json"
        path.write_text(json.dumps(given))
        return self.rig.proc(name, ["-c", script, str(path), str(self._is_upgraded)], **self._code)

    def _new_ids(self, name: str) -> list[str]:
        return self.asked.setdefault(name, list(islice(self._files, SIZES.get(name, 2))))

    def _enqueue(self, *names: str) -> None:
        proc = self._start(names[0], ENQUEUE, [[name, self._new_ids(name), OPTIONS.get(name, {})] for name in names])
        proc.wait(60)
        assert proc.exit_status == 0, proc.tail()

    def fill(self) -> None:
        """Let a request be in every state, while calls are in flight and messages come in."""
        keys, redis, sim = self.rig.keys, self.rig.redis, self.rig.sim
        self._stream = self._start("stream", STREAM, self._new_ids("streamed"))
        self._enqueue("finished")
        await_final(self.rig, ["finished"], 60)
        self.before = self._report("finished")
        sim.set_latency(1000)
        self._messages = {f"message{number}": next(self._files) for number in range(2000)}
        self._service = self._start("service", SEND, [*self._messages.items()])
        sim.fail_ids(self._new_ids("retried")[:1])
        self._enqueue("retried", *OPTIONS, *(name for name in SIZES if name != "streamed"))
        for name in ("retries", "in_flight"):
            wait_until(lambda name=name: redis.exists(keys(name)), 20, name)  # type: ignore[misc]

    def _report(self, request_id: str) -> dict[str, object]:
        """The report as the command line of the previous version shows it."""
        command = [self.rig.python, "-m", "cli", "status", request_id, "--json"]
        shown = subprocess.run(
            command, cwd=self.rig.folder, env=self.rig.env(**self._code), capture_output=True, check=True
        )
        return dict(json.loads(shown.stdout))

    def check_filled(self) -> None:
        """Requests are in every state; ids are stored in the way of the previous version."""
        keys, redis = self.rig.keys, self.rig.redis
        for name in ("waiting", "retrying", "holds", "approvals", "leases", "leased"):
            assert redis.exists(keys(name)), name
        assert list(redis.scan_iter(keys.request("streamed", "incoming") + ":*")), "a stream has begun"
        assert self._service.running
        assert any(redis.llen(keys.request(name, "waiting")) for name in SIZES if name.startswith("small"))

    def go_on(self) -> None:
        """Let the API be good again, and the stream and the messages come to their end."""
        self.rig.sim.fail_ids([])
        self.rig.sim.set_latency(0)
        self._is_upgraded.touch()
        for proc in (self._stream, self._service):
            proc.wait(60)
            assert proc.exit_status == 0, proc.tail()
        sent = self._service.text().split()
        self.asked |= {name: [file_id] for name, file_id in self._messages.items() if name in sent}


def run_upgrade(folder: Path, previous: Path, *, warm: bool) -> None:
    """Upgrade an installation that is at work, and check every request."""
    with Rig(folder, files=20_000, lease_seconds=3, guards=GUARDS) as rig:
        old = Installation(rig, previous)
        old.fill()
        if warm:
            old.worker.signal(signal.SIGTERM)
            old.worker.wait(60)
        else:
            old.worker.kill()
            old.check_filled()
        rig.worker("new")
        old.go_on()
        report: dict[str, object] = dict(rig.client.status("finished"))
        assert report | old.before == report, "a report stays as it was"
        undone = old.asked.pop("undone")
        assert rig.client.cancel("undone")["state"] == State.REVOKED
        rig.admin.approve("guarded", "another person")
        await_final(rig, old.asked, 60)
        assert set(undone) <= set(rig.sim.remaining())
        rig.sim.take_away(rig.sim.remaining())
        say(f"\n{len(old.asked)} requests; outcomes {dict(check_honest(rig, old.asked))}")


def test_an_upgrade_under_load_loses_and_misreports_nothing(tmp_path: Path, previous: Path) -> None:
    """The old worker is killed with calls in flight; requests wait, stream in, are on hold, retried, need approval."""
    run_upgrade(tmp_path, previous, warm=False)


@pytest.mark.chaos_long
def test_an_upgrade_after_a_warm_stop(tmp_path: Path, previous: Path) -> None:
    """The same, as the upgrade notes advise."""
    run_upgrade(tmp_path, previous, warm=True)
