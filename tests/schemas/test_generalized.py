"""Cells of one table: cut into windows without losing or doubling a row."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.generalized import CellBatch


def a_batch(windows):
    numbers = np.arange(len(windows), dtype=np.int64)
    tags = np.zeros((len(windows), 16), np.uint8)
    window = np.array(windows, np.int32)
    return CellBatch("t", window, numbers, tags, tags, numbers, numbers < 0, numbers, numbers, numbers)


@given(st.lists(st.integers(-3, 700), max_size=30))
def test_every_row_is_in_its_own_window_once_and_windows_ascend(windows):
    batch = a_batch(windows)
    found = [(number, rows.tolist()) for number, rows in batch.by_window()]

    assert found == [
        (number, [row for row, window in enumerate(windows) if window == number]) for number in sorted(set(windows))
    ]


def test_a_batch_without_acts_has_no_window():
    assert list(a_batch([]).by_window()) == []


def test_a_batch_is_as_long_as_it_has_acts():
    assert [len(a_batch([5] * acts)) for acts in (0, 1, 4)] == [0, 1, 4]


def test_windows_ascend_and_rows_keep_their_order_in_them():
    found = [(number, rows.tolist()) for number, rows in a_batch([9, 7, 9, -1, 7]).by_window()]

    assert found == [(-1, [3]), (7, [1, 4]), (9, [0, 2])]


def test_cells_show_nothing_of_themselves():
    assert repr(a_batch([1, 2])) == str(a_batch([1, 2])) == "CellBatch(<redacted>)"
