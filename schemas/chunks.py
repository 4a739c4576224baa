"""Raw messages as a source delivered them, some thousand at a time. Personal data: `repr` shows none of it."""

import itertools
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

    def part(self, start: int, end: int) -> "Wrapping":
        """That of some messages in a row."""
        return Wrapping(self.topic, self.stamps[start:end], self.keys[start:end], self.headers[start:end])

    def key(self, at: int) -> Optional[str]:
        """The key of one message; bytes that are no text are shown as escapes, so that nothing is lost."""
        key = self.keys[at] if self.keys else None
        return None if key is None else key.decode(errors="backslashreplace")

    def header(self, at: int) -> Tuple[Tuple[str, Optional[str]], ...]:
        """The headers of one message, as `key` gives the key."""
        pairs = self.headers[at] if self.headers else ()
        return tuple(
            (name, None if value is None else value.decode(errors="backslashreplace")) for name, value in pairs
        )


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
      read_at: the reader's clock when it was read, ms UTC; None where a run has one clock for all that it reads.
    """

    source: str
    header: bytes
    blocks: Tuple[bytes, ...]
    form: str = "lines"
    truncated: bool = False
    wrapping: Optional[Wrapping] = None
    read_at: Optional[int] = None

    def __repr__(self) -> str:
        return "RawChunk(<redacted>)"


@dataclass(frozen=True)
class ArrivalSpan:
    """How far a chunk moves its source's clock.

    Attributes:
      first_arrival, last_arrival: first and last effective arrival, ms UTC.
      last_event: last event time, ms UTC.
      in_order: whether no event arrived before one of its kind that stands above it.
    """

    source: str
    first_arrival: int
    last_arrival: int
    last_event: int
    in_order: bool = True

    @staticmethod
    def of(spans: Sequence["ArrivalSpan"]) -> Optional["ArrivalSpan"]:
        """The span of several of one source, in their order; None of none."""
        if not spans:
            return None
        return ArrivalSpan(
            source=spans[0].source,
            first_arrival=min(span.first_arrival for span in spans),
            last_arrival=max(span.last_arrival for span in spans),
            last_event=max(span.last_event for span in spans),
            in_order=all(span.in_order for span in spans)
            and all(above.last_arrival <= below.first_arrival for above, below in itertools.pairwise(spans)),
        )
