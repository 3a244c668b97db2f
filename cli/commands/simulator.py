"""The command `simulator`: a local ImageKit."""

import typer

from cli.common import DONE, INCOMPLETE
from cli.screen.output import write
from simulator.main import main

CONTEXT = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}

IS_OF_ALL_ACCOUNTS = True


def simulator(context: typer.Context) -> int:
    """Run a local ImageKit for experiments.

    `kitsweep simulator --help` shows its options.

    Examples:
      kitsweep simulator --files 20000 --limit 5/1s
    """
    if {"-h", "--help"} & set(context.args):
        write("A local ImageKit, for example: kitsweep simulator --files 20000 --limit 5/1s\n")
    try:
        return main(context.args)
    except SystemExit as ended:
        if ended.code is None:
            return DONE
        return ended.code if isinstance(ended.code, int) else INCOMPLETE
