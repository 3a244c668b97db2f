"""The REST API of a running server: every command of docs/api.md, and any call that OpenAPI allows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tasks.tokens import Scope
from tests.integration.support_house import KEY, ROOT, House
from tests.integration.support_web import WebServer
from tests.unit.support_cleanup import DRAFTS

DOCUMENT = (ROOT / "docs" / "api.md").read_text("utf-8")
COMMANDS = [
    command
    for block in re.findall(r"```bash\n(.*?)```", DOCUMENT, re.DOTALL)
    for command in re.split(r"\n(?=curl|seq)", block.strip())
]
OPERATIONS = [
    (method.upper(), path)
    for path, methods in json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))["paths"].items()
    for method in methods
]
GUARDS = '{"large": {"max_files": 1}}'
ENVIRONMENT = {"KITSWEEP_GUARDS": GUARDS}
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
FAILS = "65f1c0ffee00000000000bad"


@pytest.fixture(scope="module")
def web(running_house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    rules = tmp_path_factory.mktemp("rules") / "cleanup.toml"
    rules.write_text(DRAFTS, "utf-8")
    server = WebServer(running_house, KITSWEEP_CLEANUP_FILE=str(rules))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def token(running_house: House) -> str:
    """A token that may do everything, with requests of one source."""
    return running_house.admin.tokens.create("rest", list(Scope), "catalog")


def shell(web: WebServer, token: str, command: str) -> str:
    """Run a command of the document; it fails on an error status. Returns its output."""
    wrapped = f'curl() {{ command curl -sS --fail-with-body "$@"; }}\nset -o pipefail\n{command}'
    environment = {"PATH": os.environ["PATH"], "KITSWEEP": web.url, "TOKEN": token}
    done = subprocess.run(
        ["bash", "-c", wrapped], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_every_command_of_the_document_works(house: House, web: WebServer, token: str) -> None:
    """In the order of the document, against a worker and the simulator."""
    house.simulator.add_files(["65f1c0ffee0000000000000a"])
    house.simulator.add_file(folder="/drafts/", created_at="40d")
    house.simulator.refuse_ids([FAILS])
    house.client.enqueue([FAILS], request_id="yesterday", source="catalog")
    house.client.wait("yesterday", 60)
    for name in ("large-1", "large-2"):
        create = httpx2.post(
            f"{web.url}/api/v1/requests",
            json={"file_ids": ["a1", "a2"], "source": "large", "hold_seconds": 60},
            headers={"Idempotency-Key": name},
            auth=(KEY, ""),
        )
        assert create.status_code == 202, create.text
    said = [shell(web, token, command) for command in COMMANDS]
    waited = next(text for command, text in zip(COMMANDS, said, strict=True) if "wait=20" in command)
    assert json.loads(waited)["state"] == "SUCCESS"


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_operation_is_shown_by_a_command(method: str, path: str) -> None:
    """A new operation needs one in docs/api.md."""
    pattern = re.sub(r"\\\{[^}]*\\\}", r"[^/ ?\"]+", re.escape(path)) + r"(?=[\s?\"]|$)"
    shown = [command for command in COMMANDS if re.search(pattern, command)]
    assert [command for command in shown if ("-X POST" in command) == (method == "POST")], f"{method} {path}"


def test_no_call_that_openapi_allows_breaks_the_server(
    house: House, web: WebServer, token: str, tmp_path: Path
) -> None:
    """Nor one that it does not allow: schemathesis finds no error 5xx, and nothing that the document does not say."""
    house.client.enqueue(["a"], request_id="r")
    document = tmp_path / "openapi.json"
    document.write_text((ROOT / "docs" / "openapi.json").read_text("utf-8"), "utf-8")
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", str(document), "--url", web.url),
        *("--header", f"Authorization: Bearer {token}"),
        *(
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--seed", "1", "--no-color"),
        *("--generation-database", "none", "--suppress-health-check", "all", "--request-timeout", "60"),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.integration.support_schemathesis",
    }
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
