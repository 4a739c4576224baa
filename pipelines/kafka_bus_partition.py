"""What the bus knows of one partition, and how its messages become chunks: positions, clock, gaps, proven end."""

import struct
from dataclasses import dataclass, field
from typing import Any, Optional, Sequence

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Message, TopicPartition

from pipelines.bus import Gap
from pipelines.work_values import Position
from schemas.chunks import RawChunk, Wrapping
from transforms.privacy.times import TOLERANCE

_HEAD = struct.Struct(">16si")
_NEVER = np.iinfo(np.int64).min


@dataclass
class Partition:
    """One topic partition as far as it was read.

    Attributes:
      next: offset to read next; None until the first message or end was seen.
      start: where to begin while `next` is None.
      clock: running maximum of the stamps, ms UTC; None while there is none.
      topic_id: 16 bytes; empty while the brokers have not told it.
      epoch: which term of the partition's leader wrote the last message; -1 when not known. With it the brokers
        tell a log that lost its tail and grew again.
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
    topic_id: bytes = b""
    epoch: int = -1
    at_end: bool = False
    blocked: bool = False
    stumbles: int = 0
    chunks: list[RawChunk] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    _lost: bool = False
    _payloads: list[bytes] = field(default_factory=list)
    _stamps: list[int] = field(default_factory=list)
    _keys: list[Optional[bytes]] = field(default_factory=list)
    _headers: list[Any] = field(default_factory=list)
    _question: Optional[tuple[int, int]] = None

    @property
    def part(self) -> str:
        """Its name in positions."""
        return f"{self.topic}/{self.number}"

    def wanted(self) -> TopicPartition:
        """Where to read on."""
        if self.next is None:
            return TopicPartition(self.topic, self.number, self.start)
        return TopicPartition(self.topic, self.number, self.next, leader_epoch=self.epoch)

    def position(self) -> Optional[Position]:
        """Where it stands; None when nothing is known of it yet."""
        if self.next is None:
            return None
        known = self.topic_id or self.epoch >= 0
        head = _HEAD.pack(self.topic_id, self.epoch) if known else b""
        return Position(self.part, self.next, head, done=False, clock=self.clock)

    def stand(self, position: Position) -> None:
        """Go on from a position."""
        self.next, self.clock = position.next, position.clock
        if position.head:
            told, self.epoch = _HEAD.unpack(position.head)
            self.topic_id = told if any(told) else b""

    def identify(self, topic_id: bytes) -> None:
        """The topic's id is told: another one than before means another topic under the same name."""
        if self.topic_id and topic_id and self.topic_id != topic_id:
            self.lose()
        self.topic_id = topic_id or self.topic_id

    def lose(self) -> None:
        """The messages from `next` on are no longer there: go on from the first that is. `gather` first."""
        self._lost = self._lost or self.next is not None
        self.next, self.start, self.epoch = None, OFFSET_BEGINNING, -1
        self.at_end, self.blocked = False, True
        self._question = None

    def take(self, messages: Sequence[Message]) -> int:
        """Keep the columns of messages that follow each other; their bytes. What was read already is left out."""
        if self.blocked:
            return 0
        if self.next is not None and (messages[0].offset() or 0) < self.next:
            messages = [message for message in messages if (message.offset() or 0) >= self.next]
            if not messages:
                return 0
        # A tombstone (no payload: a delete, where a topic is compacted) is an empty message.
        payloads = [message.value() or b"" for message in messages]
        self._payloads += payloads
        self._stamps += [message.timestamp()[1] for message in messages]
        self._keys += [message.key() for message in messages]
        self._headers += [message.headers() for message in messages]
        self.next = (messages[-1].offset() or 0) + 1
        self.epoch = _epoch(messages[-1])
        self.at_end, self.stumbles = False, 0
        return sum(map(len, payloads))

    def gather(self, source: str, now: int) -> None:
        """Make a chunk of what was taken; a gap before it ends with its first arrival.

        Args:
          now: the reader's clock, ms UTC.
        """
        if not self._stamps:
            return
        stamps, seen = _effective(self._stamps, self.clock, now)
        if self._lost:
            self.gaps.append(Gap(self.part, self.clock, None if seen[0] == _NEVER else int(seen[0])))
            self._lost = False
        self.clock = None if seen[-1] == _NEVER else int(seen[-1])
        wrapping = Wrapping(
            topic=self.topic,
            stamps=stamps,
            keys=tuple(self._keys) if any(key is not None for key in self._keys) else (),
            headers=tuple(tuple(one or ()) for one in self._headers) if any(self._headers) else (),
        )
        self.chunks.append(RawChunk(source, b"", tuple(self._payloads), "bus", wrapping=wrapping))
        self._payloads, self._stamps, self._keys, self._headers = [], [], [], []

    def end(self, offset: int) -> None:
        """All before this offset was read, as far as the brokers show it; past it, markers of transactions are none."""
        if self.blocked:
            return
        if offset > (self.next or 0):
            self.next, self.epoch = offset, -1  # a marker's term is not told
        elif self.next is None:
            self.next = offset
        self.at_end = True
        if self._lost and not self._stamps:
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


def _epoch(message: Message) -> int:
    epoch = message.leader_epoch()
    return -1 if epoch is None else epoch


def _effective(stamps: Sequence[int], clock: Optional[int], now: int) -> tuple[tuple[int, ...], np.ndarray]:
    """Effective arrivals, and the running maximum after each message (`_NEVER` while there is none).

    A stamp too far ahead of the reader stays on its message, which is refused for it, and moves nothing.
    """
    own = np.maximum(np.array(stamps, dtype=np.int64), 0)
    ahead = own > now + TOLERANCE
    seen = np.maximum.accumulate(np.where(ahead, _NEVER, own))
    seen = np.maximum(seen, _NEVER if clock is None else clock)
    return tuple(np.where(ahead, own, seen).tolist()), seen
