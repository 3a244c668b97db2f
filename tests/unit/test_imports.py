"""The house's rules of building: who may import whom, and how long a module may be."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = {
    "config": {"config"},
    "worker": {"worker", "config"},
    "tasks": {"tasks", "worker", "config"},
    "cli": {"cli", "local", "tasks", "worker", "config", "simulator"},
    "local": {"local", "tasks", "worker", "config", "simulator"},
    "simulator": {"simulator"},
    "benchmarks": {"benchmarks", "local", "tasks", "worker", "config", "simulator"},
}
OURS = {*ALLOWED, "tests"}
LEAVES = {
    "worker.errors",
    "worker.states",
    "worker.text",
    "worker.times",
    "worker.reports.report",
    "worker.reports.stats",
}
"""What `cli` and `local` may import of `worker`; everything else they reach through `tasks`."""
MOST_LINES = 300


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported_modules(source: str) -> Iterator[str]:
    """Names the module of every import, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module)


def imported_packages(source: str) -> Iterator[str]:
    """Names the top-level package of every import."""
    return (name.partition(".")[0] for name in imported_modules(source))


def forbidden_imports(package: str) -> Iterator[str]:
    for path in modules(package):
        where = path.relative_to(ROOT).as_posix()
        found = set(imported_packages(path.read_text(encoding="utf-8"))) & OURS
        yield from (f"{where} imports {name}" for name in sorted(found - ALLOWED[package]))


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_downwards(package: str) -> None:
    """config imports nothing of ours, worker config, tasks both; the simulator knows nothing of any of them."""
    assert list(forbidden_imports(package)) == []


@pytest.mark.parametrize("package", ["cli", "local"])
def test_worker_is_reached_through_tasks(package: str) -> None:
    """The command line and the local run import of `worker` only modules without behaviour of their own."""
    found = {
        f"{path.relative_to(ROOT).as_posix()} imports {name}"
        for path in modules(package)
        for name in imported_modules(path.read_text(encoding="utf-8"))
        if name.partition(".")[0] == "worker" and name not in LEAVES
    }
    assert found == set()


@pytest.mark.parametrize("package", ALLOWED)
def test_every_package_is_seen(package: str) -> None:
    """The rule above is not kept by looking at nothing."""
    assert modules(package)


def test_the_walk_sees_every_form_of_import() -> None:
    """Imports inside functions and of submodules count; relative ones stay inside their package."""
    source = "import a.b, c\nfrom d.e import f\nfrom . import g\ndef h():\n    import i\n"
    assert set(imported_packages(source)) == {"a", "c", "d", "i"}


@pytest.mark.parametrize("package", ALLOWED)
def test_modules_stay_short(package: str) -> None:
    """No module of ours has more than 300 lines."""
    long = {
        path.relative_to(ROOT).as_posix(): count
        for path in modules(package)
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert long == {}


@pytest.mark.parametrize("package", ["config", "worker", "tasks", "cli", "local", "simulator"])
def test_no_package_hides_one_of_python(package: str) -> None:
    """Our top-level names are those of no standard module, and are found here."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).is_relative_to(ROOT)
