"""The commands `webhooks list` and `send`: what became of webhooks, and send one again."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.common import interruptible
from cli.options import AsJson
from cli.screen.output import moment, say, write, write_json
from tasks.webhooks import Webhook, WebhookAdmin
from worker.text import escape


def list_webhooks(
    failed: Annotated[bool, typer.Option("--failed", help="Only those that were given up.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the webhooks that wait, have failed, or were delivered.

    One line each, the newest of each state first; with --json one JSON object per line. Delivered and failed ones are
    kept as long as results.

    Examples:
      kitsweep webhooks list --failed
      kitsweep webhooks list --json | jq -r 'select(.status == 503) | .id'
    """
    with interruptible("stopped before the end of the list"):
        for webhook in WebhookAdmin().webhooks(failed_only=failed):
            if as_json:
                write_json(webhook)
            else:
                write(_line(webhook))


def send(
    webhook_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the webhook, as `webhooks list` shows it.")],
) -> None:
    """Send a webhook again, or now instead of later.

    Its schedule starts anew, and its id stays: receivers that remember ids can tell that they had it.

    Examples:
      kitsweep webhooks send 5d3c4f0e-6a1b-4b52-9c0e-1f2a3b4c5d6e:1795520000000
      kitsweep webhooks list --failed --json | jq -r .id | xargs -n 1 kitsweep webhooks send
    """
    WebhookAdmin().send(webhook_id)
    say(f"Webhook {escape(webhook_id)} will be sent.")


def _line(webhook: Webhook) -> str:
    tried = f"attempts {webhook['attempts']}"
    last = f"last {moment(webhook['last_at'])}" if webhook["last_at"] else ""
    due = f"next {moment(webhook['next_at'])}" if webhook["next_at"] else ""
    parts = [webhook["state"], webhook["id"], webhook["url"], tried, last, due, webhook["error"]]
    return escape("  ".join(part for part in parts if part))
