"""The REST API's description: the OpenAPI document, and Swagger UI from our own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response

from tasks.tokens import Scope
from web.permissions import require
from web.problems import Problem

ASSETS = Path(__file__).parents[1] / "assets"
VENDORED: dict[str, Any] = json.loads((ASSETS / "vendored.json").read_text("utf-8"))
"""Package → version, licence, and the SHA-256 of each file in the folder of its name."""
SWAGGER = "swagger-ui-dist"
# Swagger UI sets style attributes, and shows images that it holds itself.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Kitsweep REST API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
"""
_START = """\
SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});
"""
router = APIRouter(include_in_schema=False, dependencies=[Depends(require(*Scope))])


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """Return the OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def swagger() -> Response:
    """Return the page of Swagger UI."""
    return HTMLResponse(_PAGE, headers=HEADERS)


@router.get("/docs/start.js")
async def start() -> Response:
    """Return the script that starts Swagger UI: the policy forbids scripts inside the page."""
    return Response(_START, media_type="text/javascript", headers=HEADERS)


@router.get("/docs/{name}")
async def asset(name: Annotated[str, "one of Swagger UI's files"]) -> Response:
    """Return a file of Swagger UI."""
    if name not in VENDORED[SWAGGER]["files"]:
        raise Problem(404, "There is no such file.")
    return FileResponse(ASSETS / SWAGGER / name, headers=HEADERS)
