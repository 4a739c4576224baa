"""What a message bus gives the batch loop: bounded batches, positions and proofs of its end.

A bus never acknowledges on its own: `ack` is called once a batch is committed with its positions.

Errors:

    ValueError
    └── BusError         the bus cannot be used as it is configured; one line, no value of a message or secret
"""

from dataclasses import dataclass, field
from typing import Mapping, Optional, Protocol

from pipelines.work_values import Position
from schemas.chunks import RawChunk


class BusError(ValueError):
    """The bus cannot be read on: what, where, what to do. Trouble that may pass is no error: `poll` gives None."""


@dataclass(frozen=True)
class Limits:
    """How much one poll may take: messages, bytes of payload, seconds of waiting."""

    messages: int = 50_000
    size: int = 64 * 1024 * 1024
    seconds: float = 0.5


@dataclass(frozen=True)
class Gap:
    """Messages of a part that the bus no longer has.

    Attributes:
      part: as in `Position`.
      after: effective arrival of the last message read before it, ms UTC; None when none was.
      until: effective arrival of the first message after it, ms UTC; None when there is none yet.
    """

    part: str
    after: Optional[int]
    until: Optional[int]


@dataclass(frozen=True)
class BusBatch:
    """What one poll took.

    Attributes:
      chunks: of one topic partition each, in the order of its messages, with effective arrivals.
      positions: where each part stands after these chunks; of parts that moved.
      proven: part -> clock, ms UTC, of parts whose end was proven: issue time of the proof less the grace.
      gaps: what was lost before these chunks.
      receipts: what `ack` needs, of no meaning to others; never stored, never logged.
    """

    chunks: tuple[RawChunk, ...] = ()
    positions: tuple[Position, ...] = ()
    proven: Mapping[str, int] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    receipts: object = None


class Bus(Protocol):
    """One source of messages."""

    def parts(self) -> tuple[str, ...]:
        """All partitions that there are now, sorted, unread ones too: the lowest of their clocks is the source's."""

    def poll(self, limits: Limits) -> Optional[BusBatch]:
        """Take what is there within the limits; None when nothing came, no end was proven and nothing is lost.

        Raises:
          BusError: it cannot go on without the operator.
        """

    def ack(self, batch: BusBatch) -> None:
        """The batch is committed. Losing this is harmless: what comes again is the same set of acts."""

    def close(self) -> None:
        """Let go of connections; nothing that is not acknowledged is lost."""
