"""Raw messages as a source delivered them, some thousand at a time. Personal data: `repr` shows none of it."""

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple


@dataclass(frozen=True, repr=False)
class Wrapping:
    """What a bus wrapped around the messages of a chunk; one entry for each message where not empty. Personal data.

    Attributes:
      topic: where they were published.
      stamps: effective arrival of each message, ms UTC: the running maximum along its partition.
      keys: record or ordering keys; empty when no message has one.
      headers: (name, value) pairs; empty when no message has any.
    """

    topic: str
    stamps: Tuple[int, ...]
    keys: Tuple[Optional[bytes], ...] = ()
    headers: Tuple[Tuple[Tuple[str, Optional[bytes]], ...], ...] = ()

    def __repr__(self) -> str:
        return "Wrapping(<redacted>)"


@dataclass(frozen=True, repr=False)
class RawChunk:
    """Raw messages of one source.

    Attributes:
      source: the configured source's name.
      header: what every message needs to be read: the header line (TSV) or file header (Avro); else empty.
      blocks: whole lines, one message each, empty lines between them being none; an Avro block of records each;
        from a bus one message each.
      form: lines, kcat, pubsub, tsv, avro or bus: how a message is wrapped.
      wrapping: of messages from a bus.
      truncated: whether the file ended inside what would have been the next message.
    """

    source: str
    header: bytes
    blocks: Tuple[bytes, ...]
    form: str = "lines"
    truncated: bool = False
    wrapping: Optional[Wrapping] = None

    def __repr__(self) -> str:
        return "RawChunk(<redacted>)"


@dataclass(frozen=True)
class ArrivalSpan:
    """How far a chunk moves its source's clock: first and last effective arrival, last event time (ms UTC)."""

    source: str
    first_arrival: int
    last_arrival: int
    last_event: int

    @staticmethod
    def of(spans: Sequence["ArrivalSpan"]) -> Optional["ArrivalSpan"]:
        """The span of several of one source; None of none."""
        if not spans:
            return None
        return ArrivalSpan(
            source=spans[0].source,
            first_arrival=min(span.first_arrival for span in spans),
            last_arrival=max(span.last_arrival for span in spans),
            last_event=max(span.last_event for span in spans),
        )
