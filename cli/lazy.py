"""Commands that are imported when they are called; until then, help lists them by name and summary."""

import inspect
import re
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from tasks.chosen import chosen_account


class LazyCommand(TyperCommand):
    """Stands for the command that a function `module:name` defines."""

    def __init__(self, name: str, where: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self.where = where

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Import the command, and let it read its arguments."""
        return self.load().make_context(info_name, args, parent, **extra)

    def load(self) -> Any:
        """Return the command itself, whose options are the function's parameters and whose help is its docstring.

        `CONTEXT` in its module, if there is one, holds settings of the command's context. A command has the option
        `--account` unless its module says `IS_OF_ALL_ACCOUNTS`.
        """
        module_name, _, function_name = self.where.partition(":")
        module = import_module(module_name)
        function: Callable[..., int | None] = getattr(module, function_name)
        app = typer.Typer(add_completion=False)
        app.command(self.name, help=help_of(function), context_settings=getattr(module, "CONTEXT", None))(function)
        command: Any = typer.main.get_command(app)
        if not getattr(module, "IS_OF_ALL_ACCOUNTS", False):
            command.params.append(_account_option())
        return command


def _choose(name: str | None) -> None:
    chosen_account.set(name)


def _with_account(
    account: Annotated[
        str | None,
        typer.Option(
            "--account",
            metavar="NAME",
            help="Account of KITSWEEP_ACCOUNTS_FILE; default: KITSWEEP_ACCOUNT.",
            callback=_choose,
        ),
    ] = None,
) -> None:
    """Declare the option with which a command names an account."""


def _account_option() -> Any:
    app = typer.Typer(add_completion=False)
    app.command()(_with_account)
    command: Any = typer.main.get_command(app)
    option = command.params[0]
    option.expose_value = False
    return option


def help_of(command: Callable[..., object]) -> str:
    """Return a command's docstring as Click wants it: each paragraph on one line, except for the examples."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    return "\n\n".join(
        f"\b\n{text}" if text.startswith("Examples:") else re.sub(r"\s+", " ", text) for text in paragraphs
    )
