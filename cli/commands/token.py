"""The commands `token create`, `token list` and `token revoke`: the credentials of HTTP callers."""

from typing import Annotated

import typer

from cli.options import AsJson
from cli.screen.output import moment, say, write, write_json
from tasks.chosen import chosen_account
from tasks.tokens import Scope, Token, TokenAdmin
from worker.errors import NotPossible
from worker.text import escape


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who gets the token; shown in the audit trail.")],
    scope: Annotated[list[Scope], typer.Option("--scope", "-s", help="What it allows; can be repeated.")],
    source: Annotated[
        str | None, typer.Option("--source", help="Source of the requests it creates; needed for the scope delete.")
    ] = None,
) -> None:
    """Create a token and print it. It is shown only once: Redis holds its hash.

    With --account it may use that account alone, else any.

    Examples:
      kitsweep token create catalog --scope delete --scope read --source catalog
      kitsweep token create on-call --scope read --scope approve --scope operate
    """
    account = chosen_account.get()
    write(TokenAdmin.of().create(name, scope, source, account=account))
    only = f" for the account {account} alone" if account else ""
    say(f"Token {name} was created{only}. Store it now: it cannot be shown again.")


def list_tokens(as_json: AsJson = False) -> None:
    """List the tokens, and how many calls came with wrong credentials.

    Examples:
      kitsweep token list
    """
    tokens = TokenAdmin.of()
    found = tokens.all()
    for token in found:
        if as_json:
            write_json({**token._asdict(), "scopes": sorted(token.scopes)})
        else:
            write(_line(token))
    if not as_json:
        say(f"{len(found)} tokens; {tokens.refusals()} calls with wrong credentials so far")


def revoke(name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the token.")]) -> None:
    """Delete a token. Web servers refuse it within five seconds.

    Examples:
      kitsweep token revoke catalog
    """
    if not TokenAdmin.of().revoke(name):
        raise NotPossible(f"there is no token {name}; see `kitsweep token list`")
    say(f"Token {name} was revoked.")


def _line(token: Token) -> str:
    source = f"source {token.source}" if token.source else ""
    account = f"account {token.account}" if token.account else ""
    parts = [token.name, " ".join(sorted(token.scopes)), source, account]
    parts += [moment(token.created_at), f"by {token.created_by}"]
    return escape("  ".join(part for part in parts if part))
