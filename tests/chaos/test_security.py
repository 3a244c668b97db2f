"""What a run leaves behind holds no secret, nothing from outside reaches a key or a pickle, TLS and ACL work."""

from __future__ import annotations

import base64
import json
import pickle
import string
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from celery import Celery
from kombu.serialization import register, unregister

from tests.chaos.honesty import await_final, check_honest
from tests.chaos.processes import wait_until
from tests.chaos.rig import PRIVATE_KEY, ROOT, Rig, Server
from tests.chaos.tls_gate import make_certificate, tls_gate
from worker.states import State

pytestmark = pytest.mark.chaos

PASSWORD = "s3cret/P@ss:w0rd"
USER = "kitsweep-user"


def everything_in(server: Server) -> str:
    """All keys and values of a server as one text."""
    client: Any = server.client
    texts: list[str] = []
    for key in client.scan_iter():
        read = {
            "string": client.get,
            "hash": client.hgetall,
            "list": lambda name: client.lrange(name, 0, -1),
            "set": client.smembers,
            "zset": lambda name: client.zrange(name, 0, -1, withscores=True),
            "stream": client.xrange,
        }[client.type(key)]
        texts += [str(key), str(read(key))]
    return "\n".join(texts)


def secrets() -> list[str]:
    """Every form in which the key or the password could leak."""
    token = base64.b64encode(f"{PRIVATE_KEY}:".encode()).decode()
    return [PRIVATE_KEY, token, PASSWORD, quote(PASSWORD, safe=""), repr(PASSWORD)[1:-1]]


def test_no_secret_is_left_behind(tmp_path: Path) -> None:
    """Logs at every level, keys, values, results and crashes of a run full of faults show no key and no password."""
    server = Server(tmp_path, username=USER, password=PASSWORD)
    with Rig(tmp_path, files=300, server=server, batch_size=50, log_level="DEBUG", lease_seconds=2) as rig:
        rig.sim.set_key(private_key="private_another")
        ids = rig.sim.remaining()
        asked = {rig.client.enqueue(ids): ids}
        workers = [rig.worker("w1"), rig.worker("w2", "prefork", 2), rig.worker("json", KITSWEEP_LOG_FORMAT="json")]
        rig.await_workers(*workers[:2])
        wait_until(lambda: rig.client.stats()["pause"], 30, "the key is refused")
        bad = rig.celery.send_task("kitsweep.delete_files", [["a b"]], {"source": "x"})
        with pytest.raises(Exception, match="file id"):
            bad.get(timeout=30)
        rig.sim.set_key(private_key=PRIVATE_KEY)
        rig.sim.fault("error_after", times=2)
        rig.admin.resume()
        await_final(rig, asked, 60)
        server.proc.kill()
        for name in ("check", "stats"):
            command = rig.proc(f"cli-{name}", ["-m", "cli", name])
            command.wait(60)
        broken = rig.proc(
            "broken",
            ["-m", "celery", "-A", "worker.app", "worker"],
            KITSWEEP_REDIS_ULR="x",
            IMAGEKIT_PRIVATE_KEY=f"{PRIVATE_KEY}:x",
        )
        broken.wait(60)
        server.start()
        left = everything_in(server) + "".join(proc.text() for proc in rig.procs)
        left += json.dumps(rig.client.stats()) + str(rig.settings) + repr(rig.settings)
    assert len(left) > 20_000, "there is something to look through"
    found = [secret for secret in secrets() if secret in left]
    assert found == []


class Bomb:
    """Pickled, it would write a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_without_harm(tmp_path: Path) -> None:
    """A pickled message is discarded unread, and the worker continues."""

    def bomb(_: Any) -> Any:
        return pickle.dumps(Bomb(tmp_path / "exploded"))

    register("bomb", bomb, str, "application/x-python-serialize", "binary")
    with Rig(tmp_path, files=40) as rig:
        worker = rig.worker()
        rig.await_workers(worker)
        try:
            rig.celery.send_task("kitsweep.delete_files", [["x"]], serializer="bomb")
        finally:
            unregister("bomb")
        wait_until(lambda: "disallowed" in worker.text() or "Refusing" in worker.text(), 30, "it is refused in words")
        ids = rig.sim.remaining()
        asked = {rig.client.enqueue(ids): ids}
        await_final(rig, asked, 30)
        assert not (tmp_path / "exploded").exists()
        assert worker.running


def test_odd_names_reach_no_key(tmp_path: Path) -> None:
    """A request id or a source with characters of keys, patterns or scripts is refused, and no key has it."""
    odd = ["a b", "x\ny", "*", "{other}", "a'}) redis.call('FLUSHALL') --", "\x1b[31m", "é", "a/b", "", "x" * 200]
    with Rig(tmp_path) as rig:
        rig.await_workers(rig.worker())
        marker = Celery(broker=rig.server.url, backend=rig.server.url, set_as_current=False)
        answers = [marker.send_task("kitsweep.delete_files", [["id"]], {"source": name}) for name in odd]
        for answer in answers:
            with pytest.raises(Exception, match="source"):
                answer.get(timeout=30)
        named = [marker.send_task("kitsweep.delete_files", [["id"]], task_id=name) for name in odd[:8]]
        for answer in named:
            wait_until(lambda answer=answer: answer.state == State.FAILURE, 30, "it is refused")  # type: ignore[misc]
        ours = list(rig.redis.scan_iter(rig.keys.prefix.replace("{", "[{]") + "*"))
        allowed = set(string.ascii_letters + string.digits + "{}:._-")
        assert ours, "there are keys to look at"
        assert [key for key in ours if set(key) - allowed] == []
        assert not [key for key in ours if "request:" in key]
        marker.close()


def test_tls_with_user_and_password(tmp_path: Path) -> None:
    """Worker, client and results work over `rediss://` with an ACL user, and check the server's certificate."""
    certificate = make_certificate(tmp_path)
    if certificate is None:
        pytest.skip("openssl is not installed")
    server = Server(tmp_path, username=USER, password=PASSWORD)
    with tls_gate(certificate, server.port) as port:
        login = f"{USER}:{quote(PASSWORD, safe='')}"
        address = f"rediss://{login}@127.0.0.1:{port}/0?ssl_ca_certs={certificate}"
        with Rig(tmp_path, files=300, server=server, redis_url=address) as rig:
            ids = rig.sim.remaining()
            asked = {rig.client.enqueue(ids): ids}
            rig.await_workers(rig.worker())
            await_final(rig, asked, 60)
            check_honest(rig, asked)
            unknown = f"rediss://{login}@127.0.0.1:{port}/0"
            refused = rig.proc("check", ["-m", "cli", "stats"], KITSWEEP_REDIS_URL=unknown)
            refused.wait(60)
            assert refused.exit_status not in {0, None}, "a certificate that nobody vouches for is refused"
            assert PASSWORD not in refused.text()


def test_the_repository_serialises_json_only() -> None:
    """No code of ours reads a pickle, evaluates text, or loads YAML that makes objects."""
    banned = ("import pickle", "pickle.load", "yaml.load(", " eval(", " exec(", "shell=True", "marshal.load")
    files = [path for folder in ("config", "worker", "tasks", "simulator") for path in (ROOT / folder).rglob("*.py")]
    assert [(path.name, word) for path in files for word in banned if word in path.read_text()] == []
