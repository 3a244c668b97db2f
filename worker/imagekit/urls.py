"""The URLs under which the CDN serves files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote


def endpoint_in(item: object) -> str | None:
    """Return the URL endpoint that an object of the list API shows: its URL without the path of the file.

    None if it shows none: without a URL or path, or if the URL is written otherwise.
    """
    if not isinstance(item, Mapping):
        return None
    url, path = item.get("url"), item.get("filePath")
    if not isinstance(url, str) or not isinstance(path, str) or not path.startswith("/"):
        return None
    plain = without_query(url)
    endpoint = plain.removesuffix(quote(path))
    return endpoint if plain != endpoint and "://" in endpoint else None


def without_query(url: str) -> str:
    """Return a URL without its query and fragment."""
    return re.split(r"[?#]", url, maxsplit=1)[0]
