"""Options and arguments that several commands share; their values are checked before the command runs."""

from collections.abc import Callable
from typing import Annotated

import typer

from tasks.client import check_request_id


def checked(check: Callable[[str], object]) -> Callable[[str | None], str | None]:
    """Return a callback of an option or argument, for a check that raises `ValueError`."""

    def callback(value: str | None) -> str | None:
        try:
            if value is not None:
                check(value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        return value

    return callback


AsJson = Annotated[bool, typer.Option("--json", help="Write one JSON object, for programs.")]
RequestId = Annotated[
    str,
    typer.Argument(metavar="ID", help="Id of the request, as `delete` prints it.", callback=checked(check_request_id)),
]
RuleName = Annotated[str, typer.Argument(metavar="RULE", help="Name of the rule in the rules file.")]
