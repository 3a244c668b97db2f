"""Exit statuses and small helpers of all commands. Imports nothing large.

=====  =====================================================================================================
0      all files are gone, or the command succeeded
1      incomplete: some files could not be deleted or were cancelled; an unknown request; a failed check
2      wrong use: bad options, bad input (with its line), bad settings; or Redis cannot be reached
130    interrupted (Ctrl-C)
=====  =====================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from cli.screen.output import say

if TYPE_CHECKING:
    from worker.reports.report import Report

DONE = 0
INCOMPLETE = 1
WRONG_USE = 2
INTERRUPTED = 130


class CommandError(Exception):
    """A command failed: the reason in one line, and the exit status."""

    def __init__(self, problem: str, status: int = WRONG_USE) -> None:
        super().__init__(problem)
        self.problem = problem
        self.status = status


def status_of(report: Report) -> int:
    """Return the exit status for a request's state; a request that is not final is not a failure."""
    return INCOMPLETE if report["state"] in {"FAILURE", "REVOKED"} else DONE


@contextmanager
def interruptible(hint: str | Callable[[], str]) -> Iterator[None]:
    """On Ctrl-C, write one line about what continues, and exit with status 130."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"\nkitsweep: {hint if isinstance(hint, str) else hint()}")
        raise typer.Exit(INTERRUPTED) from None
