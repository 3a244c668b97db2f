"""What all unit tests need."""

from collections.abc import Iterator

import pytest
from kombu.transport import memory


@pytest.fixture(autouse=True)
def _empty_broker() -> Iterator[None]:
    """Drop messages that a test leaves in the broker in memory, which all tests of a process share."""
    yield
    memory.Channel.queues.clear()
