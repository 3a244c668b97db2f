"""W3C Trace Context (https://www.w3.org/TR/trace-context/, section 3.2): the trace that a request belongs to.

Kitsweep makes no spans. It passes the `traceparent` of a request on to its log lines, audit entry and webhook.
"""

from __future__ import annotations

import re

_FORM = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1


def traceparent_in(value: object) -> str | None:
    """Return the `traceparent` in a header, as version 00; None if it is missing or malformed."""
    found = _FORM.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= 512 else None
    if found is None or (found[1] == "00" and found[5]):
        return None
    return f"00-{found[2]}-{found[3]}-{int(found[4], 16) & _SAMPLED:02x}"


def is_sampled(traceparent: str | None) -> bool:
    """Whether the caller records this trace."""
    return traceparent is not None and traceparent.endswith("1")
