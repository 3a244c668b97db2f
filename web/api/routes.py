"""All operations of the REST API."""

from __future__ import annotations

import json
import sys
from typing import Any

from fastapi import APIRouter, FastAPI

from web.api import account, cleanup, creating, document, failures, outcomes, requests
from web.api.shapes import ProblemDetails
from web.problems import CONTENT_TYPE

TITLE, VERSION = "Kitsweep", "1"
DESCRIPTION = """\
Deletes files from ImageKit for other services: enqueue file ids, and follow what becomes of each.

Every call needs a token (`kitsweep token create`), as `Authorization: Bearer ks_…`, or as the user name of Basic.
Errors are problems (RFC 9457). `503` has `Retry-After`, and nothing was changed.
"""
_PROBLEM: dict[str, Any] = {
    "description": "A problem: what is wrong, where, and what to do.",
    "content": {CONTENT_TYPE: {"schema": ProblemDetails.model_json_schema()}},
}


def add_routes(app: FastAPI) -> None:
    """Add the operations to an application."""
    api = APIRouter(prefix="/api/v1", responses={"4XX": _PROBLEM, "5XX": _PROBLEM})
    for part in (creating, requests, outcomes, failures, account, cleanup):
        api.include_router(part.router)
    app.include_router(api)
    app.include_router(document.router)


def described() -> str:
    """Return the OpenAPI document as it is committed."""
    app = FastAPI(title=TITLE, version=VERSION, description=DESCRIPTION)
    add_routes(app)
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(described())
