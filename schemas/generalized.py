"""Events as integer cells of one declared table: no code, place, time or id is left."""

from dataclasses import dataclass
from typing import Iterator, Tuple

import numpy as np


@dataclass(frozen=True, repr=False, eq=False)
class CellBatch:
    """Acts of one table; every array has one entry per act.

    Attributes:
      table: table name of the policy.
      window: int32, civil day or month number since 1970 (the table's grain), library time.
      cell: int64 mixed-radix cell code; of a retraction 0, which says nothing.
      token, act: (n, 16) uint8 under the month's key.
      order: int64 ms UTC, effective arrival.
      retract: bool.
      part: uint8, which kind of act (index in the event kind's parts).
      space: uint32, stable number of the patron namespace.
      n: int64, how many the act counts for.
    """

    table: str
    window: np.ndarray
    cell: np.ndarray
    token: np.ndarray
    act: np.ndarray
    order: np.ndarray
    retract: np.ndarray
    part: np.ndarray
    space: np.ndarray
    n: np.ndarray

    def __len__(self) -> int:
        return len(self.cell)

    def __repr__(self) -> str:
        return "CellBatch(<redacted>)"

    def by_window(self) -> Iterator[Tuple[int, np.ndarray]]:
        """Each window number with the positions of its rows, windows ascending."""
        if not len(self):
            return
        by_time = np.argsort(self.window, kind="stable")
        windows, starts = np.unique(self.window[by_time], return_index=True)
        yield from zip(windows.tolist(), np.split(by_time, starts[1:]), strict=True)
