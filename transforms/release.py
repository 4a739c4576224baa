"""ReleaseCounts: threshold, clip, noise and rounding turn a merged set of acts into a released table."""

from dataclasses import dataclass
from typing import Callable, Iterator, Optional, Sequence, Union

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection

from schemas.counts import ReleasedRow, ReleasedTable, Tally
from schemas.events import PARTS
from schemas.policy import Measure, PrivacyPolicy, Table
from transforms.keys import OpensKeys
from transforms.privacy.noise import Geometric
from transforms.privacy.thresholds import (
    CellCounts,
    count_cells,
    is_publishable,
    is_total_publishable,
    round_to_10,
)

REVISION = 0
EPSILON = 0.5  # of one number with noise scale 2: privacy.md 5, `standard`


Draw = Callable[[str, str, int], int]  # (cell, measure, true value) -> noise


def no_noise(cell: str, measure: str, true_value: int) -> int:
    """The `plain` preset: nothing is added."""
    del cell, measure, true_value
    return 0


def window_noise(policy: PrivacyPolicy, tally: Tally, tenant: str, key: bytes) -> Draw:
    """Noise as a keyed function of coordinates and true value: a retry draws the same, other data another.

    Policy hash, run and runner are no part of the coordinates: a redeploy must not draw twice.
    """
    geometric = Geometric(policy.noise_scale or 0)

    def draw(cell: str, measure: str, true_value: int) -> int:
        where = (tenant, tally.key.table, tally.key.start, cell, measure, REVISION)
        return geometric.draw(key, where, true_value)

    return draw


def mechanism_of(measure: Measure, table: Table, policy: PrivacyPolicy) -> str:
    """Names the rule behind a number; the policy document explains it."""
    if measure.kind == "total":
        return f"total/round10/k{table.k}"
    base = f"geometric{policy.noise_scale}" if policy.noise_scale else "plain"
    return f"{base}/k{table.k}" + (f"/C{table.clip}" if measure.kind == "acts" else "")


def _decide(measure: Measure, table: Table, counts: CellCounts, at: int, cell: str, draw: Draw) -> Optional[int]:
    """The number to publish, or None to withhold it."""
    people = int(counts.largest_space_patrons[at])
    if measure.kind == "total":
        total, largest = int(counts.total[at]), int(counts.largest_contributor[at])
        return round_to_10(total) if is_total_publishable(people, table.k, total, largest) else None
    if not is_publishable(people, table.k):
        return None
    true_value = int(counts.patrons[at] if measure.kind == "patrons" else counts.acts[at])
    return max(table.k, true_value + draw(cell, measure.name, true_value))


def _rows_of(tally: Tally, parts: Sequence[str], kind: str) -> Union[slice, np.ndarray]:
    wanted = np.array([not parts or name in parts for name in PARTS[kind]], bool)[tally.part]
    return slice(None) if wanted.all() else np.flatnonzero(wanted)


def release(tally: Tally, *, policy: PrivacyPolicy, tenant: str, draw: Draw) -> ReleasedTable:
    """Apply disclosure control to one window.

    Args:
      tally: the acts that stand (`transforms.tally.merge`).
      draw: the noise of a number; `no_noise` under `plain`.

    Returns:
      Every declared cell of the table, in cell order, each measure published or withheld.
    """
    table = policy.table(tally.key.table)
    _, space = np.unique(tally.space, return_inverse=True)
    counts: dict[tuple[str, ...], tuple[CellCounts, dict[int, int]]] = {}
    for parts in {measure.parts: None for measure in table.measures}:
        rows = _rows_of(tally, parts, table.kind)
        of_parts = count_cells(
            tally.cell[rows], tally.token[rows], space[rows].astype(np.uint8), tally.n[rows], table.clip
        )
        counts[parts] = (of_parts, {cell: at for at, cell in enumerate(of_parts.cell.tolist())})
    released = []
    for cell in range(table.n_cells):
        name = table.cell_json(cell)
        zero = bool(table.structural_zeros) and table.is_structural_zero(cell)
        for measure in table.measures:
            mechanism = mechanism_of(measure, table, policy)
            of_parts, positions = counts[measure.parts]
            at = positions.get(cell)
            value = None if at is None else _decide(measure, table, of_parts, at, name, draw)
            if zero:
                released.append(ReleasedRow(name, measure.name, 0, "structural_zero", mechanism))
            else:
                status = "withheld" if value is None else "published"
                released.append(ReleasedRow(name, measure.name, value, status, mechanism))
    noised = sum(measure.kind != "total" for measure in table.measures) if policy.noise_scale else 0
    return ReleasedTable(
        tenant=tenant,
        kind=table.kind,
        key=tally.key,
        time_zone=policy.time_zone,
        revision=REVISION,
        policy_digest=policy.digest,
        mechanism=";".join(mechanism_of(measure, table, policy) for measure in table.measures),
        charge=EPSILON * noised,
        rows=tuple(released),
    )


class _Release(beam.DoFn):
    def __init__(self, policy: PrivacyPolicy, tenant: str, noise: Optional[OpensKeys]) -> None:
        self._policy = policy
        self._tenant = tenant
        self._noise = noise

    def setup(self) -> None:
        self._keys = self._noise.open() if self._noise else None

    def process(self, element: Tally) -> Iterator[ReleasedTable]:
        draw: Draw = no_noise
        if self._keys and self._policy.noise_scale:
            draw = window_noise(self._policy, element, self._tenant, self._keys.noise(element.key.month))
        yield release(element, policy=self._policy, tenant=self._tenant, draw=draw)


@dataclass(eq=False)
class ReleaseCounts(beam.PTransform[PCollection[Tally], PCollection[ReleasedTable]]):
    """Turn each window's merged tally into its released table.

    Input: one merged tally per (table, window), after its publication time.
    Output: one released table per input.

    Args:
      policy: the compiled policy.
      tenant: the library the counts belong to.
      noise: names the noise keys; None only under `plain`.

    Raises (at build time):
      ValueError: the policy wants noise and `noise` is None.
    """

    policy: PrivacyPolicy
    tenant: str
    noise: Optional[OpensKeys]

    def __post_init__(self) -> None:
        if self.policy.noise_scale and self.noise is None:
            message = "noise: the policy wants noise; name the keyring"
            raise ValueError(message)

    def expand(self, pcoll: PCollection[Tally]) -> PCollection[ReleasedTable]:
        return pcoll | "Release" >> beam.ParDo(_Release(self.policy, self.tenant, self.noise))
