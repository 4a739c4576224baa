"""The noise table: exact mass, symmetry, bounded ratio; the draw: a pure function with the right spread."""

from collections import Counter

import pytest

from transforms.privacy.noise import Geometric

KEY = bytes(range(1, 33))
TOP = 1 << 128


def masses(scale):
    edges = [0, *Geometric(scale).thresholds, TOP]
    return [after - before for before, after in zip(edges, edges[1:], strict=False)]


@pytest.mark.parametrize("scale", [1, 2, 5])
def test_the_table_has_all_the_mass_and_is_symmetric(scale):
    found = masses(scale)

    assert sum(found) == TOP
    assert found == found[::-1]
    assert all(mass > 0 for mass in found)


def test_neighbouring_probabilities_differ_by_at_most_e_to_the_half():
    found = masses(2)
    middle = len(found) // 2
    inner = found[middle - 80 : middle + 81]
    limit = 1.6487212707001282 * (1 + 2**-40)

    for one, other in zip(inner, inner[1:], strict=False):
        assert max(one, other) / min(one, other) <= limit


def test_the_draw_is_pure_and_depends_on_every_coordinate_and_the_true_value():
    noise = Geometric(2)
    where = ("lib", "table", "2026-03-01", "{}", "acts", 0)
    draws = [noise.draw(KEY, where, value) for value in range(200)]

    assert draws == [noise.draw(KEY, where, value) for value in range(200)]
    assert draws != [noise.draw(KEY[::-1], where, value) for value in range(200)]
    for at in range(len(where)):
        other = (*where[:at], "x", *where[at + 1 :])
        assert draws != [noise.draw(KEY, other, value) for value in range(200)]


def test_draws_have_the_spread_of_the_distribution():
    noise = Geometric(2)
    draws = [noise.draw(KEY, ("x", at), 50) for at in range(40_000)]
    mean = sum(map(abs, draws)) / len(draws)

    assert 1.86 < mean < 1.98  # theory 1.919
    assert abs(sum(draws)) / len(draws) < 0.06
    assert Counter(draws).most_common(1)[0][0] == 0


def test_a_scale_below_one_is_refused():
    with pytest.raises(ValueError, match="scale"):
        Geometric(0)
