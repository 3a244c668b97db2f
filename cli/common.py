"""What several commands share: their options, the client, and how errors become one line and an exit status.

=====  =====================================================================================================
0      all files are gone, or what was asked for is done
1      incomplete: some files could not be deleted or were cancelled; an unknown request; a failed check
2      wrong use: bad options, bad input (with its line), bad settings; or Redis cannot be reached
130    interrupted (Ctrl-C)
=====  =====================================================================================================

Everything heavy is imported where it is used, so that `--help` and usage errors come at once.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.screen.output import clean, words

if TYPE_CHECKING:
    from config.settings import Settings
    from tasks.client import Client
    from worker.reports.report import Report

DONE = 0
INCOMPLETE = 1
WRONG_USE = 2
INTERRUPTED = 130

RequestId = Annotated[str, typer.Argument(metavar="ID", help="Id of the request, as `delete` printed it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write one JSON object, for programs.")]


def add_command(app: typer.Typer, command: Callable[..., int | None], context: Mapping[str, Any] | None = None) -> None:
    """Add a command whose help is its docstring: paragraphs filled, the examples line by line."""
    app.command(help=help_of(command), context_settings=dict(context or {}))(command)


def help_of(command: Callable[..., object]) -> str:
    """Return a command's docstring in the form that Click lays out: a paragraph a line, but for the examples."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    return "\n\n".join(
        f"\b\n{text}" if text.startswith("Examples:") else re.sub(r"\s+", " ", text) for text in paragraphs
    )


class CommandError(Exception):
    """A command cannot go on: why, in one line, and the exit status."""

    def __init__(self, problem: str, status: int = WRONG_USE) -> None:
        super().__init__(problem)
        self.problem = problem
        self.status = status


def checked_id(request_id: str) -> str:
    """Return a request id that could be one. Raises `CommandError`."""
    from worker.queue.validation import check_request_id  # noqa: PLC0415

    try:
        return check_request_id(request_id)
    except ValueError as error:
        raise CommandError(f"ID: {error}") from None


def open_client(settings: Settings | None = None) -> Client:
    """Return a client made from the settings. Raises `ConfigError`; says nothing to Redis yet."""
    from config.settings import load_settings  # noqa: PLC0415

    # Before the client: the Celery app that it imports ends the process on bad settings, with another status.
    settings = settings or load_settings()
    from tasks.client import Client  # noqa: PLC0415

    return Client(settings)


def status_of(report: Report) -> int:
    """Return the exit status that a request's state stands for; one that is not final yet is no failure."""
    return INCOMPLETE if report["state"] in {"FAILURE", "REVOKED"} else DONE


@contextmanager
def interruptible(hint: str | Callable[[], str]) -> Iterator[None]:
    """On Ctrl-C, tell in one line what goes on without us, and end with status 130."""
    try:
        yield
    except KeyboardInterrupt:
        words(f"\nkitsweep: {hint if isinstance(hint, str) else hint()}")
        raise typer.Exit(INTERRUPTED) from None


def explain(error: Exception) -> int | None:
    """Write an expected error as one line and return the exit status; None for an error that is a bug."""
    told = _told(error)
    if told is None:
        return None
    lines, status = told
    for line in lines:
        words(f"kitsweep: {clean(line)}")
    return status


def _told(error: Exception) -> tuple[list[str], int] | None:
    from config.problems import ConfigError  # noqa: PLC0415
    from worker.errors import KitsweepError, UnknownRequest  # noqa: PLC0415

    if isinstance(error, CommandError):
        return [error.problem], error.status
    if isinstance(error, ConfigError):
        return list(error.problems), WRONG_USE
    if isinstance(error, KitsweepError):
        return str(error).splitlines(), INCOMPLETE if isinstance(error, UnknownRequest) else WRONG_USE
    if _is_from_redis(error):
        return [_redis_refusal(error)], WRONG_USE
    if isinstance(error, OSError) and error.strerror:
        return [f"{error.filename}: {error.strerror}" if error.filename else error.strerror], WRONG_USE
    return None


def _is_from_redis(error: Exception) -> bool:
    redis = sys.modules.get("redis")
    return redis is not None and isinstance(error, redis.exceptions.RedisError)


def _redis_refusal(error: Exception) -> str:
    from config.settings import load_settings  # noqa: PLC0415

    return f"Redis at {load_settings().redis_address} refused: {error}"
