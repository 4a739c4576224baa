"""What crosses the edges of a streaming graph besides the types of a batch: deliveries, ticks, what waits at a gate."""

from dataclasses import dataclass
from typing import Optional, Tuple

from schemas.chunks import RawChunk
from schemas.counts import WindowKey

ACTS, TICK, GAP = "acts", "tick", "gap"


@dataclass(frozen=True)
class Passage:
    """A reader's clock passed one or more full hours.

    Attributes:
      after: the last hour that it had passed before, ms UTC; None on the first passage: all that lies before counts.
      until: the last hour that it has passed now, ms UTC.
    """

    after: Optional[int]
    until: int


@dataclass(frozen=True, repr=False)
class Delivered:
    """What one reader of a source took from its bus at once. Personal data: `repr` shows none of it.

    Attributes:
      reader, readers: which of how many readers of the source.
      policy: digest of the policy under which the reader began: all that it delivered was tallied under that one.
      gaps: arrivals (ms UTC) between which messages are lost.
      passage: hours that the reader's clock passed with it.
    """

    source: str
    reader: int
    readers: int
    policy: str
    chunks: Tuple[RawChunk, ...] = ()
    gaps: Tuple[Tuple[int, int], ...] = ()
    passage: Optional[Passage] = None

    def __repr__(self) -> str:
        return "Delivered(<redacted>)"


@dataclass(frozen=True)
class Waiting:
    """Something that waits at a gate for its window's publication.

    Attributes:
      what: ACTS (a sealed tally), TICK (one reader has passed the publication time), GAP (lost messages).
      rows: how many acts.
      blob: as in `schemas.counts.SealedTally`; empty unless ACTS.
      readers, policy: of a TICK, as in `Delivered`; else 0 and empty.
    """

    key: WindowKey
    what: str
    source: str
    reader: int = 0
    rows: int = 0
    blob: bytes = b""
    readers: int = 0
    policy: str = ""


@dataclass(frozen=True)
class VoidWindow:
    """A window that is never published, and why."""

    tenant: str
    kind: str
    key: WindowKey
    policy_digest: str
    reason: str
