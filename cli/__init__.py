"""The command line `kitsweep`, on top of `tasks.client` and `tasks.admin`.

`COMMANDS` names every command, where it is defined and what it does. A command's module is imported only when the
command is called, so that help and usage errors appear at once.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence

import typer
from typer.core import TyperGroup

from cli.common import WRONG_USE
from cli.lazy import LazyCommand
from cli.screen.output import say
from worker.text import escape

_HELP = """\
Delete files from ImageKit: enqueue their ids, follow the requests, control the account.

\b
Start with:
  kitsweep up                     run everything on this machine, to try it out
  kitsweep check                  check the settings and connections
  kitsweep delete ids.txt --wait  delete the files whose ids are listed
  kitsweep report ID              show how each file of a request ended

Exit status: 0 all files are gone, 1 incomplete (or an unknown request, or a failed check), 2 wrong use.
"""

COMMANDS = {
    "delete": ("cli.commands.delete:delete", "Enqueue file ids for deletion, and print the request id."),
    "status": ("cli.commands.request:status", "Show the state of a request."),
    "watch": ("cli.commands.request:watch", "Follow a request until it is done, and show its report."),
    "cancel": ("cli.commands.request:cancel", "Cancel the waiting files of a request."),
    "report": ("cli.commands.report:report", "Write how each file of a request ended."),
    "purges": ("cli.commands.purges:purges", "Show purges of cached copies, and the quota of the month."),
    "failures": (
        "cli.commands.failures:failures",
        "Show the files that could not be deleted, counted by error and source.",
    ),
    "retry": ("cli.commands.failures:retry", "Retry files that could not be deleted, after showing how many they are."),
    "find": ("cli.commands.find:find", "Find the requests that a file id is or was in, and what became of it there."),
    "verify": ("cli.commands.proof:verify", "Verify a certificate of erasure, without Redis."),
    "stats": ("cli.commands.account:stats", "Show what waits, what limits it, and which workers are alive."),
    "pause": ("cli.commands.account:pause", "Pause all calls to ImageKit until `resume`."),
    "resume": ("cli.commands.account:resume", "Resume calls to ImageKit after `pause`."),
    "audit": ("cli.commands.audit:audit", "Show the audit trail: who requested and decided what, and the result."),
    "check": ("cli.commands.check:check", "Check the settings, Redis and ImageKit."),
    "web": (
        "cli.commands.web:web",
        "Run the HTTP server: the drop-in for ImageKit's API, the REST API, and the dashboard at /dashboard.",
    ),
    "up": ("cli.commands.up:up", "Run everything on this machine until Ctrl-C."),
    "simulator": ("cli.commands.simulator:simulator", "Run a local ImageKit for experiments."),
}
CLEANUP = {
    "check": ("cli.commands.cleanup:check", "Check the rules file, and describe each rule."),
    "run": ("cli.commands.cleanup:run", "Run a rule now, under all its guards, or show what it would delete."),
    "list": ("cli.commands.cleanup:list_rules", "Show each rule: next run, last run, usual number of files."),
    "history": ("cli.commands.cleanup:history", "Show the last runs of a rule, newest first."),
    "held": ("cli.commands.cleanup:held", "Show the requests that wait for approval, or the file ids of one."),
    "approve": ("cli.commands.cleanup:approve", "Approve a request that waits for approval."),
    "reject": (
        "cli.commands.cleanup:reject",
        "Reject a request that waits for approval; none of its files is deleted.",
    ),
    "off": ("cli.commands.cleanup:off", "Switch all rules off: none starts, and active runs stop at their next page."),
    "on": ("cli.commands.cleanup:on", "Switch the rules on again; runs missed meanwhile are skipped."),
}
WEBHOOKS = {
    "list": ("cli.commands.webhooks:list_webhooks", "Show the webhooks that wait, have failed, or were delivered."),
    "send": ("cli.commands.webhooks:send", "Send a webhook again, or now instead of later."),
}
KEY = {
    "create": ("cli.commands.proof:create", "Create the key that signs certificates, and print its public part."),
}
TOKEN = {
    "create": ("cli.commands.token:create", "Create a token and print it; it is shown only once."),
    "list": ("cli.commands.token:list_tokens", "List the tokens, and how many calls came with wrong credentials."),
    "revoke": ("cli.commands.token:revoke", "Delete a token."),
}

# Typer bundles Click and exports only this error; its base class is that of all usage errors.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]


def _group(name: str, help_text: str, commands: Mapping[str, tuple[str, str]]) -> TyperGroup:
    return TyperGroup(
        name=name,
        help=help_text,
        commands={command: LazyCommand(command, *where) for command, where in commands.items()},
        context_settings={"help_option_names": ["-h", "--help"]},
        no_args_is_help=True,
    )


def _assembled() -> TyperGroup:
    group = _group("kitsweep", _HELP, COMMANDS)
    group.add_command(_group("cleanup", "Delete by rule, on a schedule, under guards.", CLEANUP))
    group.add_command(_group("webhooks", "Show the webhooks that report the end of requests, and resend.", WEBHOOKS))
    group.add_command(_group("key", "Manage the key that signs certificates of erasure.", KEY))
    group.add_command(_group("token", "Manage the credentials of HTTP callers.", TOKEN))
    return group


app = _assembled()


def main() -> None:
    """Run `kitsweep` as a program."""
    # Log lines are for workers; commands report errors themselves.
    logging.getLogger("kitsweep").addHandler(logging.NullHandler())
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status. Any exception is a bug."""
    try:
        status = app.main([_with_value(each) for each in arguments], prog_name="kitsweep", standalone_mode=False)
        sys.stdout.flush()
    except _USAGE_ERROR as error:
        return _wrong_use(error)
    except Exception as error:
        from cli.errors import explain  # noqa: PLC0415 - loads the clients' errors, which help does not need

        explained = explain(error)
        if explained is None:
            raise
        return explained
    return status if isinstance(status, int) else 0


def _with_value(argument: str) -> str:
    """Let an option that needs no value have one: `--purge` is `--purge=true`."""
    return "--purge=true" if argument == "--purge" else argument


def _wrong_use(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "kitsweep"
    # A group without a command has shown its help, and its error has no message.
    message = escape(getattr(error, "format_message", error.__str__)()).replace("Value error, ", "").strip(" .")
    if message:
        say(f"kitsweep: {message}; see `{command} --help`")
    return WRONG_USE
