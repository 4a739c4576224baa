"""Which acts stand and what a cell counts, against plain Python."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.privacy.thresholds import count_cells, is_publishable, is_total_publishable, round_to_10, standing

ROW = st.tuples(
    st.integers(0, 6), st.integers(0, 4), st.booleans(), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)
)


def tags(numbers):
    found = np.zeros((len(numbers), 16), np.uint8)
    found[:, 15] = numbers
    return found


def columns(rows):
    act, order, retract, n, cell, token = zip(*rows, strict=True) if rows else ((),) * 6
    return (
        tags(act), np.array(order, np.int64), np.array(retract, bool), np.array(n, np.int64), np.array(cell, np.int64),
        tags(token),
    )  # fmt: skip


@given(st.lists(ROW, max_size=40), st.randoms())
def test_of_one_act_the_latest_stands_in_any_order_and_with_duplicates(rows, chance):
    latest = {}
    for row in rows:
        act, order, retract, n, cell, token = row
        latest[act] = max(latest.get(act, (-1,)), (order, retract, n, cell, token))
    expected = sorted((act, *row) for act, row in latest.items() if not row[1] and row[2] > 0)
    shuffled = rows + rows[: len(rows) // 2]
    chance.shuffle(shuffled)

    kept = [shuffled[at] for at in standing(*columns(shuffled)).tolist()]

    assert kept == [(act, order, bool(retract), n, cell, token) for act, order, retract, n, cell, token in expected]


def wide(numbers):
    """Tags that differ in the first half too, as MACs do, and agree in the second."""
    found = tags(numbers)
    found[:, 0] = numbers
    found[:, 15] = 0
    return found


@given(st.lists(ROW, max_size=40))
def test_what_stands_does_not_depend_on_which_half_of_a_tag_differs(rows):
    act, *others = columns(rows)
    numbers = act[:, 15]

    assert standing(wide(numbers), *others).tolist() == standing(act, *others).tolist()


@given(st.lists(ROW, max_size=40))
def test_what_stands_still_stands_when_asked_again(rows):
    data = columns(rows)
    kept = standing(*data)

    assert standing(*(column[kept] for column in data)).tolist() == list(range(len(kept)))


@given(st.lists(ROW, max_size=40), st.integers(0, 40))
def test_tallies_may_be_merged_in_any_grouping_before_release(rows, cut):
    def values(found):
        return [found[at] for at in standing(*columns(found)).tolist()]

    assert values(rows) == values(rows[cut:] + rows[:cut])


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        ([(1, 5, False, 1, 0, 0), (1, 6, False, 1, 9, 9)], [1]),  # the later arrival
        ([(1, 5, False, 9, 0, 0), (1, 5, True, 1, 0, 0)], []),  # of one arrival the retraction
        ([(1, 5, True, 1, 0, 0), (1, 6, False, 1, 0, 0)], [1]),  # an act that comes back
        ([(1, 5, False, 3, 0, 0), (1, 5, False, 2, 9, 9)], [0]),  # of one arrival the larger value
        ([(1, 5, False, 2, 0, 9), (1, 5, False, 2, 1, 0)], [1]),  # then the larger cell
        ([(1, 5, False, 2, 1, 3), (1, 5, False, 2, 1, 2)], [0]),  # then the larger token
        ([(1, 5, False, 2, 0, 0), (1, 6, False, 0, 0, 0)], []),  # a correction to nothing
        ([(2, 5, False, 1, 0, 0), (1, 5, False, 1, 0, 0), (2, 4, True, 1, 0, 0)], [1, 0]),
        ([], []),
    ],
)
def test_which_row_of_an_act_stands(rows, kept):
    assert standing(*columns(rows)).tolist() == kept
    assert standing(wide(columns(rows)[0][:, 15]), *columns(rows)[1:]).tolist() == kept


def test_of_equal_rows_the_last_stands():
    assert standing(*columns([(1, 0, False, 1, 0, 0)] * 3)).tolist() == [2]


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 2), st.integers(1, 5)), max_size=60),
    st.integers(1, 10),
)
def test_cells_count_people_acts_and_the_largest_contributor(rows, clip):
    people = defaultdict(lambda: defaultdict(int))
    for cell, token, space, n in rows:
        people[cell][space, token] += n
    cells = np.array([row[0] for row in rows], np.int64)
    spaces = np.array([row[2] for row in rows], np.uint8)
    n = np.array([row[3] for row in rows], np.int64)

    counts = count_cells(cells, tags([row[1] for row in rows]), spaces, n, clip)

    assert counts.cell.tolist() == sorted(people)
    for at, cell in enumerate(sorted(people)):
        of = people[cell]
        assert counts.patrons[at] == len(of)
        assert counts.largest_space_patrons[at] == max(sum(space == s for space, _ in of) for s in range(3))
        assert counts.acts[at] == sum(min(number, clip) for number in of.values())
        assert counts.total[at] == sum(of.values())
        assert counts.largest_contributor[at] == max(of.values())


def test_a_cell_counts_each_namespace_apart_and_clips_each_patron():
    # cell, token, namespace, n: in cell 7 token 1 is two people, one in each namespace.
    rows = [(7, 1, 0, 4), (7, 1, 0, 9), (7, 2, 0, 1), (7, 1, 1, 2), (3, 5, 1, 12)]
    cell, token, space, n = zip(*rows, strict=True)

    counts = count_cells(np.array(cell), tags(token), np.array(space, np.uint32), np.array(n), 10)

    assert {name: column.tolist() for name, column in counts._asdict().items()} == {
        "cell": [3, 7],
        "patrons": [1, 3],
        "largest_space_patrons": [1, 2],
        "acts": [10, 13],
        "total": [12, 16],
        "largest_contributor": [12, 13],
    }


@pytest.mark.parametrize("as_tokens", [tags, wide])
def test_cells_are_counted_alike_when_no_token_is_met_in_two_of_them(as_tokens):
    rows = [(7, 1, 0, 4), (3, 5, 1, 12), (7, 2, 1, 1), (7, 1, 0, 9)]
    cell, token, space, n = zip(*rows, strict=True)

    counts = count_cells(np.array(cell), as_tokens(token), np.array(space, np.uint32), np.array(n), 10)

    assert {name: column.tolist() for name, column in counts._asdict().items()} == {
        "cell": [3, 7],
        "patrons": [1, 2],
        "largest_space_patrons": [1, 1],
        "acts": [10, 11],
        "total": [12, 14],
        "largest_contributor": [12, 13],
    }


def test_a_table_without_acts_has_no_counted_cell():
    none = np.empty(0, np.int64)

    counts = count_cells(none, tags([]), none, none, 10)

    assert [len(column) for column in counts] == [0] * 6


def test_the_boundaries_of_publication():
    assert is_publishable(11, 11)
    assert not is_publishable(10, 11)
    assert is_total_publishable(55, 11, 1000, 100)
    assert not is_total_publishable(54, 11, 1000, 100)
    assert not is_total_publishable(55, 11, 1000, 101)
    assert [round_to_10(value) for value in (0, 4, 5, 14, 15)] == [0, 0, 10, 10, 20]
