"""Refuses changes that another site asks a browser for, without tokens in forms.

The order is that of Go's `http.CrossOriginProtection` (net/http, csrf.go): a trusted origin, then Sec-Fetch-Site, which
browsers send over HTTPS and to localhost, then Origin against Host. A call with none of them is not from a browser.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def is_allowed(method: str, headers: Mapping[str, str], public_url: str | None) -> bool:
    """Whether a call may change anything: no other site caused it."""
    if method in SAFE_METHODS:
        return True
    origin = headers.get("origin", "")
    if public_url and origin and _host_of(origin) == _host_of(public_url):
        return urlsplit(origin).scheme == urlsplit(public_url).scheme
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    return not origin or _host_of(origin) == headers.get("host", "").lower()


def _host_of(url: str) -> str:
    return urlsplit(url).netloc.lower()
