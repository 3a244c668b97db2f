"""The command `web`: the HTTP server."""

from typing import Annotated, Any

import typer

from cli.common import DONE
from cli.screen.output import write
from config.settings import load_settings
from web.server import run
from worker.logs import configure_logging

IS_OF_ALL_ACCOUNTS = True


def web(
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on; default: KITSWEEP_WEB_HOST.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="Port to listen on; default: KITSWEEP_WEB_PORT.")
    ] = None,
) -> int:
    """Run the HTTP server: the drop-in for ImageKit's API, the REST API, and the dashboard at /dashboard.

    It runs until Ctrl-C. Services use it instead of api.imagekit.io: set IMAGE_KIT_BASE_URL to its URL. It needs
    Redis and at least one worker. Any number of servers can run side by side; none holds state.

    Examples:
      kitsweep web
      kitsweep web --host 0.0.0.0 --port 8080
    """
    given: dict[str, Any] = {"web_host": host, "web_port": port}
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    configure_logging(settings)
    run(settings, lambda url: write(f"kitsweep web: listening on {url}"))
    return DONE
