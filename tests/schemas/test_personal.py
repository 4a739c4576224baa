"""Batches of decoded events: every column follows its rows, and nothing is printed."""

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.personal import ABSENT, UNKNOWN_BIRTH, PersonalBatch

OF_THE_BATCH = {"source", "namespace", "kind"}
BATCH = PersonalBatch(
    source="ils",
    namespace="cards",
    kind="circulation",
    patron_ids=("21234000000018", None, "21234000000026", "21234000000018"),
    act_ids=("loan-0", "loan-1", "loan-2", "loan-3"),
    occurred_at=np.array([10, 11, 12, 13], np.int64),
    arrived_at=np.array([20, 21, 22, 23], np.int64),
    retract=np.array([False, True, False, False]),
    part=np.array([0, 1, 2, 3], np.int8),
    birth_day=np.array([UNKNOWN_BIRTH, 1, 2, 3], np.int32),
    late_everywhere=np.array([True, False, False, True]),
    codes={"branch": np.array([5, 6, 7, ABSENT], np.int32), "material": np.array([0, 1, 2, 3], np.int32)},
)


def row_of(batch, row):
    """One event as plain values, whatever columns the batch has."""
    columns = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    shared = {name: columns.pop(name) for name in OF_THE_BATCH}
    codes = {name: int(column[row]) for name, column in columns.pop("codes").items()}
    return shared, codes, {name: column[row] for name, column in columns.items()}


@given(st.lists(st.integers(0, len(BATCH) - 1), max_size=8))
def test_taking_rows_takes_them_from_every_column_in_the_order_asked_for(rows):
    taken = BATCH.take(np.array(rows, np.int64))

    assert len(taken) == len(rows)
    assert [row_of(taken, at) for at in range(len(rows))] == [row_of(BATCH, row) for row in rows]
    assert {name: column.dtype for name, column in vars(taken).items() if isinstance(column, np.ndarray)} == {
        name: column.dtype for name, column in vars(BATCH).items() if isinstance(column, np.ndarray)
    }


def test_taking_rows_leaves_the_batch_as_it_was():
    before = [row_of(BATCH, row) for row in range(len(BATCH))]
    taken = BATCH.take(np.array([3, 1]))

    assert [row_of(BATCH, row) for row in range(len(BATCH))] == before
    assert [row_of(taken, row) for row in range(2)] == [before[3], before[1]]


@given(st.lists(st.lists(st.integers(0, len(BATCH) - 1), max_size=4), min_size=1, max_size=4))
def test_batches_are_put_together_event_by_event_without_loss(parts):
    together = PersonalBatch.concat([BATCH.take(np.array(rows, np.int64)) for rows in parts])

    assert len(together) == sum(map(len, parts))
    assert [row_of(together, at) for at in range(len(together))] == [
        row_of(BATCH, row) for rows in parts for row in rows
    ]


def test_one_batch_put_together_is_that_batch_and_two_are_both():
    halves = [BATCH.take(np.array([0, 1])), BATCH.take(np.array([2, 3]))]
    together = PersonalBatch.concat(halves)

    assert PersonalBatch.concat([BATCH]) is BATCH
    assert [row_of(together, at) for at in range(4)] == [row_of(BATCH, at) for at in range(4)]
    assert {name: column.dtype for name, column in together.codes.items()} == {
        name: column.dtype for name, column in BATCH.codes.items()
    }


def test_personal_events_show_nothing_of_themselves():
    assert repr(BATCH) == str(BATCH) == "PersonalBatch(<redacted>)"
