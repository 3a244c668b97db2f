"""Enqueue is all or nothing, durable on demand, and refused with a reason by a server that is full or unsafe."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.honesty import await_final, check_honest, state_of
from tests.chaos.processes import say, wait_until
from tests.chaos.rig import Rig, Server, can_wait_for_disk, needs_waitaof
from worker.errors import NotDurable, QueueFull, RequestVanished
from worker.states import State

pytestmark = pytest.mark.chaos


def many_ids(count: int) -> list[str]:
    """Made-up file ids."""
    return [f"{number:024x}" for number in range(count)]


def test_a_command_killed_while_it_streams_leaves_nothing_that_is_deleted(tmp_path: Path) -> None:
    """The request is seen as unsealed, no file of it is deleted, it expires; then the same id is taken whole."""
    with Rig(tmp_path, files=20_000, unsealed_ttl_seconds=6) as rig:
        ids = rig.sim.remaining()
        file = tmp_path / "ids.txt"
        file.write_text("\n".join(ids))
        # The ids come through a pipe that then stays open: the command waits for more.
        slow = f"import time; print(open({str(file)!r}).read(), flush=True); time.sleep(60)"
        code = "import subprocess as s, sys; f = s.Popen([sys.executable, '-c', sys.argv[1]], stdout=s.PIPE);"
        code += "s.run([sys.executable, '-m', 'cli', 'delete', '-', '--request-id', 'stream'], stdin=f.stdout)"
        command = rig.proc("command", ["-c", code, slow])
        wait_until(lambda: state_of(rig, "stream") == State.OPEN, 30, "the request is seen as unsealed")
        rig.await_workers(rig.worker())
        command.kill()
        report = rig.client.status("stream")
        assert (report["state"], report["deleted"], report["in_flight"]) == (State.OPEN, 0, 0), command.tail()
        wait_until(lambda: not state_of(rig, "stream"), 20, "it expires")
        assert rig.sim.stats()["calls"] == 0
        assert list(rig.redis.scan_iter(rig.keys.request("stream", "*"))) == []
        rig.client.enqueue(ids, request_id="stream")
        await_final(rig, ["stream"], 60)
        check_honest(rig, {"stream": ids})


def test_a_request_that_vanishes_while_it_is_sent_is_never_sealed_in_part(tmp_path: Path) -> None:
    """Cancelled in the middle of its stream, what follows does not bring it back without its beginning."""
    with Rig(tmp_path) as rig:

        def stream() -> Iterator[str]:
            for place, file_id in enumerate(many_ids(30_000)):
                if place == 20_000:
                    assert rig.client.cancel("gone")["state"] == State.REVOKED
                yield file_id

        with pytest.raises(RequestVanished, match="Nothing was enqueued"):
            rig.client.enqueue(stream(), request_id="gone")
        assert state_of(rig, "gone") == ""
        assert rig.client.stats()["waiting"] == 0


def test_durable_means_on_disk(tmp_path: Path) -> None:
    """With `durable`, enqueue returns once the append-only file is synced; the server's sudden end loses none of it."""
    server = Server(tmp_path, appendfsync="everysec")
    with Rig(tmp_path, server=server) as rig:
        needs_waitaof(server)
        start = time.monotonic()
        small = rig.client.enqueue(many_ids(10), durable=True)
        large = rig.client.enqueue(many_ids(12_000), durable=True)
        say(f"\ntwo durable requests at appendfsync everysec: {time.monotonic() - start:.2f} s")
        server.proc.kill()
        server.start()
        assert rig.client.status(small)["total"] == 10
        assert rig.client.status(large)["total"] == 12_000


def test_durable_is_refused_where_there_is_no_append_only_file(tmp_path: Path) -> None:
    """Before anything is enqueued, with a message that says how to fix it."""
    with (
        Rig(tmp_path, server=Server(tmp_path, appendonly="no")) as rig,
        pytest.raises(NotDurable, match=re.escape("`appendonly yes`")) as caught,
    ):
        rig.client.enqueue(many_ids(10), request_id="d", durable=True)
    assert not caught.value.accepted


def test_durable_is_refused_where_the_server_cannot_wait_for_its_disk(tmp_path: Path) -> None:
    """Redis before 7.2 has no WAITAOF, and a provider may forbid it: nothing is enqueued."""
    with Rig(tmp_path) as rig:
        if can_wait_for_disk(rig.redis):
            rig.redis.acl_setuser("default", enabled=True, commands=["-waitaof"])
        with pytest.raises(NotDurable, match=re.escape("Redis 7.2 or newer")) as caught:
            rig.client.enqueue(many_ids(10), request_id="d", durable=True)
        assert not caught.value.accepted
        assert state_of(rig, "d") == ""


def test_a_full_server_refuses_new_ids_and_drains_what_it_has(tmp_path: Path) -> None:
    """At `maxmemory` with `noeviction` enqueue raises `QueueFull`; what was accepted is deleted and reported."""
    with Rig(tmp_path, files=7_000, api={"latency_ms": 5}) as rig:
        ids = rig.sim.remaining()
        asked = {rig.client.enqueue(ids[:5_000]): ids[:5_000]}
        rig.redis.config_set("maxmemory", "1mb")
        for refused in (ids[5_000:5_003], ids[5_000:]):
            with pytest.raises(QueueFull, match="out of memory"):
                rig.client.enqueue(refused, request_id="refused")
            assert state_of(rig, "refused") == ""
        # Celery's own messages need memory as well: the dispatcher continues without them.
        worker = rig.worker()
        await_final(rig, asked, 60)
        check_honest_in_part(rig, asked, left=ids[5_000:])
        rig.redis.config_set("maxmemory", "0")
        asked[rig.client.enqueue(ids[5_000:])] = ids[5_000:]
        await_final(rig, asked, 60)
        check_honest(rig, asked)
        assert worker.running


def check_honest_in_part(rig: Rig, asked: dict[str, list[str]], left: list[str]) -> None:
    """What was asked is done, and nothing else."""
    assert sorted(rig.sim.remaining()) == sorted(left)
    for request_id, ids in asked.items():
        assert rig.client.status(request_id)["deleted"] == len(ids)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_worker_refuses_a_server_that_may_drop_keys(tmp_path: Path, policy: str) -> None:
    """It ends at start, with one line that names the policy and the command that mends it."""
    with Rig(tmp_path, server=Server(tmp_path, **{"maxmemory-policy": policy})) as rig:
        worker = rig.worker()
        worker.wait(60)
        assert worker.exit_status == 1
        assert f"maxmemory-policy is {policy}" in worker.text()
        assert "CONFIG SET maxmemory-policy noeviction" in worker.text()
        assert "Traceback" not in worker.text()
