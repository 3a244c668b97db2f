"""Writes ``.env.example``: all settings with default and description. ``python -m config.example > .env.example``."""

from __future__ import annotations

import sys

from config.problems import written
from config.settings import Settings, environment_name

_HEAD = """\
# Every setting of Kitsweep, with its default. Copy this file to .env and uncomment what you change.
# The environment takes precedence over .env. An empty value means the default. Unknown KITSWEEP_ names are errors.
"""


def example() -> str:
    """Return the text of ``.env.example``."""
    entries = (
        f"# {field.description}\n# {environment_name(name)}={written(field.default)}\n"
        for name, field in Settings.model_fields.items()
    )
    return "\n".join([_HEAD, *entries])


if __name__ == "__main__":
    sys.stdout.write(example())
