"""Certificates of erasure: what is genuine, and how every change shows."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

import cli.commands.report
import tasks.certificates
import tasks.search
from cli import run
from tasks.certificates import Certificates, create_key
from tasks.client import Client
from tests.unit.support_queue import end_all, must_claim, settings_for_tests
from worker.proof.certificate import CertificateInvalid, verified, written
from worker.proof.keys import SigningKey
from worker.proof.page import page
from worker.queue.operations import NewRequest, Queue
from worker.states import Outcome

FILES: list[dict[str, Any]] = [
    {"file_id": "a", "outcome": "deleted", "at": "2026-11-24T12:00:00.000+00:00", "purge": "purged"},
    {"file_id": "b", "outcome": "presumed_deleted", "at": "2026-11-24T12:00:00.000+00:00", "purge": "purge_failed"},
    {"file_id": "c", "outcome": "failed", "error": "<b>refused</b>"},
]
REQUEST = {"request_id": "r", "source": "shop", "reason": "user 42 left", "total": len(FILES)}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return SigningKey.create(tmp_path_factory.mktemp("keys") / "key.pem")


@pytest.fixture(scope="module")
def lines(key: SigningKey) -> list[bytes]:
    return certificate_of(key)


def certificate_of(key: SigningKey, request: dict[str, Any] = REQUEST) -> list[bytes]:
    return [line.encode() for line in written(request, FILES, key)]


def test_what_was_written_is_genuine(lines: list[bytes], key: SigningKey) -> None:
    found = verified(lines, key.public)
    assert found.request["reason"] == "user 42 left"
    assert found.seal["totals"] == {"deleted": 1, "presumed_deleted": 1, "failed": 1, "purged": 1, "purge_failed": 1}


def test_it_says_what_it_does_not_prove(lines: list[bytes], key: SigningKey) -> None:
    told = " ".join(verified(lines).seal["does_not_prove"])
    assert "Presumed deleted: 1." in told
    assert "failed or were cancelled: 1." in told
    assert "Not purged from the CDN: 2." in told
    assert "Which call to ImageKit" in told


def sealed(lines: list[bytes], **changes: object) -> list[bytes]:
    """Return the lines with another last line."""
    seal = {**json.loads(lines[-1]), **changes}
    return [*lines[:-1], json.dumps(seal, sort_keys=True, separators=(",", ":")).encode() + b"\n"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda of: [of[0], of[1].replace(b"deleted", b"not_found"), *of[2:]], "outcomes were changed"),
        (lambda of: [of[0], *of[2:]], "lines removed"),
        (lambda of: [of[0], of[1], *of[1:]], "lines removed or added"),
        (lambda of: [of[0], of[2], of[1], *of[3:]], "another order"),
        (lambda of: [of[0].replace(b"user 42", b"user 43"), *of[1:]], "lines before the last were changed"),
        (lambda of: [of[0].replace(b"user 42", b"user \xff"), *of[1:]], "line 1: not a complete JSON object"),
        (lambda of: [of[0], b"[" * 100_000 + b"\n", *of[1:]], "line 2: not a complete JSON object"),
        (lambda of: [*of[:-1], of[-1].replace(b"{", b'{"totals":{},', 1)], "the last line is not what was signed"),
        (lambda of: [*of[:-1], of[-1].replace(b":", b": ", 1)], "the last line is not what was signed"),
        (lambda of: sealed(of, totals={"deleted": 3}), "the last line is not what was signed"),
        (lambda of: sealed(of, does_not_prove=[]), "the last line is not what was signed"),
        (lambda of: sealed(of, signature="AAAA"), "the last line is not what was signed"),
        (lambda of: of[:-1], "incomplete"),
        (lambda of: [*of, b"{}\n"], "incomplete"),
        (lambda of: [*of[:-1], of[-1][:40]], "not a complete JSON object"),
        (lambda of: of[:1], "incomplete"),
        (lambda _: [], "incomplete"),
        (lambda _: [b"[]\n", b"{}\n"], "line 1: not a complete JSON object"),
        (lambda of: [b"{}\n", *of[1:]], "line 1: not a certificate"),
    ],
)
def test_each_change_shows(lines: list[bytes], change: Any, told: str) -> None:
    with pytest.raises(CertificateInvalid, match=told):
        verified(change(lines))


def test_what_is_signed_but_no_certificate_is_refused(key: SigningKey) -> None:
    """Anybody can sign anything with a key of their own; it is refused like a change, and breaks nothing."""
    with pytest.raises(CertificateInvalid, match="fields are missing"):
        verified(certificate_of(key, {"total": len(FILES)}))


def test_another_key_shows(lines: list[bytes], tmp_path: Path) -> None:
    other = SigningKey.create(tmp_path / "other.pem")
    with pytest.raises(CertificateInvalid, match="another key"):
        verified(lines, other.public)
    with pytest.raises(CertificateInvalid, match="not what was signed"):
        verified(sealed(lines, key=other.public))


@given(st.data())
def test_no_byte_can_be_changed(lines: list[bytes], data: st.DataObject) -> None:
    text = b"".join(lines)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.binary(min_size=1, max_size=1).filter(lambda each: each != text[at : at + 1]))
    with pytest.raises(CertificateInvalid):
        verified(io.BytesIO(text[:at] + other + text[at + 1 :]))


def test_files_without_a_stored_outcome_are_not_certified(key: SigningKey) -> None:
    with pytest.raises(CertificateInvalid, match="1 of 3 files have no stored outcome"):
        list(written(REQUEST, FILES[:2], key))


def test_a_key_is_private_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key.pem"
    key = SigningKey.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.read(path).public == key.public
    with pytest.raises(FileExistsError):
        SigningKey.create(path)


def test_a_broken_key_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n")
    with pytest.raises(ValueError, match="is not an Ed25519 private key") as error:
        SigningKey.read(path)
    assert "secret" not in str(error.value)
    assert error.value.__cause__ is None


def test_the_command_prints_the_public_key_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The private key is in the file only, which a second call keeps."""
    path = tmp_path / "key.pem"
    assert run(["key", "create", str(path)]) == 0
    pem, shown = path.read_text(), capsys.readouterr()
    assert shown.out.strip() == SigningKey.read(path).public
    assert run(["key", "create", str(path)]) == 2
    shown_again = capsys.readouterr()
    assert path.read_text() == pem
    secret = pem.splitlines()[1]
    assert secret not in "".join([*shown, *shown_again])


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "r", "--html", "page.html"],
        ["report", "r", "--certificate", "--html", "page.html"],
        ["report", "r", "--certificate", "--outcome", "failed"],
        ["report", "r", "--certificate", "--format", "csv"],
        ["verify", "no-such-file"],
    ],
)
def test_wrong_use_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert "kitsweep: " in capsys.readouterr().err


