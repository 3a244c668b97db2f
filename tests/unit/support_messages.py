"""Messages as other services send them: made by Celery and kombu themselves, and read back raw from the broker."""

from __future__ import annotations

import json
from typing import Any

from celery import Celery
from redis import ConnectionPool, Redis

from worker.queue.operations import Queue

TASK = "kitsweep.delete_files"
BROKER = "memory://"


class Sender:
    """A service that knows Celery alone, on a broker in memory: what it sends can be looked at."""

    def __init__(self) -> None:
        self.app = Celery("catalog", broker=BROKER, backend="cache+memory://", set_as_current=False)

    def send(self, *args: Any, name: str = TASK, task_id: str = "r1", **options: Any) -> bytes:
        """Send a task; return the raw message, as the Redis transport would store it."""
        kwargs = options.pop("kwargs", {})
        with self.app.connection_for_write() as connection:
            channel: Any = connection.default_channel
            self.app.send_task(name, args, kwargs, task_id=task_id, connection=connection, **options)
            return json.dumps(channel._get("celery")).encode()


def undecoded(client: Redis) -> Redis:
    """Return a client of the same server that answers in bytes."""
    pool = client.connection_pool
    options = {**pool.connection_kwargs, "decode_responses": False}
    return Redis(connection_pool=ConnectionPool(connection_class=pool.connection_class, **options))


def put(queue: Queue, *messages: bytes | str, broker_list: str = "celery") -> None:
    """Put messages into the broker, the first of them first."""
    for message in messages:
        queue.redis.lpush(broker_list, message)
