"""Counts the messages that are not accepted yet."""

from __future__ import annotations

from redis import Redis

from config.queue_names import broker_lists, queue_names
from worker.store.keys import Keys


def count_unaccepted(redis: Redis, keys: Keys) -> int:
    """Count messages that wait in the broker, that an intake has taken, and that were forwarded to Celery."""
    names = queue_names(keys.account)
    lists = [each for name in (*names.intake, names.unusual) for each in broker_lists(name)]
    with redis.pipeline(transaction=False) as pipe:
        for key in lists:
            pipe.llen(key)
        pipe.zrange(keys("intake"), 0, -1)
        *waiting, tokens = pipe.execute()
        for token in tokens:
            pipe.llen(keys.taken(token))
        taken = pipe.execute()
    return int(sum(waiting) + sum(taken))
