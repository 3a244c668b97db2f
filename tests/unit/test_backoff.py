"""How long to wait before trying again."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from worker.times import BACKOFF_MOST_MS, backoff_ms


@pytest.mark.parametrize(
    ("failures", "delay_ms"),
    [(0, 1000), (1, 1000), (2, 2000), (3, 4000), (6, 32_000), (7, 60_000), (8, 60_000), (10**9, 60_000)],
)
def test_the_delay_doubles_up_to_a_minute(failures: int, delay_ms: int) -> None:
    """Without jitter the delay doubles from a second, and never goes beyond a minute."""
    assert backoff_ms(failures, jitter=0) == delay_ms


@given(st.integers(-5, 10**6))
def test_jitter_takes_off_a_quarter_at_most(failures: int) -> None:
    """What failed together does not come back together, but none comes back far too early or late."""
    whole = backoff_ms(failures, jitter=0)
    assert whole * 3 // 4 <= backoff_ms(failures) <= whole <= BACKOFF_MOST_MS
    assert backoff_ms(failures, jitter=1) == whole * 3 // 4
