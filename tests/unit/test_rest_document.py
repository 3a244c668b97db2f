"""What describes the REST API: the OpenAPI document, Swagger UI, and the files that others made."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from redis import Redis

from tests.unit.support_web import KEY, api_of, call, context_on
from web.api.document import ASSETS
from web.api.routes import described

ROOT = Path(__file__).parents[2]


@pytest.fixture
def app(fake_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[FastAPI]:
    context = context_on(fake_redis, monkeypatch)
    yield api_of(context)
    context.close()


def test_the_committed_document_is_what_the_server_serves(app: FastAPI) -> None:
    """After a change: .venv/bin/python -m web.api.routes > docs/openapi.json."""
    committed = (ROOT / "docs" / "openapi.json").read_text("utf-8")
    assert committed == described()
    assert json.loads(committed) == call(app, "GET", "/openapi.json", auth=(KEY, "")).json()
    assert json.loads(committed)["openapi"].startswith("3.1")


def test_every_operation_is_described_and_names_its_errors() -> None:
    """With a text, tags, and problems."""
    for path, operations in json.loads(described())["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], (method, path)
            assert operation["tags"], (method, path)
            assert "application/problem+json" in operation["responses"]["4XX"]["content"], (method, path)


def test_swagger_ui_comes_from_our_own_files(app: FastAPI) -> None:
    """Its page names no other server, runs no script inside it, and its policy forbids both."""
    page = call(app, "GET", "/docs", auth=(KEY, ""))
    assert "default-src 'none'; script-src 'self'" in page.headers["Content-Security-Policy"]
    assert not re.search(r"https?:|<script>", page.text)
    for path in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        answer = call(app, "GET", path, auth=(KEY, ""))
        assert (answer.status_code, answer.headers["X-Content-Type-Options"]) == (200, "nosniff"), path
    assert call(app, "GET", "/docs/vendored.json", auth=(KEY, "")).status_code == 404
    assert call(app, "GET", "/docs/..%2Fvendored.json", auth=(KEY, "")).status_code == 404


@pytest.mark.parametrize("folder", [ASSETS, ASSETS.parents[1] / "tests" / "browser" / "vendored"])
def test_vendored_files_are_those_of_the_list(folder: Path) -> None:
    """Byte for byte, with version and licence, and no others."""
    vendored = json.loads((folder / "vendored.json").read_text("utf-8"))
    for package, about in vendored.items():
        found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / package).iterdir()}
        assert found == about["files"]
        assert re.fullmatch(r"\d+\.\d+\.\d+", about["version"])
        assert about["license"]
        assert any("LICENSE" in name for name in found)
    assert {path.name for path in folder.iterdir()} == {*vendored, "vendored.json"}
