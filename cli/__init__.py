"""The command line `kitsweep`: every command of the contract, on `tasks.client`.

Each module holds the commands of one kind. A further group of commands is a Typer app of its own, added at the end
of `_assembled` with one line: ``app.add_typer(cleanup.app, name="cleanup")``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from cli.commands import account as steering
from cli.commands import audit as auditing
from cli.commands import check as checking
from cli.commands import cleanup
from cli.commands import delete as deleting
from cli.commands import follow as following
from cli.commands import report as reporting
from cli.commands import up as starting
from cli.common import WRONG_USE, explain
from cli.screen.output import clean, words

_HELP = """\
Delete files from ImageKit: hand over their ids, follow what becomes of them, steer the work.

\b
Begin with:
  kitsweep up                     run everything here, to try it out
  kitsweep check                  check the settings and connections
  kitsweep delete ids.txt --wait  delete the files whose ids it lists
  kitsweep report ID              how each file of a request ended

Exit status: 0 all gone, 1 incomplete (or an unknown request, or a failed check), 2 wrong use.
"""

# Typer carries a Click of its own and shows only this error of it; its base is that of all errors of usage.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]


def _assembled() -> typer.Typer:
    app = typer.Typer(
        help=_HELP,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for module in (deleting, following, reporting, steering, auditing, checking, starting):
        module.add_to(app)
    app.add_typer(cleanup.app, name="cleanup")
    return app


app = _assembled()


def main() -> None:
    """Run `kitsweep` as a program."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status. Raises only what is a bug."""
    try:
        if not arguments:
            app(["--help"], prog_name="kitsweep", standalone_mode=False)
            return WRONG_USE
        status = app(list(arguments), prog_name="kitsweep", standalone_mode=False)
        sys.stdout.flush()
    except _USAGE_ERROR as error:
        return _wrong_use(error)
    except Exception as error:
        told = explain(error)
        if told is None:
            raise
        return told
    return status if isinstance(status, int) else 0


def _wrong_use(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "kitsweep"
    # A group of commands without a command has shown its help, and says nothing more.
    message = clean(getattr(error, "format_message", error.__str__)()).replace("Value error, ", "").strip(" .")
    if message:
        words(f"kitsweep: {message}; see `{command} --help`")
    return WRONG_USE
