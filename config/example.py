"""Prints `.env.example`: every setting with its description and default. `python -m config.example > .env.example`."""

import sys

from config.problems import written
from config.settings import Settings, environment_name

_HEAD = """\
# All settings of Kitsweep with their defaults. Copy this file to .env and uncomment the lines you change.
# The environment overrides .env. An empty value means the default. An unknown KITSWEEP_ name is an error.
"""


def example() -> str:
    """Return the text of `.env.example`."""
    entries = (
        f"# {field.description}\n# {environment_name(name)}={written(field.default)}\n"
        for name, field in Settings.model_fields.items()
    )
    return "\n".join([_HEAD, *entries])


if __name__ == "__main__":
    sys.stdout.write(example())
