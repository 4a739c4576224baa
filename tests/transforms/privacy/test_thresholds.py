"""Which acts stand and what a cell counts, against plain Python."""

from collections import defaultdict

import numpy as np
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


def test_the_boundaries_of_publication():
    assert is_publishable(11, 11)
    assert not is_publishable(10, 11)
    assert is_total_publishable(55, 11, 1000, 100)
    assert not is_total_publishable(54, 11, 1000, 100)
    assert not is_total_publishable(55, 11, 1000, 101)
    assert [round_to_10(value) for value in (0, 4, 5, 14, 15)] == [0, 0, 10, 10, 20]
