"""Windows and lateness of whole columns, against the standard library one instant at a time."""

import datetime as dt

import numpy as np
from generated_logs import HOUR, ZONES, a_policy, instants
from hypothesis import given
from hypothesis import strategies as st
from rowwise import begins, window_of

from schemas.events import EARLIEST, LATEST
from transforms.privacy.times import Zone, window_name
from transforms.windows import late_for, window_ends, windows_of

TABLES = st.sampled_from(["days", "day_types", "hours", "holds", "changes"])


@given(st.data(), st.sampled_from(ZONES), TABLES)
def test_windows_ends_and_lateness_are_those_of_each_instant_alone(data, time_zone, name):
    table = a_policy(time_zone).table(name)
    occurred = data.draw(st.lists(st.one_of(instants(time_zone), st.integers(EARLIEST, LATEST - 1)), max_size=10))
    expected = [window_of(table, at, time_zone) for at in occurred]
    ends = [begins(dt.date.fromisoformat(window.end), time_zone) for window in expected]
    arrived = [end + table.horizon + data.draw(st.sampled_from([-HOUR, -1, 0, 1, HOUR])) for end in ends]

    zone = Zone(time_zone)
    windows = windows_of(table, np.array(occurred, np.int64), zone)

    assert [window_name(table.grain, number) for number in windows.tolist()] == [window.start for window in expected]
    assert [window_name(table.grain, number + 1) for number in windows.tolist()] == [window.end for window in expected]
    assert window_ends(table, windows, zone).tolist() == ends
    late = late_for(table, windows, np.array(arrived, np.int64), zone)
    assert late.tolist() == [at >= end + table.horizon for at, end in zip(arrived, ends, strict=True)]
