"""Sends one webhook: take it, check its address, sign it, post it, record the result.

The format is Standard Webhooks 1.0.0 (github.com/standard-webhooks/standard-webhooks).
"""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import standardwebhooks

from config.settings import Settings
from config.webhooks import masked
from worker.imagekit.transport import Transport
from worker.states import Outcome
from worker.store.connection import outlast
from worker.times import iso
from worker.webhooks.addresses import AddressRefused, checked_addresses, connect_to
from worker.webhooks.schedule import AttemptResult, again, judge
from worker.webhooks.store import READY_SECONDS, Taken, Webhooks

logger = logging.getLogger(__name__)

EVENT = "request.finished"
CONNECT_SECONDS = 5.0
MAX_RESPONSE = 64 * 1024
"""Maximum bytes of a response that are read; only the status counts."""


class Sender:
    """Sends the webhooks of one account. Safe to share among threads."""

    def __init__(self, webhooks: Webhooks, settings: Settings) -> None:
        self._webhooks = webhooks
        self._signers = [standardwebhooks.Webhook(secret) for secret in settings.webhook_secrets]
        self._allowed = settings.webhook_allow
        self._public_url = settings.web_public_url
        self._ca_file = settings.webhook_ca_file
        self._timeout_seconds = settings.webhook_timeout_seconds

    def send_next(self) -> bool:
        """Send the webhook that is due first; return whether there was one."""
        taken = self._webhooks.take()
        if taken is None:
            return False
        result = self._send(taken)
        outlast(lambda: self._webhooks.record(taken, result))
        _log(taken, result)
        return True

    def _send(self, taken: Taken) -> AttemptResult:
        began, attempt, where = time.monotonic(), taken.attempts + 1, urlsplit(taken.url)
        port = where.port or {"http": 80, "https": 443}[where.scheme]
        try:
            addresses = checked_addresses(where.hostname or "", port, self._allowed)
        except AddressRefused as error:
            return AttemptResult("failed", f"not sent: {error}")
        except OSError as error:
            return again(f"cannot resolve the host: {error.strerror or error}", attempt, receiver_fails=True)
        transport = Transport(
            CONNECT_SECONDS,
            self._timeout_seconds,
            open_socket=lambda _, port, seconds: connect_to(addresses, port, seconds),
            ready_seconds=READY_SECONDS - (time.monotonic() - began),
            ca_file=self._ca_file,
        )
        body = payload(taken.report, self._public_url)
        headers = {**self._signed(taken, body), **_authorization(where), **_trace(taken.report)}
        answer = transport.exchange("POST", _without_login(where), headers, body.encode(), MAX_RESPONSE)
        transport.close()
        return judge(answer, attempt, taken.now_ms)

    def _signed(self, taken: Taken, body: str) -> dict[str, str]:
        at = datetime.fromtimestamp(taken.now_ms // 1000, UTC)
        signatures = [signer.sign(taken.webhook_id, at, body) for signer in self._signers]
        return {
            "Content-Type": "application/json",
            "User-Agent": "kitsweep",
            "Connection": "close",
            "webhook-id": taken.webhook_id,
            "webhook-timestamp": str(taken.now_ms // 1000),
            "webhook-signature": " ".join(signatures),
        }


def payload(report: Mapping[str, Any], public_url: str | None) -> str:
    """Return the body of a webhook: the report of a final request without its lists of ids, far below 20 kB.

    With the public URL of the web server it says where the whole report is.
    """
    data = {
        "request_id": report["request_id"],
        "source": report["source"],
        "reason": report.get("reason"),
        "state": report["state"],
        "total": report["total"],
        **{outcome.value: report[outcome] for outcome in Outcome},
        "enqueued_at": iso(report["enqueued_at"]),
        "finished_at": iso(report["finished_at"]),
    }
    if public_url:
        data["report_url"] = f"{public_url}/api/v1/requests/{report['request_id']}"
    return json.dumps({"type": EVENT, "timestamp": data["finished_at"], "data": data})


def _authorization(where: SplitResult) -> dict[str, str]:
    if where.username is None:
        return {}
    login = f"{unquote(where.username)}:{unquote(where.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


def _trace(report: Mapping[str, Any]) -> dict[str, str]:
    return {"traceparent": report["traceparent"]} if "traceparent" in report else {}


def _without_login(where: SplitResult) -> str:
    return where._replace(netloc=where.netloc.rpartition("@")[2]).geturl()


def _log(taken: Taken, result: AttemptResult) -> None:
    if result.ending == "delivered":
        return
    what = "given up" if result.ending else f"retrying in {result.delay_ms / 1000:.0f} s"
    logger.warning(
        "webhook of request %s to %s failed, %s: %s",
        taken.report["request_id"],
        masked(taken.url),
        what,
        result.error,
        extra={
            "request_id": taken.report["request_id"],
            "webhook_id": taken.webhook_id,
            "status": result.status,
            "traceparent": taken.report.get("traceparent"),
        },
    )
