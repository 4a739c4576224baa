"""Civil windows: which one an event falls into, whether it came too late for it, when each begins. No Beam here."""

from operator import attrgetter
from typing import Sequence

import numpy as np

from schemas.counts import WindowKey
from schemas.policy import Table
from transforms.privacy.times import TOLERANCE, Zone, is_late, window_name


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


def day_number(iso: str) -> int:
    """Days since 1970 of an ISO date."""
    return int(np.datetime64(iso, "D").astype(np.int64))


def day_of(instant: int, zone: Zone) -> int:
    """The civil day number of an instant."""
    return int(zone.day_of(np.array([instant], np.int64))[0])


def bounds(table: Table, number: int, zone: Zone) -> tuple[int, int]:
    """First instant of a window, and the first after it, ms UTC."""
    start = zone.start_of_day if table.grain == "day" else zone.start_of_month
    return start(number), start(number + 1)


def window_key(table: Table, number: int) -> WindowKey:
    """The key of a table's civil day or month number."""
    return WindowKey(table.name, window_name(table.grain, number), window_name(table.grain, number + 1))


def number_at(table: Table, day: int) -> int:
    """The window number (day or month since 1970) that holds a civil day number."""
    if table.grain == "day":
        return day
    return int(np.datetime64(day, "D").astype("datetime64[M]").astype(np.int64))


def may_hold(start: int, lateness: int, after: int, until: int) -> bool:
    """Whether messages that were lost between two arrivals may be of a window: not too late for it, and it had begun.

    Args:
      start: first instant of the window; lateness: the instant from which an arrival is late for it.
      after, until: the arrivals around what was lost; all ms UTC.
    """
    return start <= until + TOLERANCE and after < lateness
