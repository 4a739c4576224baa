"""Hands chunks to a running graph and takes its results, in this process only.

Raw messages must never lie in a pipeline's proto, where `beam.Create` would put them. So the graph
carries a name, and the DoFns of the batch loop find what belongs to it here.
"""

import itertools
import threading
from dataclasses import dataclass, field
from typing import Callable, Mapping, Self

from schemas.chunks import ArrivalSpan, RawChunk
from schemas.counts import ReleasedTable, SealedTally, Tally, WindowKey
from schemas.rejects import SealedReject
from transforms.decode import Lookups

_OPEN: dict[str, "Exchange"] = {}
_NUMBERS = itertools.count()


def _nothing_due(key: WindowKey) -> Tally:
    raise KeyError(key.table)


@dataclass
class Exchange:
    """One run's inputs and outputs. Appending is guarded: a runner may use several threads."""

    chunks: tuple[RawChunk, ...] = ()
    due: tuple[WindowKey, ...] = ()
    lookups: Mapping[str, Lookups] = field(default_factory=dict)
    merged: Callable[[WindowKey], Tally] = _nothing_due
    tallies: list[SealedTally] = field(default_factory=list)
    rejects: list[SealedReject] = field(default_factory=list)
    spans: list[ArrivalSpan] = field(default_factory=list)
    released: list[ReleasedTable] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    name: str = ""

    def __enter__(self) -> Self:
        self.name = f"exchange-{next(_NUMBERS)}"
        _OPEN[self.name] = self
        return self

    def __exit__(self, *exception: object) -> None:
        del _OPEN[self.name]


def exchange(name: str) -> Exchange:
    """The open exchange of that name; KeyError outside its run."""
    return _OPEN[name]


@dataclass(frozen=True)
class ExchangedLookups:
    """Finds a source's lookups in the exchange: they do not lie in the graph either."""

    name: str

    def __call__(self, source: str) -> Lookups:
        return exchange(self.name).lookups.get(source, {})
