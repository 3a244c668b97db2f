"""The API client against a socket that plays whatever a server or a network can do."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests.adapters
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import Settings, load_settings
from config.windows import Window
from tests.unit.scripted_server import Caller, ScriptedServer, always, http, once, scripted_server
from worker.imagekit import transport
from worker.imagekit.answers import Answer, KeyRefused, Missing, PerFile, Refused, Throttled, Unanswered
from worker.imagekit.client import DELETE_PATH, ImageKit

KEY = "private_Zx81+geheim/="
SENT = ["598821f949c0a938d57563bd", "598821f949c0a938d57563be"]
GONE = json.dumps({"successfullyDeletedFileIds": SENT}).encode()


def settings_for(url: str, **overrides: Any) -> Settings:
    """Return settings with short timeouts."""
    values: dict[str, Any] = {"private_key": KEY, "http_timeout_seconds": 10}
    return load_settings(**{**values, "base_url": url, **overrides})


@pytest.fixture(name="server")
def _server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture(name="api")
def _api(server: ScriptedServer) -> Iterator[ImageKit]:
    with contextlib.closing(ImageKit(settings_for(server.url))) as api:
        yield api


def test_the_call_as_it_is_sent(server: ScriptedServer, api: ImageKit) -> None:
    """Compact JSON, the key as user name of HTTP Basic without a password, Kitsweep as user agent."""
    server.play = always(http(200, GONE))
    answer = api.delete([*SENT, SENT[0]])
    assert isinstance(answer, PerFile)
    assert answer.deleted == set(SENT)
    [(head, body)] = server.calls
    assert body == b'{"fileIds":["' + '","'.join(SENT).encode() + b'"]}'
    lines = head.decode().split("\r\n")
    assert lines[0] == f"POST {DELETE_PATH} HTTP/1.1"
    assert f"Authorization: Basic {base64.b64encode(f'{KEY}:'.encode()).decode()}" in lines
    assert "Content-Type: application/json" in lines
    assert any(line.startswith("User-Agent: kitsweep/") for line in lines)


def test_connections_are_reused_within_a_thread_only(server: ScriptedServer, api: ImageKit) -> None:
    """Each thread has one connection for all its calls."""
    server.play = always(http(200, GONE))
    for _ in range(3):
        api.delete(SENT)
    assert server.connections == 1

    def elsewhere() -> None:
        with contextlib.closing(api):
            api.delete(SENT)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    api.delete(SENT)
    assert server.connections == 2


def test_an_idle_connection_is_not_reused(
    server: ScriptedServer, api: ImageKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call sent while the server closes the connection would be ambiguous."""
    server.play = always(http(200, GONE))
    api.delete(SENT)
    monkeypatch.setattr(transport, "IDLE_SECONDS", 0.0)
    assert isinstance(api.delete(SENT), PerFile)
    assert server.connections == 2


def test_the_environment_is_ignored(
    server: ScriptedServer, api: ImageKit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A .netrc or a proxy variable changes neither key nor address."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    server.play = always(http(200, GONE))
    assert isinstance(api.delete(SENT), PerFile)
    assert base64.b64encode(f"{KEY}:".encode()) in server.calls[0][0]


@pytest.mark.parametrize("ids", [[], [f"id{n}" for n in range(101)]], ids=["none", "101"])
def test_a_call_takes_1_to_100_ids(server: ScriptedServer, api: ImageKit, ids: list[str]) -> None:
    """The API refuses anything else, so no call is made."""
    with pytest.raises(ValueError, match="1 to 100"):
        api.delete(ids)
    assert server.calls == []


def test_without_a_key_no_call_is_made(server: ScriptedServer) -> None:
    """The result is the same as for a 401."""
    answer = ImageKit(settings_for(server.url, private_key=None)).delete(SENT)
    assert isinstance(answer, KeyRefused)
    assert server.connections == 0


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (http(207, b'{"successfullyDeletedFileIds":[],"errors":[]}'), PerFile),
        (http(404, json.dumps({"message": "m", "missingFileIds": SENT[:1]}).encode()), Missing),
        (http(400, b'{"message":"fileIds is empty."}'), Refused),
        (http(403, b'{"message":"Your account is disabled."}'), KeyRefused),
        (http(429, b"", "X-RateLimit-Reset: 15"), Throttled),
        (http(503, b"<html>"), Unanswered),
        (http(204), Unanswered),
        (http(200), Unanswered),
    ],
)
def test_each_status_has_its_class(server: ScriptedServer, api: ImageKit, data: bytes, kind: type) -> None:
    """The connection is reused for the next call."""
    server.play = always(data)
    assert [type(api.delete(SENT)), type(api.delete(SENT))] == [kind, kind]
    assert server.connections == 1


