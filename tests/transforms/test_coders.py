"""Coders: every element that crosses an edge comes back equal, from bytes that are always the same and never a pickle."""

import pickletools

import apache_beam as beam
import msgspec
import numpy as np
import pytest
from apache_beam.coders.typecoders import registry
from beam_free_job import Keys, decode_lines, tallied
from eager_run import encoded
from generated_logs import NOW, SOURCES, a_line, a_policy, logs
from hypothesis import given
from hypothesis import strategies as st

from schemas.chunks import ArrivalSpan, RawChunk, Wrapping
from schemas.counts import ReleasedRow, ReleasedTable, SealedTally, Tally, WindowKey
from schemas.gate import ACTS, Delivered, Passage, VoidWindow, Waiting
from schemas.generalized import CellBatch
from schemas.personal import PersonalBatch
from schemas.pseudonymized import PseudonymizedBatch
from schemas.rejects import SealedReject
from transforms.coders import ColumnsCoder
from transforms.generalize import generalize
from transforms.privacy.times import Zone
from transforms.pseudonymize import pseudonymize
from transforms.release import no_noise, release

KEY = WindowKey("totals", "2026-03-01", "2026-04-01")
POLICY = a_policy()


def bus_chunk():
    """Messages of a bus: with keys, headers, and when they were read."""
    wrapping = Wrapping("t", (1, 2), (b"k", None), ((("h", None),), ()))
    return RawChunk("ils", b"", (b"{}", b"\xff"), "bus", wrapping=wrapping, read_at=2**41)


def one_of_each():
    """An element of every type of the flow, made by the verbs."""
    zone = Zone(POLICY.time_zone)
    line = a_line(branch="B1", birth_date="2000-02-29")
    personal = decode_lines([line, a_line(event_id="e2")], SOURCES[0], POLICY, NOW).batches[0]
    pseudonymized = pseudonymize(personal, zone=zone, keys=Keys())
    cells = generalize(pseudonymized, policy=POLICY, zone=zone)[0][0]
    tally = tallied([(SOURCES[0], line)], [], policy=POLICY, now=NOW)[0][0]
    return [
        RawChunk("ils", b"head", (b"\xff\x00", b""), "tsv", truncated=True),
        personal,
        pseudonymized,
        cells,
        tally,
        Tally.empty(KEY),
        SealedTally(KEY, 7, b"\x00blob"),
        release(Tally.empty(KEY), policy=POLICY, tenant="\u00fc", draw=no_noise),
        SealedReject("ils", "not_json", b"{}", b"\xff", bytes(16)),
        ArrivalSpan("ils", -1, 0, 2**62),
        KEY,
        Passage(None, 2**61),
        Delivered("ils", 1, 2, "digest", (bus_chunk(),), ((0, 1), (2, 3)), Passage(0, 3_600_000)),
        Waiting(KEY, ACTS, "ils", 1, rows=7, blob=b"\x00blob"),
        VoidWindow("lib", "circulation", KEY, "digest", "gap"),
        ReleasedRow('{"branch":"\u00e9"}', "acts", None, "withheld", "plain/k5"),
    ]


ELEMENTS = one_of_each()


def names(element):
    return type(element).__name__


@pytest.mark.parametrize("element", ELEMENTS, ids=names)
def test_an_element_comes_back_equal_and_encodes_to_the_same_bytes(element):
    coder = ColumnsCoder(names(element))

    back = coder.decode(coder.encode(element))

    assert type(back) is type(element)
    assert coder.encode(back) == coder.encode(element) == coder.encode(element)
    for name, value in vars(element).items():
        if isinstance(value, np.ndarray):
            assert getattr(back, name).dtype == value.dtype
            assert getattr(back, name).shape == value.shape
            assert getattr(back, name).tolist() == value.tolist()
        elif not isinstance(value, dict):
            assert getattr(back, name) == value


@given(st.data())
def test_tallies_of_any_log_come_back_equal(data):
    for tally in tallied(data.draw(logs(POLICY, most=5)), [], policy=POLICY, now=NOW)[0]:
        back = ColumnsCoder("Tally").decode(encoded(tally))

        assert encoded(back) == encoded(tally)
        assert back.to_bytes() == tally.to_bytes()


@pytest.mark.parametrize("element", ELEMENTS, ids=names)
def test_no_element_is_pickled(element):
    data = encoded(element)

    with pytest.raises((ValueError, IndexError, KeyError, EOFError)):
        list(pickletools.genops(data))


def test_bytes_do_not_depend_on_memory_layout_or_on_the_order_of_a_dictionary():
    batch = next(one for one in ELEMENTS if isinstance(one, PersonalBatch))
    doubled = np.repeat(batch.occurred_at, 2)
    other = PersonalBatch(**{**vars(batch), "occurred_at": doubled[::2], "codes": dict(reversed(batch.codes.items()))})

    assert not other.occurred_at.flags.c_contiguous
    assert encoded(other) == encoded(batch)


def test_bytes_of_another_version_are_refused():
    version, name, fields = msgspec.msgpack.decode(encoded(KEY))

    with pytest.raises(ValueError, match="drain the older release"):
        ColumnsCoder("WindowKey").decode(msgspec.msgpack.encode([version + 1, name, fields]))


@pytest.mark.parametrize("element", ELEMENTS, ids=names)
def test_beam_knows_the_coder_and_asks_for_sizes_without_encoding(element):
    coder = registry.get_coder(type(element))

    assert coder == ColumnsCoder(names(element))
    assert hash(coder) == hash(ColumnsCoder(names(element)))
    assert coder.to_type_hint() is type(element)
    assert coder.is_deterministic()
    assert 0 <= coder.estimate_size(element) <= 10 * len(coder.encode(element)) + 200


def test_coders_of_two_types_differ():
    types = (
        RawChunk,
        PersonalBatch,
        PseudonymizedBatch,
        CellBatch,
        Tally,
        SealedTally,
        ReleasedTable,
        SealedReject,
        ArrivalSpan,
    )

    assert len({registry.get_coder(one) for one in types}) == len(types)
    assert ColumnsCoder("Tally") != beam.coders.BytesCoder()
