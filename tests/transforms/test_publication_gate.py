"""The gate's steps: at which time and under which key things wait, what is closed, and that nothing waits in clear."""

import datetime as dt

import pytest
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp
from beam_free_job import Keys
from generated_logs import HOUR, SOURCES, a_line, a_policy
from rowwise import begins

from schemas.chunks import RawChunk
from schemas.counts import Tally, WindowKey
from schemas.gate import ACTS, GAP, TICK, Delivered, Passage
from transforms.gate import Gate, GateFeed
from transforms.publication_gate import _TakeChunks, _TellWindows, _WaitForPublication
from transforms.tally import open_tally
from transforms.windows import day_number

ZONE = "America/New_York"
POLICY = a_policy(ZONE)
TOTALS, HOLDS = POLICY.table("totals"), POLICY.table("holds")
MARCH = WindowKey("totals", "2026-03-01", "2026-04-01")
OPENS = begins(dt.date(2026, 4, 1), ZONE) + TOTALS.horizon + HOUR
SOURCE = SOURCES[0].name


class OpensKeys:
    def open(self):
        return Keys()


def gate(*tables, others=()):
    feeds = (GateFeed(SOURCE, ("circulation",), day_number("2026-03-01"), by_default=False), *others)
    return Gate(SOURCE, tables, feeds)


def waited(tally, clock=None):
    """What a tally becomes, with its key and its time in ms; `clock` in ms, None where the reader has none."""
    waiting = _WaitForPublication(POLICY, gate(TOTALS), SOURCE, OpensKeys())
    waiting.setup()
    at = MIN_TIMESTAMP if clock is None else Timestamp(micros=clock * 1000)
    return [(*one.value, one.timestamp.micros / 1000) for one in waiting.process(tally, at)]


def told(delivered, *tables, others=()):
    telling = _TellWindows(gate(*(tables or (TOTALS,)), others=others), ZONE)
    telling.setup()
    return [(*one.value, one.timestamp.micros / 1000) for one in telling.process(delivered)]


def delivered(**given):
    return Delivered(SOURCE, 1, 3, "digest", **given)


@pytest.mark.parametrize("clock", [None, OPENS - 1])
def test_a_tally_waits_sealed_until_the_last_moment_before_its_hour(clock):
    ((key, one, at),) = waited(Tally.empty(MARCH), clock=clock)

    assert (key, at) == ("totals/2026-03-01/2026-04-01", OPENS - 1)
    assert (one.what, one.key, one.source) == (ACTS, MARCH, SOURCE)
    assert len(open_tally(MARCH, one.blob, Keys().month("2026-03"))) == 0


@pytest.mark.parametrize("clock", [OPENS, OPENS + HOUR])
def test_a_tally_whose_window_is_out_is_closed(clock):
    assert waited(Tally.empty(MARCH), clock=clock) == []


def test_a_tally_of_another_gate_waits_there():
    assert waited(Tally.empty(WindowKey("holds", "2026-03-01", "2026-04-01"))) == []


def test_an_hour_that_passed_is_told_to_each_window_that_it_concerns():
    out = told(delivered(passage=Passage(OPENS - HOUR, OPENS)), TOTALS, HOLDS)

    assert [(key, one.what, one.reader, one.readers, one.policy, at) for key, one, at in out] == [
        ("totals/2026-03-01/2026-04-01", TICK, 1, 3, "digest", OPENS - 1)
    ]


def test_windows_before_one_of_several_sources_are_told_too_so_that_they_are_void():
    earlier = GateFeed("crm", ("circulation",), day_number("2026-01-01"), by_default=False)

    out = told(delivered(passage=Passage(None, OPENS)), others=(earlier,))

    assert [one.key.start for _, one, _ in out] == ["2026-01-01", "2026-02-01", "2026-03-01"]


def test_a_gap_is_told_once_to_each_window_however_many_there_are():
    lost = begins(dt.date(2026, 3, 10), ZONE)

    out = told(delivered(gaps=((lost, lost + 1), (lost, lost + HOUR))))

    assert [(one.what, one.key, at) for _, one, at in out] == [(GAP, MARCH, OPENS - 1)]


def test_a_delivery_without_news_tells_nothing():
    assert told(delivered(chunks=(RawChunk(SOURCE, b"", (a_line(),), "bus"),))) == []


def test_chunks_are_taken_out_of_deliveries():
    chunk, passage = RawChunk(SOURCE, b"", (a_line(),), "bus"), Passage(None, HOUR)

    assert list(_TakeChunks().process(delivered(chunks=(chunk, chunk), passage=passage))) == [chunk, chunk]
