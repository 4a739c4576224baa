"""Tallies (sets of acts) and the only type that a counts sink accepts: released tables."""

import struct
from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

import numpy as np

_LAYOUT = (
    ("cell", np.dtype("<i8"), ()),
    ("token", np.dtype("u1"), (16,)),
    ("act", np.dtype("u1"), (16,)),
    ("order", np.dtype("<i8"), ()),
    ("retract", np.dtype("?"), ()),
    ("part", np.dtype("u1"), ()),
    ("space", np.dtype("<u4"), ()),
    ("n", np.dtype("<i8"), ()),
)
ERASED = -1  # the cell of a row that stands for no act: it takes its patron's acts out of the window
_HEAD = struct.Struct("<BQ")
_VERSION = 1


@dataclass(frozen=True, order=True)
class WindowKey:
    """One window of one table.

    Attributes:
      table: table name.
      start: civil date of its first day, ISO.
      end: civil date after its last day, ISO.
    """

    table: str
    start: str
    end: str

    @property
    def month(self) -> str:
        """The key month, YYYY-MM: that of the window's start."""
        return self.start[:7]


@dataclass(frozen=True, repr=False, eq=False)
class Tally:
    """A set of acts of one window, erase rows among them; tokens and act tags are under the window's own key.

    Columns as in `schemas.generalized.CellBatch`; tokens of two cells cannot be compared.
    """

    key: WindowKey
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
        return "Tally(<redacted>)"

    @property
    def n_acts(self) -> int:
        """How many rows are acts; the others erase."""
        return int(np.count_nonzero(self.cell != ERASED))

    def take(self, rows: np.ndarray) -> "Tally":
        """The tally of these rows."""
        return Tally(self.key, *(getattr(self, name)[rows] for name, _, _ in _LAYOUT))

    @staticmethod
    def concat(tallies: Sequence["Tally"]) -> "Tally":
        """All rows of tallies of one window, one after the other; at least one tally."""
        return Tally(tallies[0].key, *(np.concatenate([getattr(t, name) for t in tallies]) for name, _, _ in _LAYOUT))

    @staticmethod
    def empty(key: WindowKey) -> "Tally":
        """The tally of a window without acts."""
        return Tally(key, *(np.empty((0, *shape), dtype) for _, dtype, shape in _LAYOUT))

    def to_bytes(self) -> bytes:
        """Versioned column dump; the inverse of `from_bytes`."""
        columns = (np.ascontiguousarray(getattr(self, name), dtype).tobytes() for name, dtype, _ in _LAYOUT)
        return _HEAD.pack(_VERSION, len(self)) + b"".join(columns)

    @staticmethod
    def from_bytes(key: WindowKey, dump: bytes) -> "Tally":
        """Read a column dump.

        Raises:
          ValueError: another version or a length that does not fit.
        """
        version, rows = _HEAD.unpack_from(dump) if len(dump) >= _HEAD.size else (0, 0)
        size = sum(dtype.itemsize * int(np.prod(shape, dtype=int)) for _, dtype, shape in _LAYOUT)
        if version != _VERSION or len(dump) != _HEAD.size + rows * size:
            message = "tally: unknown version or length; this work store was written by another release"
            raise ValueError(message)
        columns, at = [], _HEAD.size
        for _, dtype, shape in _LAYOUT:
            items = rows * int(np.prod(shape, dtype=int))
            columns.append(np.frombuffer(dump, dtype, items, at).reshape((rows, *shape)))
            at += items * dtype.itemsize
        return Tally(key, *columns)


@dataclass(frozen=True)
class SealedTally:
    """A tally's bytes sealed under its window's key: what the work store keeps of open windows.

    Attributes:
      rows: how many acts; erase rows are none.
    """

    key: WindowKey
    rows: int
    blob: bytes


@dataclass(frozen=True)
class ReleasedRow:
    """One number of one cell. `value` is None when withheld; status: published, withheld, structural_zero."""

    cell: str
    measure: str
    value: Optional[int]
    status: str
    mechanism: str


@dataclass(frozen=True)
class ReleasedTable:
    """One window of one table after disclosure control: the whole declared domain, in cell order."""

    tenant: str
    kind: str
    key: WindowKey
    time_zone: str
    revision: int
    policy_digest: str
    mechanism: str
    charge: float
    rows: Tuple[ReleasedRow, ...]
