"""A name for values that come from JSON or go into it."""

from typing import Any

# Whatever JSON can carry. It is not spelled out, so that fields can be taken from it without a cast each.
Json = Any
