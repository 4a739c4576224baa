"""Batches of pseudonymized events: still personal data, so nothing is printed."""

import numpy as np

from schemas.pseudonymized import PseudonymizedBatch


def a_batch(events):
    numbers = np.zeros(events, np.int64)
    tags = np.zeros((events, 16), np.uint8)
    return PseudonymizedBatch(
        "ils", "cards", "circulation", tags, tags, numbers > 0, numbers, numbers, numbers > 0, numbers, numbers, {}
    )


def test_pseudonymized_events_are_counted_by_event_and_show_nothing_of_themselves():
    assert [len(a_batch(events)) for events in (0, 1, 3)] == [0, 1, 3]
    assert repr(a_batch(2)) == str(a_batch(2)) == "PseudonymizedBatch(<redacted>)"
