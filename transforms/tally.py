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


class Gathering:
    """A bundle's tallies by window: a chunk's rows of one window may be few, and a sealed blob has its cost."""

    def __init__(self) -> None:
        self._tallies: dict[WindowKey, list[Tally]] = {}
        self._rows: Counter[WindowKey] = Counter()

    def add(self, one: Tally) -> Iterator[Tally]:
        """Take a tally in; give the union of its window once that is large enough."""
        self._tallies.setdefault(one.key, []).append(one)
        self._rows[one.key] += len(one)
        if self._rows[one.key] >= _ENOUGH:
            yield self._union(one.key)

    def rest(self) -> Iterator[Tally]:
        """The unions that were not given yet, by window."""
        for key in sorted(self._tallies):
            yield self._union(key)

    def _union(self, key: WindowKey) -> Tally:
        self._rows.pop(key)
        return Tally.concat(self._tallies.pop(key))


class _Seal(beam.DoFn):
    def __init__(self, keyring: OpensKeys) -> None:
        self._keyring = keyring

    def setup(self) -> None:
        self._keys = self._keyring.open()

    def start_bundle(self) -> None:
        self._gathering = Gathering()

    def process(self, element: Tally) -> Iterator[SealedTally]:
        for union in self._gathering.add(element):
            yield self._sealed(union)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for union in self._gathering.rest():
            yield GlobalWindows.windowed_value(self._sealed(union))

    def _sealed(self, union: Tally) -> SealedTally:
        return seal_tally(union, self._keys.month(union.key.month))


@dataclass(eq=False)
class SealTallies(beam.PTransform[PCollection[Tally], PCollection[SealedTally]]):
    """Seal tallies for the work store, each under its window's key.

    Input: tallies in the global window. Output: one or more sealed tallies per (bundle, window).
    """

    keyring: OpensKeys

    def expand(self, pcoll: PCollection[Tally]) -> PCollection[SealedTally]:
        return pcoll | "Seal" >> beam.ParDo(_Seal(self.keyring))
