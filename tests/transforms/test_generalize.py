"""Cells: each event lands in the tables, windows and cells that the row-wise reference says, or is counted why not."""

import datetime as dt

import numpy as np
import pytest
from apache_beam.typehints.decorators import TypeCheckError
from beam_free_job import Keys, decode_lines
from blake3 import blake3
from eager_run import encoded, run
from generated_logs import HOUR, NOW, SOURCES, ZONES, a_line, a_policy, logs
from hypothesis import given
from hypothesis import strategies as st
from rowwise import begins, cell_number
from rowwise import generalize as place
from rowwise_decode import Event, decode

from schemas.events import PARTS
from schemas.personal import PersonalBatch
from schemas.pseudonymized import PseudonymizedBatch
from transforms.generalize import GeneralizeEvents, generalize, space_number
from transforms.privacy.times import Zone, window_name
from transforms.pseudonymize import pseudonymize


def pseudonymized(lines, rules=SOURCES[0], policy=None):
    policy = policy or a_policy()
    zone = Zone(policy.time_zone)
    return [pseudonymize(batch, zone=zone, keys=Keys()) for batch in decode_lines(lines, rules, policy, NOW).batches]


def generalized(lines, rules=SOURCES[0], policy=None):
    """Cell rows by table, and the conservation counts, of lines of one kind."""
    policy = policy or a_policy()
    batch = pseudonymized(lines, rules, policy)[0]
    cells, counts = generalize(batch, policy=policy, zone=Zone(policy.time_zone))
    return {one.table: one for one in cells}, counts


def codes(cells, table, policy=None):
    """The published codes of a table's rows."""
    return [
        tuple((policy or a_policy()).table(table).codes_of(cell).values())[::-1] for cell in cells[table].cell.tolist()
    ]


@given(st.data(), st.sampled_from(ZONES), st.sampled_from(SOURCES))
def test_every_event_lands_where_the_reference_says_or_is_counted_as_inapplicable_or_late(data, time_zone, rules):
    policy = a_policy(time_zone)
    lines = [line for _, line in data.draw(logs(policy, most=8))]
    events = [decode(line, rules, policy, NOW) for line in lines]
    for batch in pseudonymized(lines, rules, policy):
        of_kind = [one for one in events if isinstance(one, Event) and one.kind == batch.kind]
        cells, counts = generalize(batch, policy=policy, zone=Zone(time_zone))

        by_table = {one.table: one for one in cells}
        for table in policy.tables_of(batch.kind):
            placed = [place(event, table, policy) for event in of_kind]
            rows = [at for at, one in enumerate(placed) if not isinstance(one, str)]
            assert counts[f"inapplicable/{table.name}"] == placed.count("inapplicable")
            assert counts[f"late/{table.name}"] == placed.count("late")
            assert counts[f"counted/{table.name}"] == len(rows)
            assert (table.name in by_table) == bool(rows)
            if rows:
                found = by_table[table.name]
                acts = [placed[at] for at in rows]
                assert [window_name(table.grain, number) for number in found.window.tolist()] == [
                    w.start for w, _ in acts
                ]
                assert found.cell.tolist() == [cell_number(act.cell, table) for _, act in acts]
                assert found.order.tolist() == [act.order for _, act in acts]
                assert found.retract.tolist() == [act.retract for _, act in acts]
                assert [PARTS[table.kind][part] for part in found.part.tolist()] == [act.part for _, act in acts]
                assert found.n.tolist() == [act.n for _, act in acts]
                assert set(found.space.tolist()) == {space_number(rules.namespace)}
                assert (found.token == batch.token[rows]).all()
                assert (found.act == batch.act[rows]).all()


def test_lateness_is_of_the_table_and_begins_with_the_millisecond_of_window_end_plus_horizon():
    end = begins(dt.date(2026, 4, 1), "America/New_York")
    lines = [
        a_line(occurred_at=end - HOUR, arrived_at=end + away, action="hold_placed")
        for days in (2, 9)
        for away in (days * 24 * HOUR - 1, days * 24 * HOUR)
    ]

    _, counts = generalized(lines)

    assert (counts["late/hours"], counts["counted/hours"]) == (3, 1)
    assert (counts["late/holds"], counts["counted/holds"]) == (1, 3)


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-08", 23), ("2026-11-01", 25), ("2026-06-01", 24)], ids=["spring", "autumn", "plain"]
)
def test_a_day_has_its_own_length_when_the_clocks_change(day, hours):
    start = begins(dt.date.fromisoformat(day), "America/New_York")

    cells, _ = generalized([a_line(occurred_at=start + away) for away in (-1, 0, hours * HOUR - 1, hours * HOUR)])

    names = [window_name("day", number) for number in cells["days"].window.tolist()]
    assert names[1:3] == [day, day]
    assert day not in (names[0], names[3])


