"""The compiled privacy policy: closed enumerations and thresholds, ready for arithmetic.

Built by `schemas.policy_compiler`; frozen, hashed, free of I/O. Every published cell is one
mixed-radix integer over `Table.dimensions`, so no string from an event can reach a sink.
"""

import json
from dataclasses import dataclass
from typing import Mapping, Optional, Tuple

OTHER = "other"


@dataclass(frozen=True)
class Dimension:
    """One published dimension.

    Attributes:
      name: as published in `cell`.
      codes: every publishable code, in the order of their cell digits.
      column: the base dimension whose codes an event carries (a grouping names what it groups).
      grouping: for a grouping, the position in `codes` of each code of `column`; empty otherwise.
      patron_derived: whether it describes the person rather than the act.
    """

    name: str
    codes: Tuple[str, ...]
    column: str
    grouping: Tuple[int, ...]
    patron_derived: bool


@dataclass(frozen=True)
class Measure:
    """One published number: `kind` is patrons, acts or total; `parts` are the acts that count."""

    name: str
    kind: str
    parts: Tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """One published table.

    Attributes:
      kind: event kind that feeds it.
      grain: `day` or `month`.
      parts: the values of action / change / response that count (empty: every event of the kind).
      k: smallest publishable number of distinct patrons.
      clip: C, the most acts of one patron that count in one cell.
      horizon: H, milliseconds.
      structural_zeros: partial cells ({dimension: code}) that are zero by policy.
      why: one line for the reader of the policy.
    """

    name: str
    kind: str
    grain: str
    dimensions: Tuple[Dimension, ...]
    measures: Tuple[Measure, ...]
    parts: Tuple[str, ...]
    k: int
    clip: int
    horizon: int
    structural_zeros: Tuple[Tuple[Tuple[str, str], ...], ...]
    why: str

    @property
    def n_cells(self) -> int:
        """How many cells the declared domain has."""
        cells = 1
        for dimension in self.dimensions:
            cells *= len(dimension.codes)
        return cells

    def codes_of(self, cell: int) -> Mapping[str, str]:
        """The dimension -> code mapping of one cell integer (last dimension varies fastest)."""
        codes = {}
        for dimension in reversed(self.dimensions):
            cell, digit = divmod(cell, len(dimension.codes))
            codes[dimension.name] = dimension.codes[digit]
        return codes

    def cell_json(self, cell: int) -> str:
        """Canonical JSON of a cell: keys sorted, no spaces."""
        return json.dumps(self.codes_of(cell), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def is_structural_zero(self, cell: int) -> bool:
        """Whether the policy declares this cell impossible."""
        codes = self.codes_of(cell)
        return any(all(codes[name] == code for name, code in zero) for zero in self.structural_zeros)


@dataclass(frozen=True)
class PrivacyPolicy:
    """Everything disclosure control needs, compiled from `policy.toml`.

    Attributes:
      codes: for each base dimension that events carry (branch, home_branch, material, audience,
        patron_type, campaign_type, response, home_zone), its closed list of policy codes.
        `other` is the last code of each list but `branch`.
      zones: postal code -> home_zone code.
      noise_scale: scale b of the two-sided geometric noise; None in `plain`.
      digest: BLAKE3 hex of the canonical compiled policy, tzdata version included.
    """

    time_zone: str
    preset: str
    tables: Tuple[Table, ...]
    codes: Mapping[str, Tuple[str, ...]]
    zones: Mapping[str, str]
    noise_scale: Optional[int]
    tzdata_version: str
    digest: str

    def table(self, name: str) -> Table:
        """The table of that name; KeyError when the policy has none."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)

    def tables_of(self, kind: str) -> Tuple[Table, ...]:
        """The tables that events of one kind feed."""
        return tuple(table for table in self.tables if table.kind == kind)
