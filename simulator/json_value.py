"""The type of values that are read from JSON or written to it."""

from typing import Any

# Any, so that fields can be read without a cast for each.
Json = Any