def test_headers_are_case_insensitive(server: ScriptedServer, api: ImageKit) -> None:
    """Any response may have limits, reset and request id; repeated headers are joined to a list."""
    first = ["X-IK-REQUESTID: abc", "x-ratelimit-limit: 5", "X-RateLimit-Interval: 1000"]
    second = ["X-RateLimit-Limit: 20", "X-RateLimit-Interval: 60000", "X-RateLimit-Reset: 7"]
    server.play = always(http(200, GONE, *first, *second))
    meta = api.delete(SENT).meta
    assert (meta.status, meta.request_id, meta.reset_ms) == (200, "abc", 7)
    assert meta.limits == (Window(5, 1000), Window(20, 60_000))
    assert 0 < meta.elapsed_ms < 10_000


def test_redirects_are_not_followed(server: ScriptedServer, api: ImageKit) -> None:
    """The key is not sent elsewhere, and the body of a redirect is read only up to the limit."""
    server.play = always(http(307, b"", f"Location: {server.url}/elsewhere"))
    answer = api.delete(SENT)
    assert isinstance(answer, Unanswered)
    assert "redirect" in answer.reason
    assert len(server.calls) == 1


def reset(caller: Caller) -> None:
    """Reset the connection after the call was read."""
    caller.reset()


def reset_within(caller: Caller) -> None:
    """Reset the connection within the answer."""
    caller.send(http(200, GONE)[:-10])
    caller.reset()


CUTS: dict[str, Callable[[Caller], None]] = {
    "closed": lambda caller: caller.close(),
    "reset": reset,
    "reset within": reset_within,
    "cut status": once(b"HTTP/1.1 20"),
    "cut headers": once(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "cut body": once(http(200, GONE)[:-10]),
    "cut chunk": once(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n" + GONE),
    "bad chunk": once(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + GONE),
    "not HTTP": once(b"SSH-2.0-OpenSSH\r\n"),
    "bad status": once(b"HTTP/1.1 abc OK\r\n\r\n"),
    "interim only": once(http(103)),
    "continued, then closed": once(b"HTTP/1.1 100 Continue\r\n\r\n" * 3),
    "switching": once(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    "bad gzip": once(http(200, GONE, "Content-Encoding: gzip")),
    "many headers": once(http(200, GONE, *(f"h{n}: x" for n in range(500)))),
    "long header": once(http(200, GONE, "h: " + "x" * 100_000)),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS.keys())
def test_incomplete_and_malformed_responses_are_ambiguous(
    server: ScriptedServer, api: ImageKit, cut: Callable[[Caller], None]
) -> None:
    """Without a complete response, the effect of a sent call is unknown. The next call works."""
    server.play = always(http(200, GONE))
    api.delete(SENT)
    server.play = cut
    answer = api.delete(SENT)
    assert isinstance(answer, Unanswered)
    assert answer.sent
    assert len(server.calls) == 2
    server.play = always(http(200, GONE))
    assert isinstance(api.delete(SENT), PerFile)


def test_a_late_response_is_not_used_for_the_next_call(server: ScriptedServer, api: ImageKit) -> None:
    """After an interim response the connection is closed, because the final one may still arrive."""
    server.play = always(http(103))
    assert isinstance(api.delete(SENT), Unanswered)
    assert isinstance(api.delete(SENT), Unanswered)
    assert server.connections == 2


def test_unusual_transfer_forms_are_read(server: ScriptedServer, api: ImageKit) -> None:
    """100 Continue, chunks, unrequested gzip, a body that ends with the connection."""
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(GONE), GONE)
    plays = [
        always(b"HTTP/1.1 100 Continue\r\n\r\n" + http(200, GONE)),
        always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks),
        always(http(200, gzip.compress(GONE), "Content-Encoding: gzip")),
        once(b"HTTP/1.0 200 OK\r\n\r\n" + GONE),
    ]
    for play in plays:
        server.play = play
        answer = api.delete(SENT)
        assert isinstance(answer, PerFile)
        assert answer.deleted == set(SENT)


def endless(head: bytes, piece: bytes, pause: float) -> Callable[[Caller], None]:
    """Send chunks until the client disconnects."""

    def play(caller: Caller) -> None:
        caller.send(head)
        wait = threading.Event()
        while True:
            caller.send(piece)
            wait.wait(pause)

    return play


def silence(server: ScriptedServer) -> Callable[[Caller], None]:
    """Read the call without responding."""

    def play(_: Caller) -> None:
        server.stopped.wait(10)

    return play


TRICKLES = {
    "status": endless(b"HTTP/1.1 200", b" ", 0.02),
    "headers": endless(b"HTTP/1.1 200 OK\r\n", b"x", 0.02),
    "interim answers": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02),
    "body": endless(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" ", 0.02),
    "chunks": endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", 0.02),
}


