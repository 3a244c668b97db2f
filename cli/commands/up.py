"""Commands that start something on this machine: `up`, `simulator`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.common import DONE, INCOMPLETE, add_command
from cli.screen.output import data

DATA_DIR = Path(".kitsweep")
PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_command(app, up)
    add_command(app, simulator, PASSED_ON)


def up(
    *,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, max=64, help="Worker processes.")] = 1,
    data_dir: Annotated[Path, typer.Option("--data", help="Folder for data and logs; made if need be.")] = DATA_DIR,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="Port of the embedded Redis; default: 6379, or the next free."),
    ] = None,
    pool: Annotated[str | None, typer.Option("--pool", help="Celery pool: threads (default) or prefork.")] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, help="Calls that one worker makes at once; default: 8.")
    ] = None,
    files: Annotated[int, typer.Option("--files", min=0, help="Files of the simulator.")] = 10_000,
) -> int:
    """Run everything on this machine until Ctrl-C.

    Redis, workers, beat and a simulator. A Redis of its own, unless KITSWEEP_REDIS_URL names one that runs. The
    simulator stands in for ImageKit, and nothing real is deleted, unless IMAGEKIT_PRIVATE_KEY is set. What
    waits is kept for the next start.

    Examples:
      kitsweep up
      kitsweep up --workers 2 --data /var/lib/kitsweep
    """
    from local.up import run_up  # noqa: PLC0415

    return run_up(workers, data_dir, port, pool=pool, concurrency=concurrency, files=files)


def simulator(context: typer.Context) -> int:
    """Run a local ImageKit to try things out on.

    `kitsweep simulator --help` shows its options.

    Examples:
      kitsweep simulator --files 20000 --limit 5/1s
    """
    from simulator.main import main  # noqa: PLC0415

    if {"-h", "--help"} & set(context.args):
        data("A local ImageKit, for example: kitsweep simulator --files 20000 --limit 5/1s\n")
    try:
        return main(context.args)
    except SystemExit as ended:
        if ended.code is None:
            return DONE
        return ended.code if isinstance(ended.code, int) else INCOMPLETE
