"""Certificates of erasure: what is genuine, and how every change shows."""

from __future__ import annotations

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
def lines(key: SigningKey) -> list[str]:
    return list(written(REQUEST, FILES, key))


def test_what_was_written_is_genuine(lines: list[str], key: SigningKey) -> None:
    found = verified(lines, key.public)
    assert found.request["reason"] == "user 42 left"
    assert found.seal["totals"] == {"deleted": 1, "presumed_deleted": 1, "failed": 1, "purged": 1, "purge_failed": 1}


def test_it_says_what_it_does_not_prove(lines: list[str], key: SigningKey) -> None:
    told = " ".join(verified(lines).seal["does_not_prove"])
    assert "1 files are presumed deleted" in told
    assert "1 files were not deleted" in told
    assert "Cached copies of 2 files were not purged" in told


def sealed(lines: list[str], **changes: object) -> list[str]:
    """Return the lines with another last line."""
    return [*lines[:-1], json.dumps({**json.loads(lines[-1]), **changes}) + "\n"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda of: [of[0], of[1].replace("deleted", "not_found"), *of[2:]], "lines before the last were changed"),
        (lambda of: [of[0], *of[2:]], "lines before the last were changed"),
        (lambda of: [of[0], of[2], of[1], *of[3:]], "lines before the last were changed"),
        (lambda of: [of[0], of[1], *of[1:]], "lines before the last were changed"),
        (lambda of: [of[0].replace("user 42", "user 43"), *of[1:]], "lines before the last were changed"),
        (lambda of: sealed(of, totals={"deleted": 3}), "the last line is not what was signed"),
        (lambda of: sealed(of, does_not_prove=[]), "the last line is not what was signed"),
        (lambda of: sealed(of, signature="AAAA"), "the last line is not what was signed"),
        (lambda of: of[:-1], "the last line is not what was signed"),
        (lambda of: [*of[:-1], of[-1][:40]], "not a complete JSON object"),
        (lambda of: of[:1], "incomplete"),
        (lambda _: [], "incomplete"),
        (lambda _: ["[]\n", "{}\n"], "line 1: not a complete JSON object"),
        (lambda of: ["{}\n", *of[1:]], "line 1: not a certificate"),
    ],
)
def test_each_change_shows(lines: list[str], change: Any, told: str) -> None:
    with pytest.raises(CertificateInvalid, match=told):
        verified(change(lines))


def test_another_key_shows(lines: list[str], tmp_path: Path) -> None:
    other = SigningKey.create(tmp_path / "other.pem")
    with pytest.raises(CertificateInvalid, match="another key"):
        verified(lines, other.public)
    with pytest.raises(CertificateInvalid, match="not what was signed"):
        verified(sealed(lines, key=other.public))


@given(st.data())
def test_no_byte_can_be_changed(lines: list[str], data: st.DataObject) -> None:
    """Spaces that JSON ignores in the last line are the exception: they change nothing that is said."""
    text = "".join(lines)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda each: each != text[at]))
    changed = (text[:at] + other + text[at + 1 :]).splitlines(keepends=True)
    try:
        found = verified(changed)
    except CertificateInvalid:
        return
    assert found == verified(lines)


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


def test_the_page_shows_the_files_and_escapes_them(lines: list[str]) -> None:
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
