"""What the bus knows of one partition, and how its messages become chunks: positions, clock, gaps, proven end."""

from dataclasses import dataclass, field
from typing import Optional, Sequence

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Message, TopicPartition

from pipelines.bus import Gap
from pipelines.work_store import Position
from schemas.chunks import RawChunk, Wrapping
from transforms.columns import TOLERANCE

_NEVER = np.iinfo(np.int64).min


@dataclass
class Partition:
    """One topic partition as far as it was read.

    Attributes:
      next: offset to read next; None until the first message or end was seen.
      start: where to begin while `next` is None.
      clock: running maximum of the stamps, ms UTC; None while there is none.
      head: the topic's id; empty while the brokers have not told it.
      at_end: whether all that the brokers had was read, as far as they have said.
      blocked: what comes is not the message after the last one: it must be asked for anew.
      stumbles: how often in a row the next message could not be read.
      chunks, gaps: not handed out yet.
    """

    topic: str
    number: int
    next: Optional[int] = None
    start: int = OFFSET_BEGINNING
    clock: Optional[int] = None
    head: bytes = b""
    at_end: bool = False
    blocked: bool = False
    stumbles: int = 0
    chunks: list[RawChunk] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    _lost: bool = False
    _question: Optional[tuple[int, int]] = None

    @property
    def part(self) -> str:
        """Its name in positions."""
        return f"{self.topic}/{self.number}"

    def wanted(self) -> TopicPartition:
        """Where to read on."""
        return TopicPartition(self.topic, self.number, self.start if self.next is None else self.next)

    def position(self) -> Optional[Position]:
        """Where it stands; None when nothing is known of it yet."""
        return None if self.next is None else Position(self.part, self.next, self.head, done=False, clock=self.clock)

    def identify(self, head: bytes) -> None:
        """The topic's id is told: another one than before means another topic under the same name."""
        if self.head and head and self.head != head:
            self.lose()
        self.head = head or self.head

    def lose(self) -> None:
        """The messages from `next` on are no longer there: go on from the first that is."""
        self._lost = self._lost or self.next is not None
        self.next, self.start = None, OFFSET_BEGINNING
        self.at_end, self.blocked = False, True
        self._question = None

    def take(self, source: str, messages: Sequence[Message], now: int) -> None:
        """Make a chunk of messages that follow each other; those that were read already are left out."""
        if self.blocked:
            return
        if self.next is not None and (messages[0].offset() or 0) < self.next:
            messages = [message for message in messages if (message.offset() or 0) >= self.next]
            if not messages:
                return
        stamps, seen = _effective([message.timestamp()[1] for message in messages], self.clock, now)
        if self._lost:
            self.gaps.append(Gap(self.part, self.clock, None if seen[0] == _NEVER else int(seen[0])))
            self._lost = False
        self.clock = None if seen[-1] == _NEVER else int(seen[-1])
        self.next = (messages[-1].offset() or 0) + 1
        self.at_end, self.stumbles = False, 0
        self.chunks.append(RawChunk(source, b"", _payloads(messages), "bus", wrapping=_wrapping(messages, stamps)))

    def end(self, offset: int) -> None:
        """All before this offset was read, as far as the brokers show it; past it, markers of transactions are none."""
        if self.blocked:
            return
        self.next = max(self.next or 0, offset)
        self.at_end = True
        if self._lost:
            self.gaps.append(Gap(self.part, self.clock, None))
            self._lost = False

    def ask(self, asked: int, end: int) -> None:
        """At `asked` (ms UTC) or later the brokers had messages up to this offset.

        A log that ends before what was read is asked for anew: then its broker says whether it is lost.
        """
        self._question = (asked, end)
        self.blocked = self.blocked or (self.next or 0) > end

    def proof(self) -> Optional[int]:
        """All that was appended until then, ms UTC, has been read; told once for each question."""
        if self._question is None or self.next is None or self.blocked or self.next < self._question[1]:
            return None
        asked, self._question = self._question[0], None
        return asked


def _effective(stamps: Sequence[int], clock: Optional[int], now: int) -> tuple[tuple[int, ...], np.ndarray]:
    """Effective arrivals, and the running maximum after each message (`_NEVER` while there is none).

    A stamp too far ahead of the reader stays on its message, which is refused for it, and moves nothing.
    """
    own = np.maximum(np.array(stamps, dtype=np.int64), 0)
    ahead = own > now + TOLERANCE
    seen = np.maximum.accumulate(np.where(ahead, _NEVER, own))
    seen = np.maximum(seen, _NEVER if clock is None else clock)
    return tuple(np.where(ahead, own, seen).tolist()), seen


def _payloads(messages: Sequence[Message]) -> tuple[bytes, ...]:
    """A tombstone (no payload: a delete, where a topic is compacted) is an empty message."""
    return tuple([message.value() or b"" for message in messages])  # type: ignore[misc]


def _wrapping(messages: Sequence[Message], stamps: tuple[int, ...]) -> Wrapping:
    keys = tuple([message.key() for message in messages])
    headers = tuple([tuple(message.headers() or ()) for message in messages])
    return Wrapping(
        topic=messages[0].topic() or "",
        stamps=stamps,
        keys=keys if any(key is not None for key in keys) else (),  # type: ignore[arg-type]
        headers=headers if any(headers) else (),  # type: ignore[arg-type]
    )
