"""Which civil window an event falls into, and whether it came too late for it. No Beam here."""

from operator import attrgetter
from typing import Sequence

import numpy as np

from schemas.policy import Table
from transforms.privacy.times import Zone, is_late


def window_ends(table: Table, windows: np.ndarray, zone: Zone) -> np.ndarray:
    """The instant (ms UTC) at which each civil day or month number ends."""
    start = zone.start_of_day if table.grain == "day" else zone.start_of_month
    unique, where = np.unique(windows, return_inverse=True)
    return np.array([start(number + 1) for number in unique.tolist()], np.int64)[where]


def late_for(table: Table, windows: np.ndarray, arrived_at: np.ndarray, zone: Zone) -> np.ndarray:
    """Which events are late for this table: pure arithmetic on the event, the same on every runner."""
    late: np.ndarray = is_late(arrived_at, window_ends(table, windows, zone), table.horizon)
    return late


def windows_of(table: Table, occurred_at: np.ndarray, zone: Zone) -> np.ndarray:
    """The civil day or month number of each event."""
    numbers: np.ndarray = zone.day_of(occurred_at) if table.grain == "day" else zone.month_of(occurred_at)
    return numbers


def late_for_all(tables: Sequence[Table], occurred_at: np.ndarray, arrived_at: np.ndarray, zone: Zone) -> np.ndarray:
    """Which events are late for every table: of each grain the table with the longest horizon decides."""
    late = np.ones(len(occurred_at), bool)
    longest = {table.grain: table for table in sorted(tables, key=attrgetter("horizon"))}
    for table in longest.values():
        late &= late_for(table, windows_of(table, occurred_at, zone), arrived_at, zone)
    return late
