"""The compose file and the image, checked without a Docker engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from config.settings import Settings, environment_name
from worker.store.connection import OUTLAST_SECONDS

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"
OURS = ["worker", "beat", "web", "flower", "simulator"]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe", pure=True).load(COMPOSE_FILE)
    return content


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    return found


@pytest.fixture(scope="module")
def dockerfile() -> list[str]:
    """The instructions of the Dockerfile, one a line, without comments."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def final_stage(instructions: list[str]) -> list[str]:
    start = max(place for place, line in enumerate(instructions) if line.startswith("FROM "))
    return instructions[start:]


def seconds(text: str) -> int:
    match = re.fullmatch(r"(\d+)(s|m)", text)
    assert match, text
    return int(match[1]) * {"s": 1, "m": 60}[match[2]]


def test_the_file_matches_the_compose_schema() -> None:
    """Compose itself accepts unknown keys in some places."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE_FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_file_has_no_obsolete_version(compose: dict[str, Any]) -> None:
    """Compose warns about `version:` on every command."""
    assert "version" not in compose


def test_workers_can_be_scaled(services: dict[str, Any]) -> None:
    """A fixed name or port allows only one container."""
    assert not {"container_name", "ports"} & set(services["worker"])


def test_workers_have_time_to_finish_their_calls(services: dict[str, Any]) -> None:
    """A call ends within KITSWEEP_STOP_SECONDS and is settled after that, even if Redis is down for a while."""
    grace = seconds(services["worker"]["stop_grace_period"])
    assert grace >= 60
    assert grace > Settings.model_fields["http_timeout_seconds"].default
    assert grace > Settings.model_fields["stop_seconds"].default
    assert grace > OUTLAST_SECONDS


def test_redis_keeps_accepted_ids(services: dict[str, Any]) -> None:
    """It has an append-only file on a volume, and never evicts keys."""
    command = services["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert "redis-data:/data" in services["redis"]["volumes"]


def test_volumes_are_declared(compose: dict[str, Any]) -> None:
    """Compose refuses undeclared volumes."""
    mounted = {mount.partition(":")[0] for each in compose["services"].values() for mount in each.get("volumes", [])}
    assert {name for name in mounted if not name.startswith("./")} == set(compose["volumes"])


def test_mounted_files_exist(services: dict[str, Any]) -> None:
    """Docker would make empty folders of the others."""
    mounted = {mount.split(":")[0] for name in ("prometheus", "grafana") for mount in services[name]["volumes"]}
    assert [path for path in mounted if path.startswith("./") and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", ["redis", "prometheus", "grafana", *OURS])
def test_each_service_has_a_health_check(services: dict[str, Any], name: str) -> None:
    """A process that hangs is noticed, and one that exits is restarted."""
    assert services[name]["healthcheck"]["test"]
    assert services[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", ["worker", "beat", "web", "flower"])
def test_services_wait_for_redis_and_find_it(services: dict[str, Any], name: str) -> None:
    """The default URL is that of the redis service."""
    assert services[name]["depends_on"]["redis"]["condition"] == "service_healthy"
    assert services[name]["environment"]["KITSWEEP_REDIS_URL"] == "${KITSWEEP_REDIS_URL:-redis://redis:6379/0}"


@pytest.mark.parametrize("name", OURS)
def test_our_containers_have_no_privileges(services: dict[str, Any], name: str) -> None:
    """They write only temporary files and cannot gain privileges."""
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", OURS)
def test_only_known_settings_are_set(services: dict[str, Any], name: str) -> None:
    """With an unknown setting the container does not start."""
    known = {environment_name(field) for field in Settings.model_fields}
    assert set(services[name].get("environment", {})) <= known


def test_ports_are_local(services: dict[str, Any]) -> None:
    """Redis, Flower and Prometheus have no password here."""
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_production_can_do_without_needs_a_profile(services: dict[str, Any]) -> None:
    """`docker compose up` starts only the services for production."""
    asked_for = {name: service.get("profiles") for name, service in services.items() if "profiles" in service}
    others = {"flower": ["flower"], "simulator": ["simulator"]}
    assert asked_for == {"prometheus": ["monitoring"], "grafana": ["monitoring"], **others}


def test_secrets_are_not_in_the_file() -> None:
    """The private key comes from `.env` or the environment."""
    assert not re.search(r"^\s*IMAGEKIT_PRIVATE_KEY:", COMPOSE_FILE.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_image_does_not_run_as_root(dockerfile: list[str]) -> None:
    """The last USER is not root."""
    users = [line.split()[1] for line in final_stage(dockerfile) if line.startswith("USER ")]
    assert users
    assert users[-1] not in {"root", "0"}


def test_the_image_has_a_health_check(dockerfile: list[str]) -> None:
    """Docker notices a worker that hangs without compose as well."""
    assert any(line.startswith("HEALTHCHECK ") and "inspect ping" in line for line in final_stage(dockerfile))


def test_signals_reach_the_worker(dockerfile: list[str]) -> None:
    """The command is a list: a shell would not forward SIGTERM."""
    commands = [line for line in final_stage(dockerfile) if line.startswith("CMD ")]
    assert commands == ['CMD ["celery", "-A", "worker.app", "worker"]']


def test_copied_files_are_in_the_build_context(dockerfile: list[str]) -> None:
    """They exist and `.dockerignore` allows them; secrets, tests and history are excluded."""
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    copied = [line.split()[1:-1] for line in dockerfile if line.startswith("COPY ") and "--from" not in line]
    names = {name for line in copied for name in line}
    assert all((ROOT / name).exists() for name in names)
    assert {name.strip("!/") for name in allowed if name.startswith("!")} == names
    assert not names & {".env", ".git", "tests", "."}
