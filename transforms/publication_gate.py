"""The gate in a streaming graph: sealed tallies, ticks and gaps wait, keyed by window, for their publication time."""

from dataclasses import dataclass
from typing import Iterable, Iterator, Tuple

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PCollection
from apache_beam.transforms.trigger import AccumulationMode, DefaultTrigger  # noqa: TID251 - the gate is one
from apache_beam.transforms.window import FixedWindows, TimestampedValue  # noqa: TID251 - as above
from apache_beam.utils.timestamp import Timestamp

from schemas.chunks import RawChunk
from schemas.counts import Tally
from schemas.gate import ACTS, GAP, TICK, Delivered, Waiting
from schemas.policy import PrivacyPolicy
from transforms.gate import Gate, opens_at, windows_lost, windows_passed
from transforms.keys import OpensKeys
from transforms.privacy.times import HOUR, Zone
from transforms.tally import seal_tally

Keyed = Tuple[str, Waiting]  # table/start/end -> what waits


def _keyed(one: Waiting, opens: int) -> TimestampedValue:
    """At its publication time, the last millisecond before it: that of the gate's hour that ends then."""
    key = one.key
    return TimestampedValue((f"{key.table}/{key.start}/{key.end}", one), Timestamp(micros=(opens - 1) * 1000))


class _TakeChunks(beam.DoFn):
    def process(self, element: Delivered) -> Iterator[RawChunk]:
        yield from element.chunks


@dataclass(eq=False)
class TakeChunks(beam.PTransform[PCollection[Delivered], PCollection[RawChunk]]):
    """The raw chunks of deliveries; timestamps unchanged: the reader's clock before them."""

    def expand(self, pcoll: PCollection[Delivered]) -> PCollection[RawChunk]:
        return pcoll | "Take" >> beam.ParDo(_TakeChunks())


class _WaitForPublication(beam.DoFn):
    def __init__(self, policy: PrivacyPolicy, gate: Gate, source: str, keyring: OpensKeys) -> None:
        self._policy = policy
        self._tables = {table.name: table for table in gate.tables}
        self._source = source
        self._keyring = keyring

    def setup(self) -> None:
        self._keys = self._keyring.open()
        self._zone = Zone(self._policy.time_zone)

    def process(self, element: Tally, clock: Timestamp = beam.DoFn.TimestampParam) -> Iterator[Keyed]:  # type: ignore[assignment]
        table = self._tables.get(element.key.table)
        if table is None:
            return
        opens = opens_at(table, element.key, self._zone)
        if opens * 1000 <= clock.micros:
            # Not late, but its window is out: counted and never added. The gate would drop it without a word.
            Metrics.counter(self._source, f"closed/{table.name}").inc(element.n_acts)
            return
        sealed = seal_tally(element, self._keys.month(element.key.month))
        waiting = Waiting(element.key, ACTS, self._source, rows=sealed.rows, blob=sealed.blob)
        yield _keyed(waiting, opens)  # type: ignore[misc] # Beam unpacks the timestamp


@dataclass(eq=False)
class WaitForPublication(beam.PTransform[PCollection[Tally], PCollection[Keyed]]):
    """Seal tallies of a gate's tables and stamp them with their window's publication time.

    Input: tallies of one source, each at the reader's clock. Output: what waits, by window; tallies whose window
    has been published are left out and counted.
    """

    policy: PrivacyPolicy
    gate: Gate
    source: str
    keyring: OpensKeys

    def expand(self, pcoll: PCollection[Tally]) -> PCollection[Keyed]:
        return pcoll | "Wait" >> beam.ParDo(_WaitForPublication(self.policy, self.gate, self.source, self.keyring))


class _TellWindows(beam.DoFn):
    def __init__(self, gate: Gate, time_zone: str) -> None:
        self._tables = gate.tables
        self._begins = gate.begins
        self._time_zone = time_zone

    def setup(self) -> None:
        self._zone = Zone(self._time_zone)

    def process(self, element: Delivered) -> Iterator[Keyed]:
        for table in self._tables:
            lost = {key for gap in element.gaps for key in windows_lost(table, *gap, self._zone)}
            for key in sorted(lost):
                yield self._told(Waiting(key, GAP, element.source, element.reader), table.name)
            if element.passage is not None:
                for key in windows_passed(table, element.passage, self._begins, self._zone):
                    tick = Waiting(
                        key, TICK, element.source, element.reader, readers=element.readers, policy=element.policy
                    )
                    yield self._told(tick, table.name)

    def _told(self, one: Waiting, name: str) -> Keyed:
        (table,) = (table for table in self._tables if table.name == name)
        return _keyed(one, opens_at(table, one.key, self._zone))  # type: ignore[return-value] # as above


@dataclass(eq=False)
class TellWindows(beam.PTransform[PCollection[Delivered], PCollection[Keyed]]):
    """Turn passages of hours and gaps of one source into a word for each window that they concern.

    Input: deliveries. Output: ticks and gaps by window, at the window's publication time.
    """

    gate: Gate
    time_zone: str

    def expand(self, pcoll: PCollection[Delivered]) -> PCollection[Keyed]:
        return pcoll | "Tell" >> beam.ParDo(_TellWindows(self.gate, self.time_zone))


@dataclass(eq=False)
class GatherWindows(beam.PTransform[PCollection[Keyed], PCollection[Tuple[str, Iterable[Waiting]]]]):
    """All that waits for a window, once the watermark has passed its publication time.

    Input: what waits, from all sources of a gate. Output: one element for each window.
    """

    def expand(self, pcoll: PCollection[Keyed]) -> PCollection[Tuple[str, Iterable[Waiting]]]:
        return (
            pcoll
            | "Hour"
            >> beam.WindowInto(
                FixedWindows(HOUR // 1000),
                trigger=DefaultTrigger(),
                accumulation_mode=AccumulationMode.DISCARDING,
                allowed_lateness=0,
            )
            | "Collect" >> beam.GroupByKey()
        )
