"""Names of the Celery queues of one account, and of the Redis lists that kombu keeps their messages in."""

from __future__ import annotations

from typing import NamedTuple

_PRIORITY_STEPS = (3, 6, 9)
_PRIORITY_SEPARATOR = "\x06\x16"


class QueueNames(NamedTuple):
    """Names of the Celery queues of one account."""

    default: str
    """Where a producer without our routes sends; the intake takes from it."""
    requests: str
    """``kitsweep.delete_files``, for producers with our routes; the intake takes from it too."""
    unusual: str
    """Messages that the intake forwards to Celery."""

    @property
    def intake(self) -> list[str]:
        """Queues that the intake takes messages from, each once."""
        return list(dict.fromkeys((self.requests, self.default)))


def queue_names(account: str) -> QueueNames:
    """Name the queues of ``account``.

    Celery's default queue belongs to the account "default". All queues of any other account contain its name, so that
    accounts can share a server and no worker takes a message for another account's files.
    """
    suffix = "" if account == "default" else f".{account}"
    names = [f"kitsweep.{name}{suffix}" for name in ("requests", "unusual")]
    return QueueNames(names[0] if suffix else "celery", *names)


def broker_lists(queue: str) -> list[str]:
    """Return the Redis lists of a queue in the order in which kombu 5.7 serves them: priority 0 first."""
    return [queue, *(f"{queue}{_PRIORITY_SEPARATOR}{step}" for step in _PRIORITY_STEPS)]


def priority_step(priority: object) -> int:
    """Return the index in `broker_lists` of the list for messages of this priority, as kombu 5.7 rounds it."""
    try:
        return min(max(int(str(priority)), 0), 9) // 3
    except ValueError:
        return 0
