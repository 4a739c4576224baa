"""TallyActs: cell rows become one set of acts per (table, window), under the window's own key."""

from collections import Counter
from dataclasses import dataclass
from typing import Callable, Iterable, Iterator, Sequence, Tuple

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection
from apache_beam.transforms.window import GlobalWindows  # noqa: TID251 - what finish_bundle must say of its outputs
from apache_beam.utils.windowed_value import WindowedValue

from schemas.counts import SealedTally, Tally, WindowKey
from schemas.generalized import CellBatch
from transforms.erasure import window_token_key
from transforms.keys import MonthKeys, OpensKeys
from transforms.privacy.sealing import open_blob, seal_blob
from transforms.privacy.thresholds import standing
from transforms.privacy.times import window_name
from transforms.privacy.tokens import MonthKey, encipher, rekey, subkey

_ENOUGH = 65_536  # rows of one sealed tally
Rekey = Callable[[WindowKey, np.ndarray, np.ndarray, np.ndarray], Tuple[np.ndarray, np.ndarray]]


def window_rekey(keys: MonthKeys) -> Rekey:
    """Window-scoped tokens and act tags: those of two cells, windows or tables cannot be joined."""

    def rekeyed(
        window: WindowKey, token: np.ndarray, act: np.ndarray, cell: np.ndarray
    ) -> Tuple[np.ndarray, np.ndarray]:
        month = keys.month(window.month)
        labels = (window.table, window.start, window.end)
        token_key = window_token_key(month, *labels)
        act_key = subkey(month, "window-act", *labels)[:16]
        return rekey(token, cell, token_key), encipher(act, act_key)

    return rekeyed


def tally(cells: CellBatch, grain: str, rekeyed: Rekey) -> Iterator[Tally]:
    """Turn cell rows into one set of acts per window."""
    for number, rows in cells.by_window():
        key = WindowKey(cells.table, window_name(grain, number), window_name(grain, number + 1))
        token, act = rekeyed(key, cells.token[rows], cells.act[rows], cells.cell[rows])
        columns = (cells.order, cells.retract, cells.part, cells.space, cells.n)
        yield Tally(key, cells.cell[rows], token, act, *(column[rows] for column in columns))


def merge(tallies: Sequence[Tally]) -> Tally:
    """The rows that stand in the union of a window's tallies: of one act the latest, unless it retracts.

    Only for release: a merge that is to be merged again would have to keep the retractions.
    """
    union = Tally.concat(tallies)
    rows = standing(union.act, union.order, union.retract, union.n, union.cell, union.token, union.part, union.space)
    # Where all rows stand the union is the set as it is: a set has no order.
    return union if len(rows) == len(union) else union.take(rows)


def seal_tally(tallied: Tally, month: MonthKey) -> SealedTally:
    """Seal a tally under its window's key, bound to its table and window."""
    blob = seal_blob(_blob_key(month, tallied.key), _bound_to(tallied.key), tallied.to_bytes())
    return SealedTally(tallied.key, tallied.n_acts, blob)


def open_tally(key: WindowKey, blob: bytes, month: MonthKey) -> Tally:
    """Open a sealed tally; InvalidTag when the key or the window is another one."""
    return Tally.from_bytes(key, open_blob(_blob_key(month, key), _bound_to(key), blob))


def _blob_key(month: MonthKey, key: WindowKey) -> bytes:
    return subkey(month, "tally", key.table, key.start, key.end)


def _bound_to(key: WindowKey) -> bytes:
    return f"{key.table}/{key.start}/{key.end}".encode()


class _Tally(beam.DoFn):
    def __init__(self, grains: Iterable[Tuple[str, str]], keyring: OpensKeys) -> None:
        self._grains = dict(grains)
        self._keyring = keyring

    def setup(self) -> None:
        self._rekey = window_rekey(self._keyring.open())

    def process(self, element: CellBatch) -> Iterator[Tally]:
        yield from tally(element, self._grains[element.table], self._rekey)


@dataclass(eq=False)
class TallyActs(beam.PTransform[PCollection[CellBatch], PCollection[Tally]]):
    """Make sets of acts, one per window met in a batch.

    Input: cell batches. Output: one tally per (batch, window); timestamp and window unchanged.

    Args:
      grains: (table name, grain) pairs.
      keyring: names the keyring; opened in `DoFn.setup`.
    """

    grains: Tuple[Tuple[str, str], ...]
    keyring: OpensKeys

    def expand(self, pcoll: PCollection[CellBatch]) -> PCollection[Tally]:
        return pcoll | "Tally" >> beam.ParDo(_Tally(self.grains, self.keyring))


class _Seal(beam.DoFn):
    """Gathers a bundle's tallies by window first: a chunk's rows of one window may be few, and a blob has its cost."""

    def __init__(self, keyring: OpensKeys) -> None:
        self._keyring = keyring

    def setup(self) -> None:
        self._keys = self._keyring.open()

    def start_bundle(self) -> None:
        self._gathered: dict[WindowKey, list[Tally]] = {}
        self._rows: Counter[WindowKey] = Counter()

    def process(self, element: Tally) -> Iterator[SealedTally]:
        self._gathered.setdefault(element.key, []).append(element)
        self._rows[element.key] += len(element)
        if self._rows[element.key] >= _ENOUGH:
            yield self._sealed(element.key)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for key in sorted(self._gathered):
            yield GlobalWindows.windowed_value(self._sealed(key))

    def _sealed(self, key: WindowKey) -> SealedTally:
        self._rows.pop(key)
        return seal_tally(Tally.concat(self._gathered.pop(key)), self._keys.month(key.month))


@dataclass(eq=False)
class SealTallies(beam.PTransform[PCollection[Tally], PCollection[SealedTally]]):
    """Seal tallies for the work store, each under its window's key.

    Input: tallies in the global window. Output: one or more sealed tallies per (bundle, window).
    """

    keyring: OpensKeys

    def expand(self, pcoll: PCollection[Tally]) -> PCollection[SealedTally]:
        return pcoll | "Seal" >> beam.ParDo(_Seal(self.keyring))
