"""Decoded events as columns: the only batch that holds identifiers."""

from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Mapping, Optional, Sequence, Tuple

import numpy as np

UNKNOWN_BIRTH = np.iinfo(np.int32).min
ABSENT = -1
_COLUMNS = ("occurred_at", "arrived_at", "retract", "part", "birth_day", "late_everywhere")


@dataclass(frozen=True, repr=False, eq=False)
class PersonalBatch:
    """Accepted events of one kind from one source; every array has one entry per event. Personal data.

    Attributes:
      source: configured source name; acts are distinct within it.
      namespace: patron ids are comparable within it.
      kind: event kind.
      patron_ids: the normalised patron id of each event; None when it names nobody.
      act_ids: the source's own id of each act.
      occurred_at: int64 ms UTC.
      arrived_at: int64 ms UTC, effective arrival.
      retract: bool, whether the event takes its act out again; then it has no codes and, unless it takes back an
        erasure, names nobody.
      part: int8, position of the action / change in the kind's list of parts.
      birth_day: int32 days since 1970; UNKNOWN_BIRTH when absent.
      late_everywhere: bool, late for every table it could feed: no key is asked for it.
      codes: base dimension -> int32 position in the policy's list; ABSENT when the event has none.
    """

    source: str
    namespace: str
    kind: str
    patron_ids: Tuple[Optional[str], ...]
    act_ids: Tuple[str, ...]
    occurred_at: np.ndarray
    arrived_at: np.ndarray
    retract: np.ndarray
    part: np.ndarray
    birth_day: np.ndarray
    late_everywhere: np.ndarray
    codes: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.act_ids)

    def __repr__(self) -> str:
        return "PersonalBatch(<redacted>)"

    @staticmethod
    def concat(batches: Sequence["PersonalBatch"]) -> "PersonalBatch":
        """All events of batches of one source and kind, one after the other; at least one batch."""
        first = batches[0]
        if len(batches) == 1:
            return first
        columns: Any = {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in _COLUMNS}
        return replace(
            first,
            patron_ids=tuple(chain.from_iterable(batch.patron_ids for batch in batches)),
            act_ids=tuple(chain.from_iterable(batch.act_ids for batch in batches)),
            codes={name: np.concatenate([batch.codes[name] for batch in batches]) for name in first.codes},
            **columns,
        )

    def take(self, rows: np.ndarray) -> "PersonalBatch":
        """The batch of these rows (int positions), in that order."""
        return replace(
            self,
            patron_ids=tuple([self.patron_ids[row] for row in rows.tolist()]),
            act_ids=tuple([self.act_ids[row] for row in rows.tolist()]),
            codes={name: column[rows] for name, column in self.codes.items()},
            **{name: getattr(self, name)[rows] for name in _COLUMNS},
        )
