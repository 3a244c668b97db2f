"""Certificates of erasure: written from a final request, and verified without Redis."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from config.settings import Settings, environment_name
from tasks.accounts import settings_of
from tasks.client import Client
from tasks.search import Search
from worker.errors import NotPossible
from worker.proof.certificate import CertificateInvalid, Verified, verified, written
from worker.proof.keys import SigningKey
from worker.proof.page import page
from worker.reports.purges import read_purges
from worker.reports.report import FileOutcome, Report
from worker.states import State
from worker.store.connection import connect, explained
from worker.store.keys import Keys

__all__ = ["CertificateInvalid", "Certificates", "Verified", "create_key", "page", "verified"]

_AT_ONCE = 1000
"""Files whose purge is read in one round trip."""
_ABOUT = ("request_id", "source", "reason", "state", "total", "enqueued_at", "finished_at")


def create_key(path: Path) -> str:
    """Create the key that signs certificates in a new file; return its public part. Raises `OSError`."""
    return SigningKey.create(path).public


class Certificates:
    """Writes the certificates of one account. Raises `worker.errors.RedisUnreachable` when Redis does not answer."""

    def __init__(self, settings: Settings | None = None, client: Client | None = None) -> None:
        self._settings = settings_of(settings)
        self._client = client or Client(self._settings)
        self._search = Search(self._settings)
        self._redis, self._keys = connect(self._settings), Keys(self._settings.account)

    def lines(self, request_id: str) -> Iterator[str]:
        """Yield the lines of a certificate, in constant memory.

        Raises, before the first line, `UnknownRequest`, and `NotPossible` if the request is not final or there is no
        key; at the end `CertificateInvalid` if the outcomes of some files have expired.
        """
        key, report = self._key(), self._client.status(request_id)
        if not State(report["state"]).is_final:
            raise NotPossible(f"request {request_id} is not final; certify it once it is")
        about = {
            **{name: value for name, value in report.items() if name in _ABOUT},
            "account": self._settings.account,
            "requested_by": self._search.history(report).by,
            "issued_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        return written(about, self._files(report), key)

    def _key(self) -> SigningKey:
        name, path = environment_name("signing_key_file"), self._settings.signing_key_file
        if path is None:
            raise NotPossible(f"there is no key to sign with; run `kitsweep key create` and set {name}")
        try:
            return SigningKey.read(Path(path))
        except (OSError, ValueError) as error:
            raise NotPossible(f"{name}: {path} {getattr(error, 'strerror', None) or error}") from None

    def _files(self, report: Report) -> Iterator[dict[str, Any]]:
        outcomes = self._client.outcomes(report["request_id"])
        while some := list(islice(outcomes, _AT_ONCE)):
            yield from self._with_purges(report, some) if "purged" in report else map(_described, some)

    def _with_purges(self, report: Report, files: list[FileOutcome]) -> Iterator[dict[str, Any]]:
        with explained(self._settings):
            purges = read_purges(self._redis, self._keys, [(report["request_id"], each.file_id) for each in files])
        for file, purge in zip(files, purges, strict=True):
            told = {"purge": purge.state, "url": purge.url, "purge_ended_at": purge.at} if purge else {}
            yield _described(file) | told


def _described(file: FileOutcome) -> dict[str, Any]:
    return {name: value for name, value in file._asdict().items() if value}
