"""A bus must keep what open windows may need again."""

from dataclasses import replace

import pytest

from pipelines.retention import RetentionError, check_retention, required_days
from schemas.policy import Table

DAY = 86_400_000
MONTHLY = Table("t", "circulation", "month", (), (), (), 11, 10, 2 * DAY, (), "why")


@pytest.mark.parametrize(("days", "needed"), [(2, 40), (14, 52), (35, 73)])
def test_what_is_needed_is_what_the_design_names(days, needed):
    assert required_days([replace(MONTHLY, grain="day"), replace(MONTHLY, horizon=days * DAY)]) == needed


def test_without_tables_nothing_is_needed():
    assert required_days([]) == 0
    check_retention("bus", 1, [], state_is_only_copy=False)


def test_a_bus_that_forgets_too_early_is_refused_in_one_line():
    with pytest.raises(RetentionError, match=r"^source bus: its bus keeps messages 31 days and open windows need 40;"):
        check_retention("bus", 31 * DAY, [MONTHLY], state_is_only_copy=False)


@pytest.mark.parametrize(("kept", "only_copy"), [(40 * DAY, False), (None, False), (31 * DAY, True)])
def test_long_enough_for_ever_or_declared_is_taken(kept, only_copy):
    check_retention("bus", kept, [MONTHLY], state_is_only_copy=only_copy)
