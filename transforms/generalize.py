"""GeneralizeEvents: places, times, ages and types become one integer cell per declared table."""

from collections import Counter
from dataclasses import dataclass
from typing import Iterator, Mapping, Tuple

import apache_beam as beam
import numpy as np
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PCollection
from blake3 import blake3

from schemas.events import PARTS
from schemas.generalized import CellBatch
from schemas.policy import Dimension, PrivacyPolicy
from schemas.pseudonymized import ERASURE, PseudonymizedBatch
from transforms.erasure import erase_rows
from transforms.privacy.times import Zone, age_band_of, day_type_of, daypart_of
from transforms.windows import late_for, windows_of

INAPPLICABLE = -1
# A hold's outcome is its action under the name that staff use.
_OUTCOMES = {"hold_placed": "placed", "hold_filled": "filled", "hold_cancelled": "cancelled", "hold_expired": "expired"}


def space_number(namespace: str) -> int:
    """A stable number for a patron namespace: threshold counting must not depend on configuration order."""
    return int.from_bytes(blake3(namespace.encode()).digest(length=4), "big")


def part_mask(parts: Tuple[str, ...], kind: str, part: np.ndarray) -> np.ndarray:
    """Which events count at all: all of them when the table names no parts."""
    wanted = np.array([not parts or name in parts for name in PARTS[kind]], bool)
    return wanted[part]


def _digit(dimension: Dimension, batch: PseudonymizedBatch, local: np.ndarray) -> np.ndarray:
    """The position of each event's code in the dimension; INAPPLICABLE where it has none."""
    column = dimension.column
    if column == "age_band":
        digits: np.ndarray = age_band_of(batch.birth_day, (local // 86_400_000).astype(np.int32)).astype(np.int64)
    elif column == "day_type":
        digits = day_type_of(local).astype(np.int64)
    elif column == "daypart":
        digits = daypart_of(local).astype(np.int64)
    elif column == "zip3":
        digits = np.zeros(len(batch), np.int64)
    elif column in ("action", "outcome", "change"):
        names = [_OUTCOMES.get(name, name) if column == "outcome" else name for name in PARTS[batch.kind]]
        known = {code: position for position, code in enumerate(dimension.codes)}
        return np.array([known.get(name, INAPPLICABLE) for name in names], np.int64)[batch.part]
    else:
        digits = batch.codes[column].astype(np.int64)
    if dimension.grouping:
        grouped = np.array((*dimension.grouping, INAPPLICABLE), np.int64)
        digits = grouped[digits]  # ABSENT is -1: the last entry
    return digits


def generalize(
    batch: PseudonymizedBatch, *, policy: PrivacyPolicy, zone: Zone
) -> Tuple[Tuple[CellBatch, ...], Mapping[str, int]]:
    """Code the events into every table of their kind; erasures into every table.

    Returns:
      One batch per table that anything counts for, and the conservation counts
      `inapplicable/TABLE`, `late/TABLE`, `counted/TABLE`, whose sum per table is the number of events.
    """
    counts: Counter[str] = Counter()
    space = space_number(batch.namespace)
    if batch.kind == ERASURE:
        return tuple(erase_rows(batch, policy=policy, zone=zone, space=space)), counts
    batches = []
    local = zone.local(batch.occurred_at)
    for table in policy.tables_of(batch.kind):
        cell = np.zeros(len(batch), np.int64)
        applies = part_mask(table.parts, batch.kind, batch.part) & batch.has_patron
        for dimension in table.dimensions:
            digit = _digit(dimension, batch, local)
            applies = applies & (digit >= 0)
            cell = cell * len(dimension.codes) + digit
        # A retraction goes by its act tag alone: to every table that the act may be in, and to no cell of its own.
        applies |= batch.retract
        cell[batch.retract] = 0
        window = windows_of(table, batch.occurred_at, zone)
        late = late_for(table, window, batch.arrived_at, zone)
        rows = np.flatnonzero(applies & ~late)
        counts[f"inapplicable/{table.name}"] += int(len(batch) - np.count_nonzero(applies))
        counts[f"late/{table.name}"] += int(np.count_nonzero(applies & late))
        counts[f"counted/{table.name}"] += len(rows)
        if len(rows):
            batches.append(
                CellBatch(
                    table=table.name,
                    window=window[rows],
                    cell=cell[rows],
                    token=batch.token[rows],
                    act=batch.act[rows],
                    order=batch.arrived_at[rows],
                    retract=batch.retract[rows],
                    part=batch.part[rows].astype(np.uint8),
                    space=np.full(len(rows), space, np.uint32),
                    n=np.ones(len(rows), np.int64),
                )
            )
    return tuple(batches), counts


class _Generalize(beam.DoFn):
    def __init__(self, policy: PrivacyPolicy) -> None:
        self._policy = policy

    def setup(self) -> None:
        self._zone = Zone(self._policy.time_zone)

    def process(self, element: PseudonymizedBatch) -> Iterator[CellBatch]:
        batches, counts = generalize(element, policy=self._policy, zone=self._zone)
        for name, amount in counts.items():
            Metrics.counter(element.source, name).inc(amount)
        yield from batches


@dataclass(eq=False)
class GeneralizeEvents(beam.PTransform[PCollection[PseudonymizedBatch], PCollection[CellBatch]]):
    """Code events into the cells of the policy's tables.

    Input: pseudonymized batches, bounded or unbounded.
    Output: zero or one batch per table of the event kind; timestamp and window unchanged.

    Args:
      policy: the compiled policy.
    """

    policy: PrivacyPolicy

    def expand(self, pcoll: PCollection[PseudonymizedBatch]) -> PCollection[CellBatch]:
        return pcoll | "Generalize" >> beam.ParDo(_Generalize(self.policy))
