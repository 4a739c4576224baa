"""Events with keyed tokens in place of patron and act ids. Still personal data; never leaves the process."""

from dataclasses import dataclass
from typing import Mapping

import numpy as np

ERASURE = "erasure"  # the kind of a batch whose rows erase: they count nowhere


@dataclass(frozen=True, repr=False, eq=False)
class PseudonymizedBatch:
    """Events of one kind from one source; every array has one entry per event.

    Attributes:
      token: (n, 16) uint8, patron token under its month's key; zeros where no patron or late everywhere.
      act: (n, 16) uint8, MAC of the act id under its month's key; zeros where no patron and no retraction.
      has_patron: bool.
      The other columns are those of `schemas.personal.PersonalBatch`.
    """

    source: str
    namespace: str
    kind: str
    token: np.ndarray
    act: np.ndarray
    has_patron: np.ndarray
    occurred_at: np.ndarray
    arrived_at: np.ndarray
    retract: np.ndarray
    part: np.ndarray
    birth_day: np.ndarray
    codes: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.occurred_at)

    def __repr__(self) -> str:
        return "PseudonymizedBatch(<redacted>)"
