"""A certificate as a page to print. The JSON lines are what is signed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """\
body{font:14px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}h1{font-size:1.5rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.2rem .6rem;border-bottom:1px solid #ccc}
td,code{overflow-wrap:anywhere}thead{display:table-header-group}"""
_COLUMNS = ("file_id", "outcome", "at", "purge", "error")


def page(request: Mapping[str, Any], seal: Mapping[str, Any], files: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a page of HTML in parts, in constant memory."""
    title = f"Erasure certificate of request {request['request_id']}"
    yield f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
    yield f"<style>{_STYLE}</style>\n"
    yield f"<h1>{escape(title)}</h1>\n<table>{''.join(_row(name, value) for name, value in request.items())}</table>\n"
    yield f"<h2>Totals</h2>\n<table>{''.join(_row(name, n) for name, n in seal['totals'].items())}</table>\n"
    yield "<h2>What it does not prove</h2>\n<ul>"
    yield "".join(f"<li>{escape(each)}</li>" for each in seal["does_not_prove"])
    yield f"</ul>\n<h2>Signature</h2>\n<p>SHA-256 <code>{escape(seal['sha256'])}</code><br>Ed25519 key "
    yield f"<code>{escape(seal['key'])}</code><br>Signature <code>{escape(seal['signature'])}</code></p>\n"
    yield "<p>Verify the JSON lines of this certificate, not this page: <code>kitsweep verify FILE</code></p>\n"
    yield f"<h2>Files</h2>\n<table><thead><tr>{''.join(f'<th>{name}</th>' for name in _COLUMNS)}</tr></thead>\n"
    for file in files:
        cells = (escape(str(file.get(name) or "")) for name in _COLUMNS)
        yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>\n"
    yield "</table></html>\n"


def _row(name: str, value: object) -> str:
    return f"<tr><th>{escape(name)}</th><td>{escape('' if value is None else str(value))}</td></tr>"