@pytest.mark.parametrize("name", ["silence", *TRICKLES])
def test_endless_responses_time_out(server: ScriptedServer, name: str) -> None:
    """The timeout applies to the response as a whole, however slowly it arrives."""
    server.play = TRICKLES.get(name) or silence(server)
    brief = settings_for(server.url, http_timeout_seconds=0.5, http_connect_timeout_seconds=0.5)
    with contextlib.closing(ImageKit(brief)) as api:
        start = time.monotonic()
        answer = api.delete(SENT)
        elapsed = time.monotonic() - start
    assert isinstance(answer, Unanswered)
    assert answer.sent
    assert "imed out" in answer.reason
    assert 0.49 < elapsed < 1


def test_bodies_are_read_up_to_a_limit(server: ScriptedServer, api: ImageKit) -> None:
    """After 4 MiB the client closes the connection; only what the system has buffered is sent in addition."""
    flooded = []

    def flood(caller: Caller) -> None:
        caller.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            caller.send(b" " * 65536)
            flooded.append(65536)

    server.play = flood
    answer = api.delete(SENT)
    assert isinstance(answer, Unanswered)
    assert answer.sent
    assert "more than 4194304 bytes" in answer.reason
    assert sum(flooded) < 100_000_000


def test_compressed_bodies_have_the_same_limit(server: ScriptedServer, api: ImageKit) -> None:
    """Of 50 MB compressed to 50 KB, at most 4 MiB are read."""
    server.play = once(http(200, gzip.compress(b" " * 50_000_000), "Content-Encoding: gzip"))
    tracemalloc.start()
    try:
        answer = api.delete(SENT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(answer, Unanswered)
    assert "more than 4194304 bytes" in answer.reason
    assert peak < 25_000_000


def test_the_time_when_a_call_was_sent(server: ScriptedServer, api: ImageKit) -> None:
    """It is known for every call that was sent completely, with or without a response."""
    for play in (always(http(200, GONE)), always(http(503)), CUTS["reset"], CUTS["cut body"]):
        server.play = play
        before = time.monotonic()
        sent_at = api.delete(SENT).meta.sent_at
        assert sent_at is not None
        assert before <= sent_at <= time.monotonic()
    with contextlib.closing(ImageKit(settings_for("http://127.0.0.1:1"))) as nobody:
        assert nobody.delete(SENT).meta.sent_at is None


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_refused_connections_send_nothing(scheme: str) -> None:
    """No server listens: nothing was sent."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    answer = ImageKit(settings_for(f"{scheme}://127.0.0.1:{port}")).delete(SENT)
    assert isinstance(answer, Unanswered)
    assert not answer.sent
    assert answer.reason.startswith("no connection (ConnectionRefusedError")


def test_unknown_hosts_send_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The DNS lookup fails: nothing was sent."""

    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    answer = ImageKit(settings_for("http://kitsweep.invalid")).delete(SENT)
    assert isinstance(answer, Unanswered)
    assert not answer.sent


def test_connect_timeouts_send_nothing() -> None:
    """The accept queue of the server is full: nothing was sent, and the connect timeout applies."""
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            sock = waiting.enter_context(socket.socket())
            sock.setblocking(False)  # it takes no keyword
            sock.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        api = ImageKit(settings_for(url, http_connect_timeout_seconds=0.1, http_timeout_seconds=5))
        answer = api.delete(SENT)
    assert isinstance(answer, Unanswered)
    assert not answer.sent
    assert answer.meta.elapsed_ms < 2000


@pytest.mark.parametrize("hello", [b"HTTP/1.1 400 plain\r\n\r\n", b""], ids=["no TLS", "closed"])
def test_failed_tls_sends_nothing(hello: bytes) -> None:
    """The call is sent only after the TLS handshake."""

    def accept() -> None:
        sock, _ = listener.accept()
        with sock:
            sock.recv(1000)
            sock.sendall(hello)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        answer = ImageKit(settings_for(f"https://127.0.0.1:{listener.getsockname()[1]}")).delete(SENT)
        thread.join(5)
    assert isinstance(answer, Unanswered)
    assert not answer.sent


@pytest.fixture(name="certificate", scope="module")
def _certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for 127.0.0.1 that signs itself, with its key in the same file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=kitsweep test"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", str(path) + ".crt"]
    subprocess.run([openssl, *request, *names], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "self-signed"])
