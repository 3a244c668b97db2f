"""The environment of child processes.

Settings, secrets among them, are passed in the environment and never on a command line, which every user of the
machine can read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

SIMULATOR_KEY = "private_simulator"
"""The private key when only the simulator is called."""
_PROJECT = Path(__file__).resolve().parent.parent


def simulated(url: str) -> dict[str, str]:
    """Return the settings that send every call to the simulator at `url`, and the real key nowhere."""
    return {"IMAGEKIT_PRIVATE_KEY": SIMULATOR_KEY, "IMAGE_KIT_BASE_URL": url}


def environment_with(overrides: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with other settings; our modules can be imported from any working directory."""
    path = os.pathsep.join(filter(None, [str(_PROJECT), os.environ.get("PYTHONPATH")]))
    wanted = {**overrides, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    # Settings' names are case-insensitive: another spelling of the same name must not win.
    kept = {name: value for name, value in os.environ.items() if name.upper() not in wanted}
    return {**kept, **wanted}
