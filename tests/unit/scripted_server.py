"""A stand-in for the vendor at the transport: a socket that plays bytes from a script."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator

Play = Callable[["Caller"], None]
"""What the server does with one call, after it has read all of it."""


class Caller:
    """One connection of the client's, with the call that was read from it last."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._rest = b""
        self.head = b""
        self.body = b""

    def read(self) -> bool:
        """Read one whole call; False when the client has closed the connection."""
        while b"\r\n\r\n" not in self._rest:
            if not (data := self._sock.recv(65536)):
                return False
            self._rest += data
        self.head, _, rest = self._rest.partition(b"\r\n\r\n")
        length = int(self.header("content-length") or 0)
        while len(rest) < length:
            rest += self._sock.recv(65536)
        self.body, self._rest = rest[:length], rest[length:]
        return True

    def header(self, name: str) -> str | None:
        """Value of a header of the call."""
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.strip().lower() == name:
                return value.strip()
        return None

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._sock.sendall(data)

    def close(self) -> None:
        """End the connection in order."""
        self._sock.close()

    def reset(self) -> None:
        """End the connection by a reset, as a crash or a firewall does."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()


class ScriptedServer:
    """Plays `self.play` for every call; `calls` holds head and body of each, `connections` counts them."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.play: Play = lambda caller: caller.close()
        self.calls: list[tuple[bytes, bytes]] = []
        self.connections = 0
        self.stopped = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock, self._secured(sock) as line:
            caller = Caller(line)
            while caller.read():
                self.calls.append((caller.head, caller.body))
                self.play(caller)

    def _secured(self, sock: socket.socket) -> socket.socket:
        return self._tls.wrap_socket(sock, server_side=True) if self._tls else sock

    def stop(self) -> None:
        """Close everything and wait until all threads have ended."""
        self.stopped.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)


@contextlib.contextmanager
def scripted_server(tls: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    """Run a server, and stop it at the end."""
    server = ScriptedServer(tls)
    try:
        yield server
    finally:
        server.stop()


def http(status: int | str, body: bytes = b"", *headers: str) -> bytes:
    """One well-formed answer."""
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", "Content-Type: text/x", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def once(data: bytes) -> Play:
    """Send bytes, then end the connection."""

    def play(caller: Caller) -> None:
        caller.send(data)
        caller.close()

    return play


def always(data: bytes) -> Play:
    """Send bytes, and keep the connection."""
    return lambda caller: caller.send(data)
