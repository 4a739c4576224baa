"""Deliveries of a bus are personal data that nothing prints; what waits at a gate holds nothing in clear."""

from schemas.chunks import RawChunk, Wrapping
from schemas.counts import WindowKey
from schemas.gate import ACTS, GAP, TICK, Delivered, Passage, VoidWindow, Waiting

KEY = WindowKey("t", "2026-03-01", "2026-04-01")


def test_a_delivery_shows_nothing_of_itself():
    chunk = RawChunk("ils", b"", (b"21234000000018",), "bus", wrapping=Wrapping("t", (1,)), read_at=2)
    delivered = Delivered("ils", 0, 1, "digest", (chunk,), ((0, 1),), Passage(None, 3_600_000))

    assert repr(delivered) == str(delivered) == f"{[delivered]}"[1:-1] == "Delivered(<redacted>)"


def test_a_delivery_may_hold_nothing_but_that_an_hour_passed():
    told = Delivered("ils", 1, 2, "digest", passage=Passage(0, 3_600_000))

    assert (told.chunks, told.gaps, told.passage) == ((), (), Passage(0, 3_600_000))


def test_what_waits_is_of_one_window_and_one_of_three_kinds():
    assert len({ACTS, TICK, GAP}) == 3
    assert Waiting(KEY, TICK, "ils", 1) == Waiting(KEY, TICK, "ils", 1, rows=0, blob=b"")
    assert VoidWindow("lib", "circulation", KEY, "digest", "gap").key is KEY
