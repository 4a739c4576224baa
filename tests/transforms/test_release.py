"""Disclosure control of one window, against the row-wise reference: threshold, clip, totals, noise, the whole domain."""

import json

import pytest
from apache_beam.typehints.decorators import TypeCheckError
from beam_free_job import TENANT, Keys, KeysOfTests, numbers_of, tally_of
from blake3 import blake3
from eager_run import encoded, run
from generated_logs import a_policy
from hypothesis import given
from hypothesis import strategies as st
from rowwise import Act, Window, domain, geometric
from rowwise import release as release_one_by_one

from schemas.counts import SealedTally, Tally, WindowKey
from schemas.events import PARTS
from transforms.release import ReleaseCounts, no_noise, release, window_noise

POLICY = a_policy()
NAMES = st.sampled_from([table.name for table in POLICY.tables])


def window_of(name):
    return Window(name, "2026-03-01", "2026-03-02" if POLICY.table(name).grain == "day" else "2026-04-01")


@st.composite
def standing_acts(draw, name):
    """Crowds of one or two namespaces in some cells: just enough for a threshold or not, with or without a heavy user."""
    table = POLICY.table(name)
    parts = table.parts or PARTS[table.kind]
    acts = []
    for cell in draw(st.lists(st.sampled_from(domain(table)), max_size=4)):
        for namespace in draw(st.sampled_from([("cards",), ("contacts",), ("cards", "contacts")])):
            people = draw(
                st.sampled_from(
                    [1, 3, table.k - 1, table.k, table.k + 1, 5 * table.k - 1, 5 * table.k, 5 * table.k + 3]
                )
            )
            part = draw(st.sampled_from(parts))
            for at in range(people):
                n = draw(st.integers(1, 12)) if at == 0 else 1
                acts.append(
                    Act(cell, (namespace, f"p{at}"), ("ils", f"e{len(acts)}"), 0, retract=False, part=part, n=n)
                )
    return acts


def some_noise(seed):
    """Any deterministic noise, of all that it may depend on."""

    def noise(cell, measure, true_value):
        return blake3(f"{seed}/{cell}/{measure}/{true_value}".encode()).digest()[0] % 25 - 12

    return noise


def released(acts, name, draw=no_noise):
    return release(tally_of(acts, POLICY.table(name), window_of(name)), policy=POLICY, tenant=TENANT, draw=draw)


@given(st.data(), NAMES, st.integers(0, 9))
def test_every_number_is_released_or_withheld_as_the_reference_says(data, name, seed):
    acts, noise = data.draw(standing_acts(name)), some_noise(seed)
    window = window_of(name)
    expected = release_one_by_one(
        acts, POLICY.table(name), window, lambda _, cell, measure, true: noise(cell, measure, true)
    )

    assert numbers_of(released(acts, name, noise)) == (window, expected)


@given(st.data(), NAMES)
def test_the_whole_declared_domain_is_released_each_measure_of_each_cell_once_and_in_order(data, name):
    table = POLICY.table(name)

    found = released(data.draw(standing_acts(name)), name).rows

    dimensions = [dimension.name for dimension in table.dimensions]
    declared = [
        (json.dumps(dict(zip(dimensions, cell, strict=True)), sort_keys=True, separators=(",", ":")), measure.name)
        for cell in domain(table)
        for measure in table.measures
    ]
    assert [(row.cell, row.measure) for row in found] == declared
    assert {row.status for row in found} <= {"published", "withheld", "structural_zero"}
    assert all((row.value is None) == (row.status == "withheld") for row in found)


def crowd(people, n=1, *, namespace="cards", cell=("B1",), part="checkout", first=0):
    return [
        Act(cell, (namespace, f"p{at}"), ("ils", f"{namespace}{cell}{part}{at}"), 0, retract=False, part=part, n=n)
        for at in range(first, first + people)
    ]


def number(acts, name, measure, cell=None, draw=no_noise):
    """One released number: of the first cell, or of the one whose JSON is given."""
    found = [row for row in released(acts, name, draw).rows if row.measure == measure and cell in (None, row.cell)]
    return found[0].value


def test_k_patrons_are_published_and_one_fewer_is_withheld():
    assert number(crowd(5), "totals", "patrons") == 5
    assert number(crowd(4, n=100), "totals", "patrons") is None


def test_patrons_of_two_namespaces_do_not_make_a_threshold_together():
    assert number(crowd(4) + crowd(4, namespace="contacts"), "totals", "patrons") is None
    assert number(crowd(5) + crowd(4, namespace="contacts"), "totals", "patrons") == 9


def test_of_one_patron_at_most_c_acts_count_in_a_cell():
    cell = (("B1", "book"), '{"branch":"B1","material":"book"}')
    acts = crowd(6, cell=cell[0]) + crowd(1, n=50, cell=cell[0], first=9)

    assert number(acts, "materials", "acts", cell[1]) == 6 + 3


