"""A bus as a source of streaming engines: what a reader has taken lies in the engine's checkpoints, as a mark.

What it takes at once is one element. An hour that its clock passes is told with an element before the watermark
passes it.
"""

import time
from dataclasses import dataclass, field, replace
from typing import Callable, Optional, Protocol, Tuple

import msgspec
from apache_beam.coders import Coder
from apache_beam.io.unbounded_source import CheckpointMark, UnboundedReader, UnboundedSource  # noqa: TID251 - an input
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp

from pipelines.bus import Bus, BusBatch, Limits
from pipelines.unbounded_read import ReadUnbounded
from pipelines.work_values import Position
from schemas.gate import Delivered, Passage
from transforms.privacy.times import GRACE, HOUR

LIMITS = Limits(messages=4_000, size=4 * 1024 * 1024, seconds=0.05)  # of one element
_POLL = 0.5  # seconds between two looks at a quiet bus
_MOST, _LONGEST = 50, 2.0  # elements, and seconds, of one bundle: what a checkpoint waits for
_VERSION = 1
_Part = Tuple[str, int, bytes, Optional[int], Optional[int]]  # part, next, head, clock, proof


@dataclass(frozen=True)
class BusMark(CheckpointMark):
    """Where one reader stands.

    Attributes:
      parts: of each partition its name, next offset, head, clock and proof of its end, as in `Position` and `Bus`.
      clock: the reader's clock, ms UTC; None while it has none.
      passed: the last hour of which it has told that its clock passed it, ms UTC.
      safe: called once a checkpoint with this mark is durable, if the engine says so; never part of a checkpoint.
    """

    parts: Tuple[_Part, ...] = ()
    clock: Optional[int] = None
    passed: Optional[int] = None
    safe: Optional[Callable[[], None]] = field(default=None, compare=False, repr=False)

    @property
    def is_to_be_told(self) -> bool:
        """Whether anybody wants to know that it is durable."""
        return self.safe is not None

    def finalize_checkpoint(self) -> None:
        """The engine has made this mark durable."""
        if self.safe is not None:
            self.safe()

    def positions(self) -> dict[str, Position]:
        """Where each partition stands."""
        return {part: Position(part, at, head, done=False, clock=clock) for part, at, head, clock, _ in self.parts}

    def proofs(self) -> dict[str, int]:
        """The proven clocks of partitions, ms UTC."""
        return {part: proof for part, *_, proof in self.parts if proof is not None}


class BusMarkCoder(Coder):
    """MessagePack, with a version; never a pickle."""

    def encode(self, value: BusMark) -> bytes:
        """One mark as bytes."""
        return msgspec.msgpack.encode((_VERSION, value.parts, value.clock, value.passed))

    def decode(self, encoded: bytes) -> BusMark:
        """The inverse; ValueError for another version."""
        version, parts, clock, passed = msgspec.msgpack.decode(encoded)
        if version != _VERSION:
            message = "checkpoint of a bus: unknown version; start without it, which reads again what is needed"
            raise ValueError(message)
        return BusMark(tuple(tuple(part) for part in parts), clock, passed)

    def is_deterministic(self) -> bool:
        """Partitions are sorted by name."""
        return True


class BusSource(Protocol):
    """What a reader must know of its source.

    Attributes:
      source: the configured source's name.
      readers: how many readers share it; reader: which of them this is.
      policy: digest of the policy under which a clean start was made; a checkpoint keeps it.
    """

    @property
    def source(self) -> str: ...
    @property
    def readers(self) -> int: ...
    @property
    def reader(self) -> int: ...
    @property
    def policy(self) -> str: ...


class Watch(Protocol):
    """What decides whether a source is read."""

    def may_read(self) -> bool:
        """Asked before each poll; while it is no, the reader's clock stands."""


def read_bus(source: UnboundedSource, watch: Watch) -> ReadUnbounded:
    """The transform at the root of a graph; its output are `Delivered`.

    Args:
      watch: is pickled with the graph, and goes to each reader.
    """
    read = ReadUnbounded(source, given=watch, poll=_POLL, records=_MOST, seconds=_LONGEST)
    return read.with_output_types(Delivered)


