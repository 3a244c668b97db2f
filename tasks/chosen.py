"""The account that the callers in a context mean when they name none. Imports nothing large."""

from contextvars import ContextVar

chosen_account: ContextVar[str | None] = ContextVar("chosen_account", default=None)
"""Its name; None: that of the environment."""
