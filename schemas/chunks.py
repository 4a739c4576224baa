"""Raw messages as a source delivered them, some thousand at a time. Personal data: `repr` shows none of it."""

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple


@dataclass(frozen=True, repr=False)
class RawChunk:
    """Raw messages of one source.

    Attributes:
      source: the configured source's name.
      header: what every message needs to be read: the header line (TSV) or file header (Avro); else empty.
      blocks: whole lines, one message each, empty lines between them being none; an Avro block of records each.
      form: lines, kcat, pubsub, tsv or avro: how a message is wrapped.
      truncated: whether the file ended inside what would have been the next message.
    """

    source: str
    header: bytes
    blocks: Tuple[bytes, ...]
    form: str = "lines"
    truncated: bool = False

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
