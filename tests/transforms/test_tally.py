"""Sets of acts: the latest row of an act stands, whatever the order, the duplicates and the grouping of what came in."""

import datetime as dt

import numpy as np
import pytest
from apache_beam.typehints.decorators import TypeCheckError
from beam_free_job import Keys, KeysOfTests, decode_lines, secret, tally_of
from cryptography.exceptions import InvalidTag
from eager_run import encoded, run
from generated_logs import HOUR, NOW, SOURCES, ZONES, a_line, a_policy, logs
from hypothesis import given
from hypothesis import strategies as st
from rowwise import Act, Window, begins, domain, standing
from rowwise import generalize as place
from rowwise_decode import Event, decode

from schemas.counts import SealedTally, Tally, WindowKey
from schemas.generalized import CellBatch
from schemas.pseudonymized import PseudonymizedBatch
from transforms.generalize import generalize
from transforms.privacy.times import Zone
from transforms.privacy.tokens import MonthKey
from transforms.pseudonymize import pseudonymize
from transforms.tally import SealTallies, TallyActs, merge, open_tally, seal_tally, tally, window_rekey

MARCH = Window("totals", "2026-03-01", "2026-04-01")


def rows(one):
    """The rows of a tally as plain values."""
    columns = (one.cell, one.order, one.retract, one.part, one.space, one.n)
    tags = ([row.tobytes() for row in one.token], [row.tobytes() for row in one.act])
    return list(zip(*(column.tolist() for column in columns), *tags, strict=True))


def cells_of(lines, policy=None, rules=SOURCES[0]):
    policy = policy or a_policy()
    zone = Zone(policy.time_zone)
    batches = [pseudonymize(batch, zone=zone, keys=Keys()) for batch in decode_lines(lines, rules, policy, NOW).batches]
    return [cells for batch in batches for cells in generalize(batch, policy=policy, zone=zone)[0]]


@given(st.data(), st.sampled_from(ZONES), st.sampled_from(SOURCES))
def test_each_window_gets_its_acts_under_its_own_keys(data, time_zone, rules):
    policy = a_policy(time_zone)
    lines = [line for _, line in data.draw(logs(policy, most=10))]
    events = [one for line in lines if isinstance(one := decode(line, rules, policy, NOW), Event)]
    expected = {}
    for table in policy.tables:
        for event in events:
            if event.kind == table.kind and not isinstance(placed := place(event, table, policy), str):
                expected.setdefault(placed[0], []).append(placed[1])

    found = {}
    for cells in cells_of(lines, policy, rules):
        for one in tally(cells, policy.table(cells.table).grain, window_rekey(Keys())):
            found[Window(one.key.table, one.key.start, one.key.end)] = rows(one)

    assert found == {key: rows(tally_of(acts, policy.table(key.table), key)) for key, acts in expected.items()}


ACTS = st.builds(
    Act,
    cell=st.sampled_from(domain(a_policy().table("totals"))),
    person=st.sampled_from([("cards", "1"), ("cards", "2"), ("contacts", "1")]),
    act=st.sampled_from([("ils", "e1"), ("ils", "e2"), ("bus", "e1"), ("ils", "e11")]),
    order=st.integers(0, 2),
    retract=st.booleans(),
    part=st.just("checkout"),
    n=st.integers(0, 3),
)


def in_march(acts):
    return tally_of(acts, a_policy().table("totals"), MARCH)


def stands(acts):
    return sorted(rows(in_march(standing(acts, a_policy().table("totals"), MARCH, secret))))


@given(st.lists(ACTS, max_size=25), st.lists(st.integers(0, 25), max_size=3))
def test_of_each_act_the_latest_row_stands_however_the_rows_are_split(acts, cuts):
    edges = [0, *sorted(cuts), len(acts)]
    tallies = [in_march(acts[begin:end]) for begin, end in zip(edges, edges[1:], strict=False)]

    assert sorted(rows(merge(tallies))) == stands(acts)


