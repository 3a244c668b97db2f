"""The application: what answers which path. Closed by default: only the health checks need no credential."""

from __future__ import annotations

from fastapi import FastAPI

from web import health, problems
from web.context import Context


def create_app(context: Context) -> FastAPI:
    """Assemble the application around its context."""
    app = FastAPI(title="Kitsweep", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.context = context
    problems.add_handlers(app)
    app.include_router(health.router)
    return app
