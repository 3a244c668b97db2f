"""The command `up`: everything on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from local.up import Options, run_up

IS_OF_ALL_ACCOUNTS = True


def up(
    *,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, max=64, help="Number of worker processes.")] = 1,
    data_dir: Annotated[Path, typer.Option("--data", help="Folder for data and logs; created if needed.")] = Path(
        ".kitsweep"
    ),
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="Port of the embedded Redis; default: 6379, or the next free."),
    ] = None,
    pool: Annotated[str | None, typer.Option("--pool", help="Celery pool: threads (default) or prefork.")] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, help="Calls that one worker makes at once; default: 8.")
    ] = None,
    files: Annotated[int, typer.Option("--files", min=0, help="Number of files in the simulator.")] = 10_000,
) -> int:
    """Run everything on this machine until Ctrl-C.

    Starts Redis, workers, beat, and a simulator of ImageKit. It uses the Redis in KITSWEEP_REDIS_URL if one runs
    there. If IMAGEKIT_PRIVATE_KEY is set, it calls ImageKit instead of the simulator, and files are really deleted.
    Requests that still wait are kept for the next start.

    Examples:
      kitsweep up
      kitsweep up --workers 2 --data /var/lib/kitsweep
    """
    celery = [*(["-P", pool] if pool else []), *(["-c", str(concurrency)] if concurrency else [])]
    return run_up(Options(workers, data_dir, port, celery, files))
