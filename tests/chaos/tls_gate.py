"""A TLS door in front of a server that speaks none: it takes `rediss://` connections and hands them on in clear."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path


def make_certificate(folder: Path, name: str = "IP:127.0.0.1") -> Path | None:
    """Make a certificate for a name that signs itself, with its key in the same file; None without openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        return None
    path = folder / "both.pem"
    request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", f"subjectAltName={name}"]
    subprocess.run([openssl, *request, *names, "-keyout", path, "-out", path], check=True, capture_output=True)
    return path


@contextlib.contextmanager
def tls_gate(certificate: Path, port: int) -> Iterator[int]:
    """Open the door before a port of this machine; gives the door's port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    door = socket.create_server(("127.0.0.1", 0))
    lines: list[socket.socket] = []
    threads = [threading.Thread(target=_accept, args=(door, context, port, lines), daemon=True)]
    threads[0].start()
    try:
        yield int(door.getsockname()[1])
    finally:
        for line in (door, *lines):
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()
        threads[0].join(5)


def _accept(door: socket.socket, context: ssl.SSLContext, port: int, lines: list[socket.socket]) -> None:
    with contextlib.suppress(OSError):
        while True:
            plain, _ = door.accept()
            threading.Thread(target=_serve, args=(plain, context, port, lines), daemon=True).start()


def _serve(plain: socket.socket, context: ssl.SSLContext, port: int, lines: list[socket.socket]) -> None:
    with (
        plain,
        contextlib.suppress(OSError),
        context.wrap_socket(plain, server_side=True) as outer,
        socket.create_connection(("127.0.0.1", port)) as inner,
    ):
        lines += [outer, inner]
        back = threading.Thread(target=_pump, args=(inner, outer), daemon=True)
        back.start()
        _pump(outer, inner)
        back.join(5)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for line in (source, target):
        with contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)
