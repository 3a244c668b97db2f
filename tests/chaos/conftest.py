"""Chaos tests need a real server; the long ones run only when they are asked for: `-m chaos_long` (make chaos)."""

from __future__ import annotations

import os

import pytest

from local.redis_server import ServerMissing, find_server


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "chaos_long: the long form of an attack, run by `make chaos`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long forms out unless the marker expression names them."""
    if "chaos_long" in (config.option.markexpr or ""):
        return
    left_out = [item for item in items if item.get_closest_marker("chaos_long")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True, scope="session")
def _a_server() -> None:
    """Skip where no server can be started; in CI that is an error."""
    try:
        find_server()
    except ServerMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
