"""Where a graph may end: each sink accepts one type, and none of them is personal."""

from dataclasses import dataclass
from typing import Iterator, NoReturn, Union

import apache_beam as beam
from apache_beam.pvalue import PCollection

from pipelines.exchange import exchange
from schemas.chunks import ArrivalSpan, RawChunk
from schemas.counts import ReleasedTable, SealedTally, Tally
from schemas.rejects import SealedReject

Result = Union[SealedTally, SealedReject, ArrivalSpan, ReleasedTable]


class _TakeChunks(beam.DoFn):
    def process(self, element: str) -> Iterator[RawChunk]:
        yield from exchange(element).chunks


@dataclass(eq=False)
class TakeChunks(beam.PTransform[PCollection[str], PCollection[RawChunk]]):
    """Raw chunks of the named exchange."""

    def expand(self, pcoll: PCollection[str]) -> PCollection[RawChunk]:
        return pcoll | "Take" >> beam.ParDo(_TakeChunks())


class _TakeMerged(beam.DoFn):
    def process(self, element: str) -> Iterator[Tally]:
        given = exchange(element)
        for key in given.due:
            yield given.merged(key)


@dataclass(eq=False)
class TakeMerged(beam.PTransform[PCollection[str], PCollection[Tally]]):
    """One merged tally for each window that is due in the named exchange, one at a time."""

    def expand(self, pcoll: PCollection[str]) -> PCollection[Tally]:
        return pcoll | "Take" >> beam.ParDo(_TakeMerged())


class _Give(beam.DoFn):
    def __init__(self, name: str) -> None:
        self._name = name

    def process(self, element: Result) -> Iterator[NoReturn]:
        given = exchange(self._name)
        with given.lock:
            match element:
                case SealedTally():
                    given.tallies.append(element)
                case SealedReject():
                    given.rejects.append(element)
                case ArrivalSpan():
                    given.spans.append(element)
                case ReleasedTable():
                    given.released.append(element)
        yield from ()


@dataclass(eq=False)
class KeepTallies(beam.PTransform[PCollection[SealedTally], PCollection[NoReturn]]):
    """Give sealed tallies to the work store's transaction."""

    exchange: str

    def expand(self, pcoll: PCollection[SealedTally]) -> PCollection[NoReturn]:
        return pcoll | "Keep" >> beam.ParDo(_Give(self.exchange))


@dataclass(eq=False)
class KeepRejects(beam.PTransform[PCollection[SealedReject], PCollection[NoReturn]]):
    """Give sealed rejects to the work store's transaction."""

    exchange: str

    def expand(self, pcoll: PCollection[SealedReject]) -> PCollection[NoReturn]:
        return pcoll | "Keep" >> beam.ParDo(_Give(self.exchange))


@dataclass(eq=False)
class KeepSpans(beam.PTransform[PCollection[ArrivalSpan], PCollection[NoReturn]]):
    """Give the clocks' movement to the work store's transaction."""

    exchange: str

    def expand(self, pcoll: PCollection[ArrivalSpan]) -> PCollection[NoReturn]:
        return pcoll | "Keep" >> beam.ParDo(_Give(self.exchange))


@dataclass(eq=False)
class WriteCounts(beam.PTransform[PCollection[ReleasedTable], PCollection[NoReturn]]):
    """Give released tables to the counts store. The only way for numbers to leave."""

    exchange: str

    def expand(self, pcoll: PCollection[ReleasedTable]) -> PCollection[NoReturn]:
        return pcoll | "Write" >> beam.ParDo(_Give(self.exchange))