@pytest.mark.parametrize(
    ("acts", "value"),
    [
        (crowd(24, n=2), None),
        (crowd(25, n=2), 50),
        (crowd(24) + crowd(1, namespace="contacts"), None),
        (crowd(27) + crowd(1, n=3, first=50), 30),
        (crowd(27) + crowd(1, n=4, first=50), None),
        (crowd(25), 30),
        (crowd(24) + crowd(40, part="renewal"), None),
    ],
    ids=["under 5k", "5k", "5k of two namespaces", "a tenth", "over a tenth", "half up", "other parts do not help"],
)
def test_a_total_needs_five_k_patrons_and_nobody_with_over_a_tenth_and_is_rounded_to_ten(acts, value):
    assert number(acts, "totals", "total_checkouts") == value


def test_a_total_gets_no_noise():
    assert number(crowd(30), "totals", "total_checkouts", draw=lambda *_: 7) == 30


def test_a_noisy_value_under_k_prints_as_k_and_any_other_as_it_is():
    assert [number(crowd(6), "totals", "patrons", draw=lambda *_, away=away: away) for away in (-6, -2, -1, 0, 3)] == [
        5,
        5,
        5,
        6,
        9,
    ]


def test_what_is_withheld_is_decided_on_the_true_number_not_on_the_noisy_one():
    assert number(crowd(4), "totals", "patrons", draw=lambda *_: 100) is None
    assert number(crowd(5), "totals", "patrons", draw=lambda *_: -100) == 5


def test_a_cell_that_the_policy_declares_impossible_is_zero_whatever_came_in():
    found = released(crowd(40, cell=("a", "print")), "shelves").rows

    assert [(json.loads(row.cell)["area"], row.status, row.value) for row in found] == [
        ("a", "structural_zero", 0), ("a", "withheld", None), ("b", "withheld", None), ("b", "structural_zero", 0),
    ]  # fmt: skip


def test_a_cell_without_acts_is_withheld_like_one_with_few():
    assert released([], "totals").rows == released(crowd(4), "totals").rows


@given(
    st.integers(0, 10**6),
    st.sampled_from(["2026-03-01", "2026-04-01"]),
    st.sampled_from(["acts", "patrons"]),
    st.text(max_size=9),
)
def test_noise_is_the_keyed_walk_through_the_distribution(true_value, start, measure, cell):
    key = Keys().noise("2026-03")
    window = Tally.empty(WindowKey("totals", start, "2026-05-01"))

    drawn = window_noise(POLICY, window, TENANT, key)(cell, measure, true_value)

    assert drawn == geometric(2, key, (TENANT, "totals", start, cell, measure, 0), true_value)
    assert drawn == window_noise(POLICY, window, TENANT, key)(cell, measure, true_value)


def test_a_number_of_every_tenant_table_window_cell_and_measure_has_noise_of_its_own():
    key = Keys().noise("2026-03")
    windows = [WindowKey(table, start, "x") for table in ("totals", "days") for start in ("2026-03-01", "2026-03-02")]

    series = {
        tuple(window_noise(POLICY, Tally.empty(window), tenant, key)(cell, measure, true) for true in range(60))
        for window in windows
        for tenant in ("library", "another")
        for cell in ("{}", '{"branch":"B1"}')
        for measure in ("acts", "patrons")
    }

    assert len(series) == 32


def test_the_charge_is_half_an_epsilon_for_each_noised_measure_and_nothing_under_plain():
    plain = a_policy(preset="plain")
    empty = {name: Tally.empty(WindowKey(*window_of(name))) for name in ("materials", "totals", "hours")}

    assert [release(empty[name], policy=POLICY, tenant=TENANT, draw=no_noise).charge for name in empty] == [
        1.0,
        0.5,
        0.5,
    ]
    assert release(empty["materials"], policy=plain, tenant=TENANT, draw=no_noise).charge == 0


def test_the_transform_releases_each_window_with_its_own_months_noise():
    tallies = [
        tally_of(crowd(20), POLICY.table("totals"), Window("totals", start, end))
        for start, end in (("2026-03-01", "2026-04-01"), ("2026-04-01", "2026-05-01"))
    ]

    made, _ = run(ReleaseCounts(POLICY, TENANT, KeysOfTests()), tallies, Tally)

    expected = [
        release(one, policy=POLICY, tenant=TENANT, draw=window_noise(POLICY, one, TENANT, Keys().noise(one.key.month)))
        for one in tallies
    ]
    assert sorted(map(encoded, made["main"])) == sorted(map(encoded, expected))


def test_a_window_without_acts_is_released_too_under_plain_without_any_key():
    plain = a_policy(preset="plain")
    empty = Tally.empty(WindowKey("materials", "2026-03-01", "2026-04-01"))

    made, _ = run(ReleaseCounts(plain, TENANT, None), [empty], Tally)

    assert [row.status for row in made["main"][0].rows] == ["withheld"] * 24
    assert run(ReleaseCounts(plain, TENANT, None), [], Tally)[0] == {"main": []}


def test_a_policy_that_wants_noise_is_not_built_without_keys():
    with pytest.raises(ValueError, match="noise"):
        ReleaseCounts(POLICY, TENANT, None)


def test_a_graph_that_releases_anything_but_merged_tallies_fails_while_it_is_built():
    with pytest.raises(TypeCheckError):
        run(ReleaseCounts(POLICY, TENANT, KeysOfTests()), [], SealedTally)
