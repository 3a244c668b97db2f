"""Project files: make targets, dependencies, `.env.example`, and the command that CI runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from config.example import example
from config.settings import Settings, environment_name, load_settings
from tests.unit.test_imports import imports_in

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ["setup", "run", "test", "lint", "types", "bench", "chaos", "help", "clean"]
PACKAGES = ["config", "worker", "tasks", "cli", "local", "simulator", "web"]


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {normal(name): version for name, version in pairs}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def make(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=folder, capture_output=True, text=True, check=False, env=environment
    )


def test_the_example_lists_every_setting() -> None:
    """`python -m config.example > .env.example` updates it."""
    written = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert written == example()
    assert all(f"\n# {environment_name(name)}=" in written for name in Settings.model_fields)


def test_the_example_holds_the_defaults(clean_environment: pytest.MonkeyPatch) -> None:
    """Uncommenting all lines changes nothing."""
    Path(".env").write_text(re.sub(r"(?m)^# (?=[A-Z_]+=)", "", example()), encoding="utf-8")
    assert "\nKITSWEEP_RATE_LIMITS=" in Path(".env").read_text(encoding="utf-8")
    assert load_settings() == Settings.model_construct(
        **{name: field.get_default() for name, field in Settings.model_fields.items()}
    )


@pytest.mark.parametrize("target", TARGETS)
def test_make_describes_the_target(target: str) -> None:
    """`make` without arguments lists the targets."""
    assert re.search(rf"(?m)^  make {target} +\S", make().stdout)


@pytest.mark.parametrize("target", ["setup", "run", "test", "lint", "types", "bench", "chaos"])
def test_each_target_installs_what_it_needs(target: str, tmp_path: Path) -> None:
    """It works on a new machine, and installs into the directory of the project."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    done = make("--dry-run", target, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"-m venv --clear \.venv\b", done.stdout)
    assert re.search(r"\.venv/bin/python -m pip install .*--constraint constraints\.txt", done.stdout)


def test_a_python_that_is_too_old_is_an_error(tmp_path: Path) -> None:
    """The message says how to fix it."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "python3.8"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    old.chmod(0o755)
    for arguments in (["PYTHON="], [f"PYTHON={old}"]):
        done = make("setup", *arguments, folder=tmp_path)
        assert done.returncode != 0
        assert "Kitsweep needs Python 3.11 or newer" in done.stderr
        assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], "-m local.demo"),
        (["FILE=my ids.txt"], '-m local.demo "my ids.txt"'),
        (["FILE=ids.txt", "YES=1"], '-m local.demo "ids.txt" --yes'),
    ],
)
def test_make_run_passes_its_file(arguments: list[str], command: str) -> None:
    """YES=1 skips the confirmation."""
    lines = [line.strip() for line in make("--dry-run", "run", *arguments).stdout.splitlines()]
    assert lines[-1] == f".venv/bin/python {command}"


def test_one_command_runs_every_check() -> None:
    """CI runs the commands of the README, and the tests on a second server."""
    script = ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in text
    assert re.findall(r"(?m)^make \w+", text) == ["make lint", "make types", "make test", "make test"]
    assert "export CI=true" in text
    assert re.search(r"(?m)^```(?:bash|sh|console)\nmake test\n```", (ROOT / "README.md").read_text(encoding="utf-8"))


def test_name_command_and_python_version(pyproject: dict[str, Any]) -> None:
    """Other services rely on them."""
    project = pyproject["project"]
    assert (project["name"], project["requires-python"]) == ("kitsweep", ">=3.11")
    module, _, function = project["scripts"]["kitsweep"].partition(":")
    assert callable(getattr(import_module(module), function))


def test_every_dependency_has_a_tested_version(pyproject: dict[str, Any], constraints: dict[str, str]) -> None:
    """The version is within the range of the dependency, so builds are reproducible."""
    project = pyproject["project"]
    needed = [
        *project["dependencies"],
        *(text for extra in project["optional-dependencies"].values() for text in extra),
    ]
    for requirement in map(Requirement, needed):
        version = constraints.get(normal(requirement.name))
        assert version, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} is not {version}"


def test_constraints_have_no_local_paths(constraints: dict[str, str]) -> None:
    """A local path would not install elsewhere."""
    assert constraints
    assert all(re.fullmatch(r"[0-9][0-9A-Za-z.!]*", version) for version in constraints.values())


def test_celery_and_kombu_have_the_same_minor_version(pyproject: dict[str, Any]) -> None:
    """Kitsweep depends on internals of this minor version."""
    ranges = {each.name: str(each.specifier) for each in map(Requirement, pyproject["project"]["dependencies"])}
    assert ranges["celery"] == ranges["kombu"] == "<5.8,>=5.7"


def test_lua_files_are_packaged(pyproject: dict[str, Any]) -> None:
    """An installed worker does not start without them."""
    patterns = pyproject["tool"]["setuptools"]["package-data"]
    others = [
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    ]
    assert any(path.suffix == ".lua" for path in others)
    for path in others:
        rest = path.relative_to(path.parts[0]).as_posix()
        assert any(fnmatch(rest, pattern) for pattern in patterns.get(path.parts[0], [])), path


def test_warnings_are_errors(pyproject: dict[str, Any]) -> None:
    """Unknown markers are errors too."""
    pytest_options = pyproject["tool"]["pytest"]["ini_options"]
    assert pytest_options["filterwarnings"][0] == "error"
    assert "--strict-markers" in pytest_options["addopts"]


def test_secrets_and_builds_are_not_committed() -> None:
    """`.env` contains the private key."""
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {".env", ".venv/", ".kitsweep/"} <= set(ignored)


def test_license_changelog_and_contributing_exist() -> None:
    """They have content."""
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert licence.startswith("MIT License")
    assert "Kitsweep contributors" in licence
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "make test" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_import_is_a_declared_dependency(pyproject: dict[str, Any]) -> None:
    """A package that is only installed by chance may be missing elsewhere. `make run` may use ImageKit's SDK."""
    declared = {normal(Requirement(text).name) for text in pyproject["project"]["dependencies"]}
    carried = packages_distributions()
    missing = {
        f"{path.relative_to(ROOT)} imports {name}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for name in {each.name.partition(".")[0] for each in imports_in(path.read_text(encoding="utf-8"))}
        if name not in {*sys.stdlib_module_names, *PACKAGES}
        and (path.name, name) != ("over_http.py", "imagekitio")
        and not declared & {normal(each) for each in carried.get(name, [])}
    }
    assert sorted(missing) == []
