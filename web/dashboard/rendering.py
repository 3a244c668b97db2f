"""Renders templates, and sends pages with a policy that allows our own files alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import FileResponse, HTMLResponse, Response

from web.dashboard import charts, words

FOLDER = Path(__file__).parent
STATIC = {path.name: path for path in (FOLDER / "static").iterdir()}
STATIC |= {path.name: path for path in (FOLDER.parent / "assets" / "htmx.org").glob("*.js")}
"""The files that pages load, by name."""
VERSION = hashlib.sha256(b"".join(STATIC[name].read_bytes() for name in sorted(STATIC))).hexdigest()[:12]
"""Part of their URLs, so that browsers may keep them."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("web.dashboard"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    kept = ("number", "counted", "duration", "clock", "moment", "plain", "state", "short", "size")
    environment.filters.update({name: getattr(words, name) for name in kept})
    environment.globals.update(charts=charts, version=VERSION, seconds_between=words.seconds_between)
    return environment


_ENVIRONMENT = _environment()


def rendered(template: str, values: Mapping[str, Any]) -> str:
    """Return the text of a template."""
    return _ENVIRONMENT.get_template(template).render(values)


def page(template: str, status: int = 200, **values: Any) -> Response:
    """Return the response with a page."""
    return HTMLResponse(rendered(template, values), status, HEADERS)


def static_file(name: str) -> Response:
    """Return a file that pages load. Raises `KeyError` for any other."""
    headers = {**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}
    return FileResponse(STATIC[name], headers=headers)
