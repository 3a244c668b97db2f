"""Text from outside, made fit to be shown: what it may not hold, how it is escaped, and how a bad value is quoted."""

from __future__ import annotations

MAX_QUOTED = 60
"""Characters that are shown of a value which breaks a rule."""

# What no text from outside may hold: controls, line ends, lone surrogates (which no UTF-8 can hold), and
# characters that a terminal does not show or that reorder what it shows. In ids blanks of any kind come on
# top.
HIDDEN = "\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff"


def escape(text: object) -> str:
    """Return a text with every character that is not printable written as an escape, line ends included."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(text))


def quote(value: object) -> str:
    """Show a value of unknown kind and size: escaped and cut short, with its length when it was cut."""
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
