"""Untrusted text: forbidden characters, escaping, and quoting of invalid values."""

from __future__ import annotations

MAX_QUOTED = 60
"""Maximum characters shown of an invalid value."""

# Forbidden in untrusted text: control characters, line ends, lone surrogates (not valid in UTF-8), and invisible
# or reordering characters. Ids must not contain whitespace either.
HIDDEN = "\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff"


def escape(text: object) -> str:
    """Escape every non-printable character, including line ends."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(text))


def quote(value: object) -> str:
    """Quote any value for a message: escaped and truncated, with its length if truncated."""
    if isinstance(value, str):
        shown = ascii(value[:MAX_QUOTED])
        if len(value) > MAX_QUOTED or len(shown) > MAX_QUOTED + 2:
            return f"{shown[:MAX_QUOTED]}… ({len(value)} characters)"
        return shown if value else "an empty text"
    if value is None or isinstance(value, bool | float):
        return str(value)
    if isinstance(value, int) and abs(value) < 10**18:
        return str(value)
    return f"a value of type {type(value).__name__}"


def quoted_for_search(text: str) -> str:
    """Quote a text for ImageKit's search language."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
