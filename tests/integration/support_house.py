"""A house: everything that one account needs, running. Simulator, worker processes, client, foreign service."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from redis import Redis

from config.settings import load_settings
from simulator import Call, Simulator
from tasks.admin import Admin
from tasks.client import Client
from tests.integration.support_foreign import ForeignService, Seen
from tests.integration.support_reports import check_report
from tests.integration.support_waiting import wait_until
from worker.errors import UnknownRequest
from worker.reports.report import Report
from worker.states import State
from worker.store.keys import Keys

ROOT = Path(__file__).parents[2]
KEY = "private_test_key_of_the_tests"
START_SECONDS = 40.0
STOP_SECONDS = 15.0
TAIL_CHARACTERS = 6000


class WorkerProcess:
    """One `celery -A worker.app worker`, in its own process group."""

    def __init__(self, name: str, folder: Path, environment: dict[str, str], *options: str) -> None:
        self.name = f"{name}@test"
        self.log = folder / f"{name}.log"
        command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "-n", self.name, *options]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ask_to_stop(self) -> None:
        """Send the one SIGTERM of a warm stop: a second one would make it a cold stop."""
        if self.process.poll() is None:
            self.process.terminate()

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for its end, and kill its group if that takes longer; return its exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Kill its group, and return its exit status."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait(10)


class House:
    """One account on one Redis database, with its own simulator; `environment` are settings of its workers."""

    def __init__(self, redis_url: str, folder: Path, account: str = "default", **environment: str) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.redis_url = redis_url
        self.account = account
        self.redis: Redis = Redis.from_url(redis_url, decode_responses=True)
        self.keys = Keys(account)
        self.simulator = Simulator(private_key=KEY).start()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "IMAGEKIT_PRIVATE_KEY": KEY,
            "IMAGE_KIT_BASE_URL": self.simulator.url,
            "KITSWEEP_REDIS_URL": redis_url,
            "KITSWEEP_ACCOUNT": account,
            "KITSWEEP_RATE_LIMITS": "[]",
            **environment,
        }
        settings = load_settings(redis_url=redis_url, account=account, private_key=KEY, rate_limits="[]")
        self.client = Client(settings)
        self.admin = Admin(settings)
        self.service = ForeignService(redis_url, folder)
        self.workers: list[WorkerProcess] = []
        self._asked: list[str] = []

    # Workers

    def start_worker(self, name: str, *options: str, **environment: str) -> WorkerProcess:
        """Start a worker, without waiting for it."""
        worker = WorkerProcess(name, self.folder, {**self.environment, **environment}, *options)
        self.workers.append(worker)
        return worker

    def wait_for_workers(self) -> None:
        """Wait until the hearts of all workers that were started have beaten."""

        def alive() -> bool:
            for worker in self.workers:
                assert worker.process.poll() is None, f"{worker.name} ended at its start:\n{self.tail()}"
            return {worker.name for worker in self.workers} <= self.beats().keys()

        wait_until(alive, "all workers are alive", START_SECONDS)

    def beats(self) -> dict[str, float]:
        """Return when the heart of each worker has last beaten, seconds since 1970."""
        found: Any = self.redis.zrange(self.keys("workers"), 0, -1, withscores=True)
        return {name: at / 1000 for name, at in found}

    def wait_for_beats(self, after: float) -> None:
        """Wait until every running worker has looked at the queue at a moment after this one."""
        names = [worker.name for worker in self.workers]
        wait_until(lambda: all(self.beats().get(name, 0) > after for name in names), f"a beat after {after}")

    def stop_workers(self) -> dict[str, int]:
        """Stop all workers, and forget their hearts; return their exit statuses."""
        for worker in self.workers:
            worker.ask_to_stop()
        ended = {worker.name: worker.wait() for worker in self.workers}
        self.workers.clear()
        self.redis.delete(self.keys("workers"))
        return ended

    def tail(self) -> str:
        """Return the ends of the logs of all workers and of the foreign service."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-TAIL_CHARACTERS:]}" for log in logs)

    # Files and calls

    def files(self, number: int) -> list[str]:
        """Return the ids of so many new files."""
        return self.simulator.add_files(number)

    @staticmethod
    def no_files(number: int) -> list[str]:
        """Return well-formed ids that no file has."""
        return [uuid.uuid4().hex[:24] for _ in range(number)]

    def calls(self) -> list[Call]:
        """Return the bulk calls so far."""
        return self.simulator.calls("bulk_delete")

    def calls_with(self, file_ids: Iterable[str]) -> list[Call]:
        """Return the bulk calls that sent any of the ids."""
        wanted = set(file_ids)
        return [call for call in self.calls() if wanted & set(call.ids)]

    # Requests

    def ask(self, file_ids: Any, options: dict[str, Any] | None = None, **arguments: Any) -> str:
        """Let the foreign service ask for a deletion; return the request id."""
        request_id = self.service.send(file_ids, options=options, **arguments)
        self._asked.append(request_id)
        return request_id

    def final(self, request_id: str, seconds: float = 20.0) -> Seen:
        """Wait until the foreign service sees that the request is final, and check the report."""
        seen = self.service.final(request_id, seconds)
        if not seen.error or seen.report:
            check_report(seen.report, request_id)
        return seen

    def deleted(self, file_ids: Any, seconds: float = 20.0, **arguments: Any) -> Report:
        """Ask, and return the report of a request that must end in SUCCESS."""
        request_id = self.ask(file_ids, **arguments)
        seen = self.final(request_id, seconds)
        assert seen.state == State.SUCCESS, seen
        return self.client.status(request_id)

    def is_known(self, request_id: str) -> bool:
        """Whether anything was enqueued under this id."""
        try:
            self.client.status(request_id)
        except UnknownRequest:
            return False
        return True

    def ran_by_celery(self, request_id: str) -> bool:
        """Whether Celery ran the request's message as a task, and not the intake in bulk. Needs logs of level DEBUG."""
        line = f"Task kitsweep.delete_files[{request_id}] received"
        return any(line in log.read_text(errors="replace") for log in self.folder.glob("*.log"))

    def wait_for_state(self, request_id: str, state: str, seconds: float = 10.0) -> Seen:
        """Wait until the foreign service sees the request in a state."""
        wait_until(lambda: self.service.look(request_id).state == state, f"{request_id} is {state}", seconds)
        return self.service.look(request_id)

    # From one test to the next

    def calm(self) -> None:
        """Leave nothing to the next test: no fault, no pause, no unfinished request, nothing learned of the API."""
        sim = self.simulator
        sim.clear_faults()
        sim.outage(None)
        sim.set_key(state="good")
        sim.set_limits()
        sim.set_behaviour(latency_ms=0, jitter_ms=0, headers="429", header_overrides={})
        sim.set_behaviour(refused={}, poison=[], partial={}, malformed_ids="missing", duplicates="accept")
        self.redis.delete(self.keys("account"), self.keys.limits("delete"), self.keys.calls("delete"))
        for request_id in self._asked:
            if self.is_known(request_id):
                self.client.cancel(request_id)
        self._asked.clear()

    def stop(self) -> None:
        """End everything; workers are killed, since their stopping has separate tests."""
        for worker in self.workers:
            worker.kill()
        self.service.stop()
        self.simulator.stop()
        self.redis.close()
        self.client._queue.redis.close()
        self.admin._account.redis.close()
