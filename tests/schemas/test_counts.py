"""Tallies: a set of acts as columns, and the bytes that the work store keeps of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.counts import ERASED, Tally, WindowKey

KEY = WindowKey("circ_branch_month", "2026-03-01", "2026-04-01")
COLUMNS = ("cell", "token", "act", "order", "retract", "part", "space", "n")
INT64 = st.integers(-(2**63), 2**63 - 1)
TAG = st.binary(min_size=16, max_size=16).map(list)
ROWS = st.lists(
    st.tuples(INT64, TAG, TAG, INT64, st.booleans(), st.integers(0, 255), st.integers(0, 2**32 - 1), INT64), max_size=6
)
# One row, written out by hand: version, number of rows, then column after column, little-endian.
DUMP = bytes.fromhex(
    "01 0100000000000000 fe00000000000000 000102030405060708090a0b0c0d0e0f 101112131415161718191a1b1c1d1e1f"
    "0040a7e09b010000 01 03 efbeadde feffffffffffffff"
)
ROW = (254, list(range(16)), list(range(16, 32)), 1_769_000_615_936, True, 3, 0xDEADBEEF, -2)


def tally_of(rows):
    types = (np.int64, np.uint8, np.uint8, np.int64, bool, np.uint8, np.uint32, np.int64)
    columns = list(zip(*rows, strict=True)) or [()] * len(types)
    shapes = [(-1, 16) if name in {"token", "act"} else (-1,) for name in COLUMNS]
    return Tally(
        KEY,
        *(np.array(column, kind).reshape(shape) for column, kind, shape in zip(columns, types, shapes, strict=True)),
    )


def rows_of(tally):
    return list(zip(*(getattr(tally, name).tolist() for name in COLUMNS), strict=True))


@given(ROWS)
def test_a_tally_comes_back_from_its_bytes_as_it_was(rows):
    tally = tally_of(rows)
    back = Tally.from_bytes(KEY, tally.to_bytes())

    assert back.key == KEY
    assert rows_of(back) == rows
    assert back.to_bytes() == tally.to_bytes()


def test_the_bytes_of_a_tally_are_those_of_version_1():
    assert tally_of([ROW]).to_bytes() == DUMP
    assert rows_of(Tally.from_bytes(KEY, DUMP)) == [ROW]


@pytest.mark.parametrize(
    "dump", [b"\x02" + DUMP[1:], b"\x00" + DUMP[1:], DUMP[:-1], DUMP + b"\0", DUMP[:1] + b"\x02" + DUMP[2:], DUMP[:9]]
)
def test_bytes_of_another_release_or_length_are_refused_never_misread(dump):
    with pytest.raises(ValueError, match="another release"):
        Tally.from_bytes(KEY, dump)


@given(ROWS, ROWS, ROWS)
def test_tallies_are_put_together_row_by_row_without_loss(one, other, third):
    together = Tally.concat([tally_of(one), tally_of(other), tally_of(third)])

    assert together.key == KEY
    assert rows_of(together) == one + other + third
    assert len(together) == len(one) + len(other) + len(third)


@given(ROWS.filter(len), st.data())
def test_taking_rows_takes_them_from_every_column(rows, data):
    wanted = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))

    assert rows_of(tally_of(rows).take(np.array(wanted, np.int64))) == [rows[at] for at in wanted]


def test_rows_are_taken_in_the_order_asked_for():
    other = (7, *ROW[1:])
    taken = tally_of([ROW, other]).take(np.array([1, 0, 1]))

    assert taken.key == KEY
    assert rows_of(taken) == [other, ROW, other]


def test_a_window_without_acts_has_a_tally_like_any_other():
    empty = Tally.empty(KEY)

    assert len(empty) == 0
    assert rows_of(Tally.concat([empty, tally_of([ROW]), empty])) == [ROW]
    assert rows_of(Tally.from_bytes(KEY, empty.to_bytes())) == []
    assert Tally.from_bytes(KEY, empty.to_bytes()).token.shape == (0, 16)


def test_rows_that_erase_are_no_acts():
    assert tally_of([ROW, (ERASED, *ROW[1:]), ROW]).n_acts == 2


def test_the_key_month_of_a_window_is_that_of_its_first_day():
    assert WindowKey("t", "2026-03-31", "2026-04-01").month == "2026-03"


def test_tallies_show_nothing_of_themselves():
    assert repr(tally_of([ROW])) == str(tally_of([ROW])) == "Tally(<redacted>)"