def test_the_hour_that_comes_twice_is_one_part_of_the_day_and_the_one_that_is_skipped_is_none():
    autumn = begins(dt.date(2026, 11, 1), "America/New_York")
    spring = begins(dt.date(2026, 3, 8), "America/New_York")
    lines = [
        a_line(occurred_at=at)
        for at in (autumn + HOUR, autumn + 2 * HOUR, autumn + 6 * HOUR, autumn + 7 * HOUR, spring + 5 * HOUR)
    ]

    cells, _ = generalized(lines)

    assert codes(cells, "hours") == [("weekend", part) for part in ("night", "night", "night", "early", "early")]


@pytest.mark.parametrize(
    ("born", "band"),
    [
        ("2008-03-08", "18-24"), ("2008-03-09", "13-17"), ("2013-03-08", "13-17"), ("2013-03-09", "0-12"), ("2026-03-08", "0-12"),
        ("2026-03-09", "other"), ("1961-03-08", "65+"), ("1905-03-09", "65+"), ("1905-03-08", "other"), (None, "other"),
    ],
)  # fmt: skip
def test_age_is_in_completed_years_at_the_time_of_the_event(born, band):
    noon = begins(dt.date(2026, 3, 8), "America/New_York") + 12 * HOUR

    cells, _ = generalized([a_line(occurred_at=noon, birth_date=born)])

    assert codes(cells, "ages") == [(band, "adult")]


def test_an_event_without_branch_counts_only_where_no_branch_is_shown():
    cells, counts = generalized([a_line(branch=None)])

    assert {"totals", "materials", "flows", "shelves"}.isdisjoint(cells)
    assert {"days", "ages", "types", "zones"} <= set(cells)
    assert counts["inapplicable/totals"] == 1


def test_an_act_that_names_nobody_counts_nowhere():
    cells, counts = generalized([a_line(action="return", patron_ref=None), a_line(action="return")])

    assert len(cells["hours"]) == len(cells["day_types"]) == 1
    assert counts["inapplicable/hours"] == counts["inapplicable/day_types"] == 1


def test_a_grouping_shows_the_group_and_other_for_what_is_in_none():
    cells, _ = generalized([a_line(branch="B1", material=material) for material in ("book", "dvd", "odd", None)])

    assert codes(cells, "shelves") == [("a", "print"), ("a", "other"), ("a", "other"), ("a", "other")]


def test_a_part_that_a_table_does_not_name_does_not_count_there():
    cells, counts = generalized([a_line(action=action) for action in PARTS["circulation"]])

    assert [PARTS["circulation"][part] for part in cells["totals"].part.tolist()] == ["checkout", "renewal"]
    assert len(cells["hours"]) == len(PARTS["circulation"])
    assert codes(cells, "holds") == [("B1", "placed"), ("B1", "filled"), ("B1", "expired")]
    assert counts["inapplicable/totals"] == len(PARTS["circulation"]) - 2


def test_the_number_of_a_namespace_does_not_depend_on_configuration():
    assert space_number("cards") == int.from_bytes(blake3(b"cards").digest(length=4), "big")
    assert space_number("contacts") != space_number("cards")


def test_the_transform_gives_one_batch_a_table_and_counts_every_event_once_a_table():
    batches = pseudonymized([a_line(), a_line(branch=None), a_line(kind="patron")])

    made, counters = run(GeneralizeEvents(a_policy()), batches, PseudonymizedBatch)

    zone = Zone("America/New_York")
    expected = [cells for batch in batches for cells in generalize(batch, policy=a_policy(), zone=zone)[0]]
    assert sorted(map(encoded, made["main"])) == sorted(map(encoded, expected))
    assert [counters[f"{way}/totals"] for way in ("counted", "inapplicable", "late")] == [1, 1, 0]
    assert [counters[f"{way}/changes"] for way in ("counted", "inapplicable", "late")] == [1, 0, 0]


def test_nothing_in_nothing_out():
    made, counters = run(GeneralizeEvents(a_policy()), [], PseudonymizedBatch)

    assert made == {"main": []}
    assert not counters


def test_a_batch_without_rows_fills_no_table():
    decoded = decode_lines([a_line()], SOURCES[0], a_policy(), NOW).batches[0].take(np.empty(0, np.int64))
    empty = pseudonymize(decoded, zone=Zone("UTC"), keys=Keys())

    cells, counts = generalize(empty, policy=a_policy(), zone=Zone("UTC"))

    assert not cells
    assert not any(counts.values())


def test_a_graph_that_generalizes_events_with_identifiers_fails_while_it_is_built():
    with pytest.raises(TypeCheckError):
        run(GeneralizeEvents(a_policy()), [], PersonalBatch)
