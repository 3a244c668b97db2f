"""What wakes the dispatcher: messages of the web servers."""

from __future__ import annotations

import time
from typing import Any

from redis import Redis

from worker.store.keys import ALL_WAIT


class Wakeups:
    """Messages of the web servers that they have enqueued requests for callers that wait."""

    def __init__(self, redis: Redis) -> None:
        self._channel: Any = redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._names: set[str] = set()

    def listen(self, names: set[str]) -> None:
        """Listen to these channels, and to no others."""
        if gone := self._names - names:
            self._channel.unsubscribe(*gone)
        if new := names - self._names:
            self._channel.subscribe(*new)
        self._names = names

    def wait(self, seconds: float, *, for_all: bool = False) -> dict[str, bool]:
        """Wait for some seconds, or for a message, or with `for_all` for one that no more requests are expected.

        Return the channels of the messages that came, and whether the last one on each says that.
        """
        heard: dict[str, bool] = {}
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if message := self._channel.get_message(timeout=left):
                heard[message["channel"]] = message["data"] == ALL_WAIT
                if message["data"] == ALL_WAIT or not for_all:
                    break
        return heard

    def drain(self) -> set[str]:
        """Return the channels of the messages that have come."""
        heard = set()
        while self._channel.subscribed and (message := self._channel.get_message()):
            heard.add(message["channel"])
        return heard