def test_the_page_shows_the_files_and_escapes_them(lines: list[bytes]) -> None:
    found = verified(lines)
    html = "".join(page(found.request, found.seal, FILES))
    assert "&lt;b&gt;refused&lt;/b&gt;" in html
    assert "presumed_deleted" in html
    assert "<b>" not in html


def test_a_request_is_certified_and_verified_by_command(
    client: Client, queue: Queue, redis_client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before it is final, and not without a key; the page is written beside the certificate."""
    key_file, certificate, html = tmp_path / "key.pem", tmp_path / "proof.jsonl", tmp_path / "proof.html"
    settings = settings_for_tests(signing_key_file=str(key_file))
    for module in (tasks.certificates, tasks.search):
        monkeypatch.setattr(module, "connect", lambda _: redis_client)
    monkeypatch.setattr(cli.commands.report, "Certificates", lambda: Certificates(settings, client))
    command = ["report", "r", "--certificate", "-o", str(certificate), "--html", str(html)]
    queue.enqueue(NewRequest("r", "shop", "user 42 left", origin="token shop"), ["a", "b"])
    assert run(command) == 1
    create_key(key_file)
    assert run(command) == 1
    assert not certificate.exists()
    end_all(queue, must_claim(queue, "t"), Outcome.DELETED)
    assert run(command) == 0
    assert run(["verify", str(certificate)]) == 0
    assert json.loads(certificate.read_text().splitlines()[0])["requested_by"] == "token shop"
    assert "user 42 left" in html.read_text()
    certificate.write_text(certificate.read_text().replace('"a"', '"c"'))
    assert run(["verify", str(certificate)]) == 1
