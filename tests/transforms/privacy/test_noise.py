"""The noise table: exact mass, symmetry, bounded ratio; the draw: a pure function with the right spread."""

import json
from collections import Counter
from decimal import Decimal, localcontext
from pathlib import Path

import pytest

from transforms.privacy.noise import Geometric

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "noise.json").read_text())
KEY = bytes(range(1, 33))
TOP = 1 << 128


def masses(scale):
    edges = [0, *Geometric(scale).thresholds, TOP]
    return [after - before for before, after in zip(edges, edges[1:], strict=False)]


@pytest.mark.parametrize("table", GOLDEN["tables"], ids=lambda table: f"scale {table['scale']}")
def test_the_golden_vectors_of_the_table_hold(table):
    noise = Geometric(table["scale"])
    found = {z: f"{noise.thresholds[int(z) + noise.reach]:032x}" for z in table["cumulative"]}

    assert len(noise.thresholds) + 1 == 2 * noise.reach + 1 == table["outcomes"]
    assert found == table["cumulative"]


@pytest.mark.parametrize("vector", GOLDEN["draws"])
def test_the_golden_vectors_of_draws_hold(vector):
    noise = Geometric(vector["scale"])

    assert noise.draw(bytes.fromhex(GOLDEN["key"]), vector["coordinates"], vector["true_value"]) == vector["noise"]


@pytest.mark.parametrize("scale", [1, 2, 5])
def test_the_table_has_all_the_mass_and_is_symmetric(scale):
    found = masses(scale)

    assert sum(found) == TOP
    assert found == found[::-1]
    assert all(mass > 0 for mass in found)


@pytest.mark.parametrize("scale", [1, 2, 5])
def test_every_entry_is_the_distribution_function_rounded_to_one_part_in_2_to_the_128(scale):
    noise = Geometric(scale)
    with localcontext() as context:
        context.prec = 120
        ratio = (-Decimal(1) / scale).exp()
        exact = [(-Decimal(z) / scale).exp() / (1 + ratio) * TOP for z in range(noise.reach, 0, -1)]

    below = noise.thresholds[: noise.reach]
    assert max(abs(entry - value) for entry, value in zip(below, exact, strict=True)) <= Decimal("0.5")


def test_neighbouring_probabilities_differ_by_at_most_e_to_the_half():
    found = masses(2)
    middle = len(found) // 2
    inner = found[middle - 80 : middle + 81]
    limit = 1.6487212707001282 * (1 + 2**-40)

    for one, other in zip(inner, inner[1:], strict=False):
        assert max(one, other) / min(one, other) <= limit


def test_what_lies_outside_the_bounded_ratio_is_rarer_than_one_in_2_to_the_50():
    found = masses(2)
    middle = len(found) // 2
    inner = sum(found[middle - 80 : middle + 81])

    assert (TOP - inner) * 2**50 <= TOP


def test_the_draw_is_pure_and_depends_on_every_coordinate_and_the_true_value():
    noise = Geometric(2)
    where = ("lib", "table", "2026-03-01", "{}", "acts", 0)
    draws = [noise.draw(KEY, where, value) for value in range(200)]

    assert draws == [noise.draw(KEY, where, value) for value in range(200)]
    assert draws != [noise.draw(KEY[::-1], where, value) for value in range(200)]
    for at in range(len(where)):
        other = (*where[:at], "x", *where[at + 1 :])
        assert draws != [noise.draw(KEY, other, value) for value in range(200)]


def test_coordinates_that_read_alike_when_joined_draw_apart():
    noise = Geometric(2)
    pairs = [(noise.draw(KEY, ("ab", "c", at), 1), noise.draw(KEY, ("a", "bc", at), 1)) for at in range(200)]

    # Independent draws coincide with a chance of 0.13.
    assert sum(one == other for one, other in pairs) < 60


def test_draws_have_the_spread_of_the_distribution():
    noise = Geometric(2)
    draws = [noise.draw(KEY, ("x", at), 50) for at in range(40_000)]
    mean = sum(map(abs, draws)) / len(draws)

    assert 1.86 < mean < 1.98  # theory 1.919
    assert abs(sum(draws)) / len(draws) < 0.06
    assert Counter(draws).most_common(1)[0][0] == 0


def test_draws_fall_as_often_as_the_table_says():
    noise, amount, widest = Geometric(2), 40_000, 10
    seen = Counter(
        max(-widest, min(widest, noise.draw(KEY, ("lib", at), at % 97))) for at in range(amount)
    )  # tails put together
    found = masses(2)
    middle = len(found) // 2
    inner = {z: found[middle + z] / TOP for z in range(1 - widest, widest)}
    tail = (1 - sum(inner.values())) / 2
    expected = {-widest: tail, **inner, widest: tail}
    chi_square = sum((seen[z] - amount * chance) ** 2 / (amount * chance) for z, chance in expected.items())

    assert chi_square < 45.3  # 20 degrees of freedom: one key in a thousand is above


@pytest.mark.parametrize("scale", [0, -1])
def test_a_scale_below_one_is_refused(scale):
    with pytest.raises(ValueError, match="scale"):
        Geometric(scale)
