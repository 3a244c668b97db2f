"""The form of the names that become part of Redis keys: accounts, sources and cleanup rules."""

from __future__ import annotations

import re

CLEANUP = "cleanup:"
"""Prefix of the sources and request ids of cleanup rules, reserved for them."""
NAME_RULE = "must be 1 to 64 of the characters A-Z a-z 0-9 . _ -"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def is_name(text: str) -> bool:
    """Return whether a text is a valid name."""
    return _NAME.fullmatch(text) is not None