def now() -> int:
    """The wall clock, ms UTC: of stamps that are ahead of it, and of proofs that nothing is left to read."""
    return time.time_ns() // 1_000_000


class ListsPartitions(Bus, Protocol):
    """A bus that tells when it last saw which partitions there are."""

    def listed(self) -> Optional[int]:
        """Ms UTC; None while it has not."""


class BusReader(UnboundedReader):
    """Reads the part of a bus that one reader owns."""

    def __init__(self, source: BusSource, bus: ListsPartitions, mark: BusMark, watch: Watch) -> None:
        self._source = source
        self._bus = bus
        self._watch = watch
        self._positions = mark.positions()
        self._proofs = mark.proofs()
        self._clock = self._watermark = mark.clock
        self._passed = mark.passed
        self._current: Optional[Delivered] = None

    def start(self) -> bool:
        """As `advance`."""
        return self.advance()

    def advance(self) -> bool:
        """Take what is there, within a small moment."""
        self._watermark = self._clock  # all that was told before has been handed on
        if not self._watch.may_read():
            self._current = None
            return False
        batch = self._bus.poll(LIMITS)
        read_at = now()  # a machine that was asleep meanwhile must not find its messages ahead of its clock
        if batch is not None:
            self._positions |= {position.part: position for position in batch.positions}
            self._proofs |= batch.proven
            self._taken(batch)
        self._clock = self._lowest()
        passage = self._passage()
        if not (passage or (batch and (batch.chunks or batch.gaps))):
            self._current, self._watermark = None, self._clock
            return False
        self._current = Delivered(
            self._source.source,
            self._source.reader,
            self._source.readers,
            self._source.policy,
            tuple(replace(chunk, read_at=read_at) for chunk in batch.chunks) if batch else (),
            tuple((gap.after or 0, read_at if gap.until is None else gap.until) for gap in batch.gaps) if batch else (),
            passage,
        )
        return True

    def _taken(self, batch: BusBatch) -> None:
        """What a bus that wants it is told of each batch that an element is made of."""

    def _lowest(self) -> Optional[int]:
        """The lowest clock of its partitions; it never falls, also when a partition is added."""
        parts = self._bus.parts()
        listed = self._bus.listed()
        none_owned = None if listed is None else listed - GRACE
        clocks = [self._clock_of(part) for part in parts] or [none_owned]
        known = [clock for clock in clocks if clock is not None]
        if len(known) < len(clocks):
            return self._clock
        return max(min(known), self._clock or 0)

    def _clock_of(self, part: str) -> Optional[int]:
        position = self._positions.get(part)
        read = None if position is None else position.clock
        return max((clock for clock in (read, self._proofs.get(part)) if clock is not None), default=None)

    def _passage(self) -> Optional[Passage]:
        if self._clock is None or self._clock // HOUR * HOUR <= (self._passed or 0):
            return None
        passage = Passage(self._passed, self._clock // HOUR * HOUR)
        self._passed = passage.until
        return passage

    def get_current(self) -> Delivered:
        """What the last successful `advance` took."""
        assert self._current is not None  # noqa: S101 - Beam asks only after a success
        return self._current

    def get_current_timestamp(self) -> Timestamp:
        """The reader's clock before it."""
        return self.get_watermark()

    def get_watermark(self) -> Timestamp:
        """The clock as far as all that it passed has been told."""
        return MIN_TIMESTAMP if self._watermark is None else Timestamp(micros=self._watermark * 1000)

    def get_checkpoint_mark(self) -> BusMark:
        """Where it stands; asked between elements only."""
        parts = [
            (part, at.next, at.head, at.clock, self._proofs.get(part)) for part, at in sorted(self._positions.items())
        ]
        return BusMark(tuple(parts), self._clock, self._passed)

    def close(self) -> None:
        """Let go of the brokers."""
        self._bus.close()
