"""Which civil window an event falls into, and whether it came too late for it. No Beam here."""

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
