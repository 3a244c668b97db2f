"""Workers, and settings with their secrets hidden."""

from __future__ import annotations

from starlette.responses import Response

from config.settings import Settings, environment_name
from config.shown import shown
from web.dashboard.visits import Visit, route


async def workers(visit: Visit) -> Response:
    """Show the workers that are alive, and what is between them and their callers."""
    return await visit.page("workers.html")


async def settings(visit: Visit) -> Response:
    """Show all settings of this server."""
    fields = Settings.model_fields
    meanings = {environment_name(name): field.description or "" for name, field in fields.items()}
    return await visit.page("settings.html", settings=list(shown(visit.context.settings)), meanings=meanings)


ROUTES = [route("/workers", workers), route("/settings", settings)]
