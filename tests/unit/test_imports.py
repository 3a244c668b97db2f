"""Rules of the layout: what each folder may import, and how long a module may be."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
LEAVES = {
    "worker.errors",
    "worker.identity",
    "worker.logs",
    "worker.states",
    "worker.text",
    "worker.times",
    "worker.tracing",
}
_STORE = {*LEAVES, "config", "worker.store"}
_CALLS = {*_STORE, "worker.limiter", "worker.imagekit"}
_PIPELINE = {*_CALLS, "worker.calls", "worker.queue"}
_WORKER = {
    *_PIPELINE,
    "worker.batch",
    "worker.cleanup",
    "worker.purge",
    "worker.intake",
    "worker.reports",
    "worker.webhooks",
    "worker.tokens",
    "worker.proof",
    "worker.account",
    "worker.metrics",
    "worker.accounts",
    "worker.runtime",
}
_CALLERS = {"config", "tasks", "worker.reports.report", "worker.reports.stats", *LEAVES}
ALLOWED = {
    "config": set(),
    **{leaf: {"config", *LEAVES} for leaf in LEAVES},
    "worker.store": _STORE,
    "worker.queue": _STORE,
    "worker.limiter": _STORE,
    "worker.imagekit": {"config", *LEAVES},
    "worker.calls": _CALLS,
    "worker.batch": _PIPELINE,
    "worker.cleanup.rules": {"config", "worker.queue", *LEAVES},
    "worker.cleanup.listing": {"config", "worker.queue", "worker.cleanup.rules", *LEAVES},
    "worker.cleanup.runs": {*_PIPELINE, "worker.cleanup"},
    "worker.purge": _PIPELINE,
    "worker.intake": {*_STORE, "worker.queue"},
    "worker.reports": {*_STORE, "worker.limiter", "worker.queue"},
    "worker.metrics": {*_STORE, "worker.limiter", "worker.reports.stats"},
    "worker.webhooks": {*_STORE, "worker.imagekit.transport"},
    "worker.tokens": _STORE,
    "worker.proof": LEAVES,
    "worker.account": _WORKER - {"worker.metrics", "worker.runtime", "worker.accounts"},
    "worker.accounts": {"config", *LEAVES},
    "worker.runtime": _WORKER,
    "worker.app": _WORKER,
    "tasks": {*_WORKER, "worker.app"},
    "web": _CALLERS,
    "local": {*_CALLERS, "simulator"},
    "cli": {*_CALLERS, "local", "simulator", "web"},
    "simulator": set(),
    "benchmarks": {*_WORKER, "worker.app", "tasks", "local", "simulator"},
}
"""Each folder, from the bottom to the top, and what it may import besides itself."""
PACKAGES = sorted({room.partition(".")[0] for room in ALLOWED})
FOREIGN = {
    "celery": {"worker.runtime", "worker.app", "tasks.deletions", "benchmarks"},
    "kombu": {"worker.runtime", "worker.app", "tasks.deletions", "benchmarks"},
    "requests": {"worker.imagekit.transport", "simulator.control.remote", "benchmarks"},
    "cryptography": {"worker.proof.keys"},
    "httpx2": {"web"},
    "fastapi": {"web"},
    "prometheus_client": {"web.metrics"},
    "uvicorn": {"web.server", "web.connection", "simulator.serving"},
}
"""Libraries that only some rooms may import."""
MOST_INNER_IMPORTS = 10
MOST_LINES = 300


class Import(NamedTuple):
    """One import of a module."""

    by: str
    name: str
    is_inner: bool
    """Whether it is inside a function."""

    def __str__(self) -> str:
        return f"{self.by} imports {self.name}"


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_in(source: str, by: str = "") -> Iterator[Import]:
    """Yield every import of a module; only those that type checkers alone see are left out."""
    yield from _imports_below(ast.parse(source), by, is_inner=False)


def _imports_below(node: ast.AST, by: str, *, is_inner: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(by, alias.name, is_inner) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.level == 0:
            yield from (Import(by, name, is_inner) for name in _named_by(child))
        elif not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from _imports_below(child, by, is_inner=is_inner or isinstance(child, ast.FunctionDef))


def _named_by(node: ast.ImportFrom) -> set[str]:
    """Return the modules that `from x import y` names: `x.y` where that is one of ours, else `x`."""
    base = str(node.module)
    both = {f"{base}.{alias.name}" for alias in node.names}
    return {name if _is_module(name) else base for name in both}


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def all_imports(package: str) -> list[Import]:
    return [found for path in modules(package) for found in imports_in(path.read_text("utf-8"), name_of(path))]


def is_inside(module: str, rooms: Iterable[str]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def rules_for(module: str) -> Iterable[str]:
    room = max((room for room in ALLOWED if is_inside(module, [room])), key=len, default="")
    return {room, *ALLOWED[room]} if room else set()


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_down(package: str) -> None:
    """A module imports only from folders that its own folder lists; `batch` and `cleanup` do not import each other."""
    ours = [each for each in all_imports(package) if is_inside(each.name, [*PACKAGES, "tests"])]
    assert [str(each) for each in ours if not is_inside(each.name, rules_for(each.by)) and each.name != "worker"] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_belongs_to_a_room(package: str) -> None:
    """Nothing escapes the rules by lying elsewhere; a package that only holds rooms has no code."""
    outside = [path for path in modules(package) if not rules_for(name_of(path))]
    assert [name_of(path) for path in outside if not _is_only_a_docstring(path)] == []


def _is_only_a_docstring(path: Path) -> bool:
    return all(isinstance(node, ast.Expr) for node in ast.parse(path.read_text("utf-8")).body)


@pytest.mark.parametrize("library", FOREIGN)
def test_a_library_is_imported_by_its_rooms_alone(library: str) -> None:
    """Celery stays in the runtime and the task modules, requests in the transport."""
    users = {each.by for package in PACKAGES for each in all_imports(package) if is_inside(each.name, [library])}
    assert {user for user in users if not is_inside(user, FOREIGN[library])} == set()


def test_there_is_no_import_cycle() -> None:
    """Neither at the top of modules nor through imports inside functions."""
    graph: dict[str, set[str]] = {}
    for package in PACKAGES:
        for each in all_imports(package):
            if _is_module(each.name):
                graph.setdefault(each.by, set()).add(each.name)
    assert cycles_of(graph) == []


def cycles_of(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return every group of modules that import each other."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle = error.args[1]
        rest = {name: set(found) for name, found in graph.items()}
        rest[cycle[1]] -= {cycle[0]}
        rest[cycle[0]] -= {cycle[1]}
        return [cycle, *cycles_of(rest)]
    return []


def test_the_search_reports_every_cycle() -> None:
    """One cycle does not hide another."""
    assert len(cycles_of({"a": ["b"], "b": ["a", "c"], "c": ["d"], "d": ["c"]})) == 2


def test_imports_inside_functions_are_few_and_have_reasons() -> None:
    """Each hides a dependency from the reader; ruff demands the reason beside it."""
    inner = [each for package in PACKAGES if package != "benchmarks" for each in all_imports(package) if each.is_inner]
    assert len(inner) <= MOST_INNER_IMPORTS, "\n".join(map(str, inner))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_seen(package: str) -> None:
    """The rule above is not kept by looking at nothing."""
    assert modules(package)


def test_the_walk_sees_every_form_of_import() -> None:
    """Imports inside functions and of submodules count; relative ones stay inside their package."""
    source = "import a.b, c\nfrom d.e import f\nfrom worker import app\nfrom . import g\ndef h():\n    import i\n"
    found = {each.name: each.is_inner for each in imports_in(source)}
    assert found == {"a.b": False, "c": False, "d.e": False, "worker.app": False, "i": True}


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_stay_short(package: str) -> None:
    """No module of ours has more than 300 lines."""
    long = {
        path.relative_to(ROOT).as_posix(): count
        for path in modules(package)
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert long == {}


@pytest.mark.parametrize("package", ["config", "worker", "tasks", "cli", "local", "simulator", "web"])
def test_no_package_hides_one_of_python(package: str) -> None:
    """Our top-level names are those of no standard module, and are found here."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).is_relative_to(ROOT)