def test_tls(certificate: Path, monkeypatch: pytest.MonkeyPatch, *, trusted: bool) -> None:
    """Keep-alive and the deadline work over TLS; nothing is sent to an untrusted server."""
    if trusted:
        monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with scripted_server(context) as server:
        brief = settings_for(server.url, http_timeout_seconds=0.5, http_connect_timeout_seconds=0.5)
        with contextlib.closing(ImageKit(brief)) as api:
            server.play = always(http(200, GONE))
            answers = [api.delete(SENT), api.delete(SENT)]
            server.play = TRICKLES["headers"]
            answers.append(api.delete(SENT))
    lost = [answer.sent for answer in answers if isinstance(answer, Unanswered)]
    assert lost == ([True] if trusted else [False] * 3)
    assert len(server.calls) == (3 if trusted else 0)
    assert server.connections == (1 if trusted else 3)


def test_one_structured_line_for_each_call(
    server: ScriptedServer, api: ImageKit, caplog: pytest.LogCaptureFixture
) -> None:
    """Its fields are status, the vendor's request id, number of ids, and time."""
    caplog.set_level(logging.INFO)
    server.play = always(http(200, GONE, "x-ik-requestId: r-1"))
    api.delete(SENT)
    [record] = caplog.records
    assert record.name == "kitsweep.imagekit"
    fields = record.__dict__
    assert [fields[name] for name in ("answer", "status", "imagekit_request_id", "ids")] == ["PerFile", 200, "r-1", 2]
    assert fields["elapsed_ms"] > 0


def test_foreign_ids_are_logged(server: ScriptedServer, api: ImageKit, caplog: pytest.LogCaptureFixture) -> None:
    """A response with ids that were not sent is a warning."""
    server.play = always(http(200, b'{"successfullyDeletedFileIds":["foreign"]}'))
    api.delete(SENT)
    [record] = caplog.records
    assert (record.levelname, record.__dict__["foreign"]) == ("WARNING", 1)


def test_the_key_is_never_shown(
    server: ScriptedServer,
    api: ImageKit,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is in no repr, log, answer or error, even if the server echoes it or fails in any way."""
    caplog.set_level(logging.DEBUG)
    token = base64.b64encode(f"{KEY}:".encode()).decode()
    echo = json.dumps({"message": f"bad key {KEY} in Basic {token}"}).encode()
    seen = [repr(api), str(api), repr(api._reader), repr(api._transport)]
    plays = [always(http(status, echo, f"x-ik-requestId: {KEY}")) for status in (400, 403, 503)]
    bad_status = once(f"HTTP/1.1 {KEY} {token}\r\n\r\n".encode())
    bad_header = once(http(200, GONE, f"{KEY}", f"x {token}"))
    for play in [*plays, *CUTS.values(), bad_status, bad_header]:
        server.play = play
        seen.append(repr(api.delete(SENT)))
    seen.extend([caplog.text, repr([record.__dict__ for record in caplog.records]), *capsys.readouterr()])
    assert not [text for text in seen if KEY in text or token in text]


@pytest.fixture(name="lasting", scope="module")
def _lasting() -> Iterator[tuple[ScriptedServer, ImageKit]]:
    with scripted_server() as server, contextlib.closing(ImageKit(settings_for(server.url))) as api:
        yield server, api


def assert_honest(answer: Answer) -> None:
    """Check that an answer is of a known class and names only ids that were sent."""
    assert isinstance(answer, Answer)
    if isinstance(answer, PerFile):
        assert answer.deleted <= set(SENT)
        assert answer.errors.keys() <= set(SENT)
    if isinstance(answer, Missing):
        assert set() < answer.file_ids <= set(SENT)


@settings(deadline=None, max_examples=60)
@given(
    status=st.integers(100, 999) | st.sampled_from([200, 207, 400, 404]),
    body=st.binary(max_size=200) | st.sampled_from([GONE, GONE[:-1], b'{"missingFileIds":["x"]}']),
    headers=st.lists(st.text(st.characters(codec="latin-1"), max_size=20), max_size=3),
)
def test_any_body_under_any_status(
    lasting: tuple[ScriptedServer, ImageKit], status: int, body: bytes, headers: list[str]
) -> None:
    """Any body, status and header gives one of the classes."""
    server, api = lasting
    server.play = once(http(status, body, *headers))
    assert_honest(api.delete(SENT))


@settings(deadline=None, max_examples=60)
@given(
    start=st.sampled_from([b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\n", http(100), http(200, GONE)[:-1]]),
    rest=st.binary(max_size=300) | st.lists(st.sampled_from([b"\r\n", b":", b"0", b" ", GONE])).map(b"".join),
)
def test_any_bytes_as_an_answer(lasting: tuple[ScriptedServer, ImageKit], start: bytes, rest: bytes) -> None:
    """Any bytes instead of a response give one of the classes."""
    server, api = lasting
    server.play = once(start + rest)
    assert_honest(api.delete(SENT))
