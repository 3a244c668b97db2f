"""The manifests in deploy/kubernetes, checked without a cluster: by the schemas of Kubernetes and their references."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from ruamel.yaml import YAML

from config.settings import Settings, environment_name
from worker.cleanup.rules.file import RulesFile
from worker.store.connection import OUTLAST_SECONDS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
SCHEMAS = json.loads((ROOT / "tests" / "kubernetes" / "schemas.json").read_text("utf-8"))
PATHS = sorted(path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml")
EXTENSIONS = {"ServiceMonitor", "ScaledObject", "TriggerAuthentication"}
"""Kinds that the Prometheus Operator and KEDA bring; Kubernetes has no schemas of them."""
Object = dict[str, Any]


def documents(path: Path) -> list[Object]:
    return list(YAML(typ="safe", pure=True).load_all(path.read_text("utf-8")))


@cache
def objects() -> dict[tuple[str, str], Object]:
    """All objects, by kind and name."""
    return {(each["kind"], each["metadata"]["name"]): each for path in PATHS for each in documents(path)}


def of_kind(kind: str) -> Iterator[Object]:
    return (each for (its_kind, _), each in objects().items() if its_kind == kind)


def pods() -> dict[str, Object]:
    """The pods of deployments, by component."""
    found = (each["spec"]["template"] for each in of_kind("Deployment"))
    return {pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod for pod in found}


def container_of(component: str) -> Object:
    (container,) = pods()[component]["spec"]["containers"]
    return dict(container)


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return selector.items() <= labels.items()


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_objects_match_the_schemas_of_kubernetes(path: Path) -> None:
    """Strictly: a misspelled field is an error, which a cluster would ignore."""
    for each in documents(path):
        if each["kind"] in EXTENSIONS:
            continue
        name = SCHEMAS["kinds"][f"{each['apiVersion']} {each['kind']}"]
        jsonschema.validate(each, {"$ref": f"#/$defs/{name}", "$defs": SCHEMAS["$defs"]})


def test_the_schemas_refuse_a_misspelled_field() -> None:
    """Also deep in an object."""
    pod = json.loads(json.dumps(objects()["Deployment", "kitsweep-worker"]))
    pod["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    schema = {"$ref": f"#/$defs/{SCHEMAS['kinds']['apps/v1 Deployment']}", "$defs": SCHEMAS["$defs"]}
    with pytest.raises(jsonschema.ValidationError, match="readynessProbe"):
        jsonschema.validate(pod, schema)


@pytest.mark.parametrize("folder", ["base", "components/monitoring", "components/keda"])
def test_each_file_is_listed_in_its_kustomization(folder: str) -> None:
    """And nothing else is."""
    (listing,) = documents(FOLDER / folder / "kustomization.yaml")
    there = {path.name for path in (FOLDER / folder).glob("*.yaml")} - {"kustomization.yaml"}
    assert set(listing["resources"]) == there


@pytest.mark.parametrize("folder", ["base", "example"])
def test_kustomize_builds(folder: str) -> None:
    """With the images, settings and rules of an overlay."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is missing")
    done = subprocess.run([kubectl, "kustomize", str(FOLDER / folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("kind: Deployment") == 3
    worker = done.stdout.partition("name: kitsweep-worker\n")[2].partition("\n---")[0]
    assert ("replicas: 2" in worker) == (folder == "base")


def test_selectors_find_pods() -> None:
    """Of services, budgets, network policies and the monitor; the monitor and policies find the port, too."""
    labels = [pod["metadata"]["labels"] for pod in pods().values()]
    for each in of_kind("Deployment"):
        assert selects(each["spec"]["selector"]["matchLabels"], each["spec"]["template"]["metadata"]["labels"])
    wanted = [each["spec"]["selector"] for each in of_kind("Service")]
    wanted += [each["spec"]["selector"]["matchLabels"] for each in of_kind("PodDisruptionBudget")]
    wanted += [each["spec"]["podSelector"]["matchLabels"] for each in of_kind("NetworkPolicy")]
    assert [each for each in wanted if not any(selects(each, some) for some in labels)] == []
    (service,), (monitor,) = of_kind("Service"), of_kind("ServiceMonitor")
    assert selects(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"] == "http"
    assert service["spec"]["ports"][0]["targetPort"] == container_of("web")["ports"][0]["name"]


def test_scaling_finds_its_target() -> None:
    """A deployment, and the credentials of the figures that it reads."""
    (scaled,), (authentication,) = of_kind("ScaledObject"), of_kind("TriggerAuthentication")
    assert ("Deployment", scaled["spec"]["scaleTargetRef"]["name"]) in objects()
    assert scaled["spec"]["triggers"][0]["authenticationRef"]["name"] == authentication["metadata"]["name"]
    assert scaled["spec"]["minReplicaCount"] >= 2
    assert scaled["spec"]["triggers"][0]["metadata"]["url"].endswith(".kitsweep:8080/api/v1/stats")


def test_settings_and_secrets_come_by_reference() -> None:
    """No secret is in a file; beat, which calls only Redis, has no private key."""
    (base,) = documents(FOLDER / "base" / "kustomization.yaml")
    generated = {each["name"] for each in base["configMapGenerator"]}
    assert generated == {"kitsweep-settings", "kitsweep-rules"}
    for component in ("worker", "beat", "web"):
        sources = container_of(component)["envFrom"]
        assert {"configMapRef": {"name": "kitsweep-settings"}} in sources
        assert ({"secretRef": {"name": "kitsweep"}} in sources) == (component != "beat")
    (variable,) = container_of("beat")["env"]
    assert variable["valueFrom"]["secretKeyRef"] == {"name": "kitsweep", "key": "KITSWEEP_REDIS_URL"}
    assert list(of_kind("Secret")) == []


def test_settings_are_known() -> None:
    """With an unknown one no pod starts."""
    lines = (FOLDER / "base" / "settings.env").read_text("utf-8").splitlines()
    names = {line.partition("=")[0] for line in lines if not line.startswith("#")}
    (example,) = documents(FOLDER / "example" / "kustomization.yaml")
    names |= {each.partition("=")[0] for each in example["configMapGenerator"][0]["literals"]}
    assert names <= {environment_name(field) for field in Settings.model_fields}


@pytest.mark.parametrize("folder", ["base", "example"])
def test_the_rules_files_are_valid(folder: str) -> None:
    """The base has no rules."""
    rules = RulesFile(FOLDER / folder / "cleanup.toml").rules().by_name
    assert bool(rules) == (folder == "example")


@pytest.mark.parametrize("component", ["worker", "beat", "web"])
def test_pods_have_no_privileges(component: str) -> None:
    """They write to /tmp alone, and have no credentials of the cluster."""
    pod, container = pods()[component]["spec"], container_of(component)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert f"--uid {pod['securityContext']['runAsUser']} " in (ROOT / "Dockerfile").read_text("utf-8")
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["/tmp"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("component", ["worker", "beat", "web"])
def test_service_links_are_off(component: str) -> None:
    """Kubernetes would set KITSWEEP_WEB_PORT=tcp://…, which is a setting of ours, and unknown ones beside it."""
    assert pods()[component]["spec"]["enableServiceLinks"] is False


def test_probes_do_not_restart_workers_while_redis_is_down() -> None:
    """Only the web server's process is probed for its life, without Redis."""
    assert [name for name in pods() if "livenessProbe" in container_of(name)] == ["web"]
    assert container_of("web")["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container_of("web")["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert all("readinessProbe" in container_of(name) for name in pods())


def test_pods_have_time_to_stop() -> None:
    """As in the compose file."""
    stop = Settings.model_fields["stop_seconds"].default
    grace = {name: pod["spec"]["terminationGracePeriodSeconds"] for name, pod in pods().items()}
    assert grace["worker"] > OUTLAST_SECONDS
    assert grace["web"] > stop + container_of("web")["lifecycle"]["preStop"]["sleep"]["seconds"]


def test_one_beat_and_two_of_the_others() -> None:
    """Each of these has a budget that lets one pod go at a time."""
    replicas = {each["metadata"]["name"]: each["spec"]["replicas"] for each in of_kind("Deployment")}
    assert replicas == {"kitsweep-worker": 2, "kitsweep-beat": 1, "kitsweep-web": 2}
    budgets = {each["metadata"]["name"]: each["spec"]["maxUnavailable"] for each in of_kind("PodDisruptionBudget")}
    assert budgets == {"kitsweep-worker": 1, "kitsweep-web": 1}
