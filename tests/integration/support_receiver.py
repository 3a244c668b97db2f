"""A receiver of webhooks: a small HTTP server that verifies each one with the library, and answers as it is told."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from standardwebhooks import Webhook, WebhookVerificationError


class Received(NamedTuple):
    """One webhook whose signature was right."""

    webhook_id: str
    path: str
    event: dict[str, Any]


class Receiver:
    """Listens on 127.0.0.1. `answer` gives the status for each webhook; a status of 0 closes the connection."""

    def __init__(self, secret: str, answer: Callable[[Received], int] = lambda _: 204) -> None:
        self.answer = answer
        self.received: list[Received] = []
        self.forged = 0
        """Webhooks whose signature was wrong."""
        self.at_once: Counter[str] = Counter()
        self.overlapped: set[str] = set()
        """Ids of webhooks that arrived while the same one was being answered."""
        self._verifier = Webhook(secret)
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.handle(self)

            def log_message(self, *_: Any) -> None:
                """Stay quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def handle(self, call: BaseHTTPRequestHandler) -> None:
        """Verify and answer one webhook."""
        body = call.rfile.read(int(call.headers["Content-Length"]))
        try:
            event = self._verifier.verify(body, dict(call.headers.items()))
        except WebhookVerificationError:
            self.forged += 1
            call.send_error(401)
            return
        received = Received(call.headers["webhook-id"], call.path, event)
        self._enter(received)
        status = self.answer(received)
        with self._lock:
            self.at_once[received.webhook_id] -= 1
        if status:
            call.send_response(status)
            call.send_header("Content-Length", "0")
            call.end_headers()

    def _enter(self, received: Received) -> None:
        with self._lock:
            self.received.append(received)
            self.at_once[received.webhook_id] += 1
            if self.at_once[received.webhook_id] > 1:
                self.overlapped.add(received.webhook_id)

    def of(self, request_id: str) -> list[dict[str, Any]]:
        """Return the reports of one request that have arrived."""
        with self._lock:
            return [each.event["data"] for each in self.received if each.event["data"]["request_id"] == request_id]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
