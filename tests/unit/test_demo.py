"""What `make run` compares."""

from local.tally import figures


def test_a_call_over_the_limit_counts_no_ids() -> None:
    """The simulator refuses it before it reads the ids, so both sides must leave them out."""
    ours, theirs = figures({}, [(100, 200), (1, 429)]), figures({}, [(100, 200), (0, 429)])
    assert ours == theirs
    assert (ours["ids per call"], ours["answered 429"]) == ("100.0", "1")