@given(st.lists(ACTS, max_size=20), st.randoms(use_true_random=False))
def test_neither_order_nor_duplicates_change_what_stands(acts, chance):
    once = sorted(rows(merge([in_march(acts)])))
    again = acts + acts[: len(acts) // 2]
    chance.shuffle(again)

    assert sorted(rows(merge([in_march(again)]))) == once
    assert not again or sorted(rows(merge([in_march([act]) for act in again]))) == once


@given(st.lists(ACTS, max_size=20))
def test_what_stands_is_one_row_an_act_and_stands_again(acts):
    once = merge([in_march(acts)])

    assert len({row.tobytes() for row in once.act}) == len(once)
    assert not once.retract.any()
    assert sorted(rows(merge([once, once]))) == sorted(rows(once))


def an_act(**changes):
    return Act(("B1",), ("cards", "1"), ("ils", "e1"), 5, retract=False, part="checkout", n=1)._replace(**changes)


@pytest.mark.parametrize(
    ("first", "second", "n"),
    [
        (an_act(order=5), an_act(order=6, retract=True), []),
        (an_act(order=6), an_act(order=5, retract=True), [1]),
        (an_act(order=5, n=7), an_act(order=5, retract=True), []),
        (an_act(order=5, n=7), an_act(order=6, n=2), [2]),
        (an_act(order=5, n=7), an_act(order=5, n=2), [7]),
        (an_act(n=7), an_act(act=("bus", "e1"), retract=True), [7]),
        (an_act(n=7), an_act(order=6, n=0), []),
        (an_act(cell=("B1",), n=7), an_act(order=6, cell=("B2",), n=3), [3]),
    ],
    ids=[
        "retracted",
        "retracted before",
        "tie: retract",
        "corrected",
        "tie: larger",
        "of another source",
        "to nothing",
        "moved",
    ],
)
def test_the_latest_order_stands_and_ties_fall_to_the_retraction_then_to_the_larger_value(first, second, n):
    assert merge([in_march([first, second])]).n.tolist() == n
    assert merge([in_march([second]), in_march([first])]).n.tolist() == n


def test_a_tie_between_two_parts_does_not_fall_to_a_position():
    checkout, renewal = an_act(part="checkout"), an_act(part="renewal")

    assert rows(merge([in_march([checkout, renewal])])) == rows(merge([in_march([renewal, checkout])]))


def test_one_persons_tokens_in_two_cells_windows_or_tables_have_nothing_in_common():
    start = begins(dt.date(2026, 3, 1), "America/New_York")
    lines = [
        a_line(occurred_at=start + HOUR, event_id="a"),
        a_line(occurred_at=start + 25 * HOUR, event_id="a", branch="B2"),
    ]

    tallies = [
        one
        for cells in cells_of(lines)
        for one in tally(cells, a_policy().table(cells.table).grain, window_rekey(Keys()))
    ]

    met = [(one.key, cell) for one in tallies for cell in one.cell.tolist()]
    assert len({row.tobytes() for one in tallies for row in one.token}) == len(set(met))
    assert len({row.tobytes() for one in tallies for row in one.act}) == len({one.key for one in tallies})


def test_a_merge_of_tallies_without_rows_is_one():
    key = WindowKey(*MARCH)

    assert len(merge([Tally.empty(key), Tally.empty(key)])) == 0
    assert rows(merge([Tally.empty(key), in_march([an_act()])])) == rows(in_march([an_act()]))


def test_a_sealed_tally_opens_with_its_own_months_key_and_window_only():
    one, month = in_march([an_act(), an_act(act=("ils", "e2"))]), Keys().month("2026-03")
    sealed = seal_tally(one, month)

    assert (sealed.key, sealed.rows) == (one.key, 2)
    assert rows(open_tally(one.key, sealed.blob, month)) == rows(one)
    for key, other in (
        (WindowKey("totals", "2026-03-01", "2026-03-02"), month),
        (WindowKey("days", "2026-03-01", "2026-04-01"), month),
        (one.key, MonthKey("2026-03", secret("2026-04"))),
    ):
        with pytest.raises(InvalidTag):
            open_tally(key, sealed.blob, other)


GRAINS = tuple((table.name, table.grain) for table in a_policy().tables)


def test_the_transforms_tally_and_seal_what_the_functions_do():
    start = begins(dt.date(2026, 3, 31), "America/New_York")
    batches = cells_of([a_line(occurred_at=start + away, event_id=f"e{away}") for away in (0, 23 * HOUR, 24 * HOUR)])
    expected = [one for cells in batches for one in tally(cells, dict(GRAINS)[cells.table], window_rekey(Keys()))]

    tallied, _ = run(TallyActs(GRAINS, KeysOfTests()), batches, CellBatch)
    sealed, _ = run(SealTallies(KeysOfTests()), [*expected, *expected], Tally, windowed=False)

    assert sorted(map(encoded, tallied["main"])) == sorted(map(encoded, expected))
    opened = {}
    for one in sealed["main"]:
        assert one.rows == len(open_tally(one.key, one.blob, Keys().month(one.key.month)))
        opened.setdefault(one.key, []).extend(rows(open_tally(one.key, one.blob, Keys().month(one.key.month))))
    assert {key: sorted(found) for key, found in opened.items()} == {one.key: sorted(rows(one) * 2) for one in expected}


def test_a_large_window_is_sealed_in_parts_that_hold_every_row_once(monkeypatch):
    monkeypatch.setattr("transforms.tally._ENOUGH", 3)
    tallies = [in_march([an_act(act=("ils", f"e{at}"))]) for at in range(8)]

    sealed, _ = run(SealTallies(KeysOfTests()), tallies, Tally, windowed=False)

    parts = [open_tally(one.key, one.blob, Keys().month("2026-03")) for one in sealed["main"]]
    assert max(map(len, parts)) <= 3
    assert sorted(row for one in parts for row in rows(one)) == sorted(row for one in tallies for row in rows(one))


def test_nothing_in_nothing_out():
    assert run(TallyActs(GRAINS, KeysOfTests()), [], CellBatch)[0] == {"main": []}
    assert run(SealTallies(KeysOfTests()), [], Tally, windowed=False)[0] == {"main": []}


def test_a_batch_without_rows_makes_no_tally():
    empty = np.empty(0, np.int64)
    tags = np.empty((0, 16), np.uint8)

    assert not list(
        tally(
            CellBatch("totals", empty, empty, tags, tags, empty, empty, empty, empty, empty),
            "month",
            window_rekey(Keys()),
        )
    )


@pytest.mark.parametrize(("verb", "element"), [
    (TallyActs(GRAINS, KeysOfTests()), PseudonymizedBatch),
    (SealTallies(KeysOfTests()), CellBatch),
    (SealTallies(KeysOfTests()), SealedTally),
])  # fmt: skip
def test_a_graph_that_tallies_or_seals_another_type_fails_while_it_is_built(verb, element):
    with pytest.raises(TypeCheckError):
        run(verb, [], element)
