"""Kafka as a bus: all partitions of some topics, from the offsets of the work store, never from a consumer group.

Lost messages are never silence: an offset that the brokers no longer have, or another topic under the same name,
is a gap. Offsets that are skipped inside a log (markers of transactions, aborted or compacted messages) are none.
The end of a partition is proven when everything appended before the question was read: then its clock goes on.
"""

import contextlib
import itertools
import time
from typing import Callable, Mapping, Optional, Sequence

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from pipelines.bus import BusBatch, BusError, Limits
from pipelines.kafka_bus_partition import Partition
from pipelines.kafka_bus_questions import NOT_ALLOWED, NOT_THERE, Questions, Retention, not_allowed
from pipelines.kafka_bus_refusals import Refusals
from pipelines.kafka_bus_settings import BrokerSettings
from pipelines.work_values import Position
from transforms.privacy.times import GRACE

_IDLE, _FLOWING, _AGAIN = 5.0, 60.0, 1.0  # seconds from one look at the topics to the next
_PATIENCE = 0.8  # seconds of waiting for answers in one poll
_SLICE = 512  # messages taken from the client at a time: sizes are known only afterwards
_STUMBLES = 3
# Out of range, or the log was cut off and has grown again since.
_LOST = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION})  # noqa: SLF001
_UNREADABLE = frozenset(
    {
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError._BAD_MSG,  # noqa: SLF001
        KafkaError._BAD_COMPRESSION,  # noqa: SLF001
        KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001
    }
)


class KafkaBus:
    """One source of messages; see `Bus`.

    Args:
      source: the source's name.
      topics: what to read, all partitions of each.
      settings: how the brokers are reached.
      positions: part -> where it stands, from the work store.
      now: the wall clock, ms UTC.
      since: stamp, ms UTC, from which a topic that was never read is read; None from its first message.
      owns: which partition numbers are read here; the others have a reader elsewhere.

    Raises:
      BusError: the client does not take the settings.
    """

    def __init__(
        self,
        source: str,
        topics: Sequence[str],
        settings: BrokerSettings,
        positions: Mapping[str, Position],
        *,
        now: Callable[[], int],
        since: Optional[int] = None,
        owns: Callable[[int], bool] = lambda _: True,
    ) -> None:
        self._source = source
        self._topics = sorted(set(topics))
        self._positions = positions
        self._now = now
        self._since = since
        self._owns = owns
        self._listed: Optional[int] = None
        self._partitions: dict[tuple[str, int], Partition] = {}
        self._refusals = Refusals(source)
        self._unsure = True
        self._looked = -_FLOWING
        try:
            self._consumer = Consumer(settings.reading(source) | {"error_cb": self._refusals.hear})
            self._questions = Questions(settings, self._refusals.hear)
        except (KafkaException, ValueError) as error:
            raise settings.refused(str(error)) from None

    def parts(self) -> tuple[str, ...]:
        """All partitions, sorted; none until the brokers have answered for the first time."""
        return tuple(sorted(partition.part for partition in self._partitions.values()))

    def listed(self) -> Optional[int]:
        """When the brokers last told all partitions, ms UTC; None while they have not."""
        return self._listed

    def retention(self, topic: str) -> Retention:
        """How long the topic keeps its messages.

        Raises:
          BusError: the brokers did not say.
        """
        return self._questions.retention(topic)

    def poll(self, limits: Limits) -> Optional[BusBatch]:
        """Take what is there; None when nothing came, no end was proven and nothing is lost.

        Raises:
          BusError: no such topic, not allowed, not signed in, or a message that cannot be read.
        """
        until = time.monotonic() + limits.seconds
        self._questions.listen()
        if self._is_time_to_look():
            self._look()
        self._read(limits, until)
        self._refusals.judge()
        partitions = self._partitions.values()
        proven = {one.part: at - GRACE for one in partitions if (at := one.proof()) is not None}
        moved = [one for one in partitions if one.chunks or one.gaps or one.part in proven]
        if not moved:
            return None
        batch = BusBatch(
            chunks=tuple(chunk for one in moved for chunk in one.chunks),
            positions=tuple(position for one in moved if (position := one.position()) is not None),
            proven=proven,
            gaps=tuple(gap for one in moved for gap in one.gaps),
        )
        for one in moved:
            one.chunks, one.gaps = [], []
        return batch

    def ack(self, batch: BusBatch) -> None:
        """Nothing to do: positions are in the work store alone."""

    def tell(self, reached: Mapping[str, int]) -> None:
        """Store offsets under the source's group, for whoever watches its lag; nothing of ours reads them.

        Args:
          reached: part -> next offset. Where this is not allowed, nothing happens.
        """
        places = [(*part.rpartition("/")[::2], offset) for part, offset in sorted(reached.items())]
        offsets = [TopicPartition(topic, int(number), offset) for topic, number, offset in places]
        with contextlib.suppress(KafkaException, RuntimeError):  # the latter: closed meanwhile
            self._consumer.commit(offsets=offsets, asynchronous=True)

    def close(self) -> None:
        """Let go of connections."""
        self._consumer.close()
        self._questions.close()

    def _is_time_to_look(self) -> bool:
        idle = not self._partitions or any(one.at_end for one in self._partitions.values())
        wait = _AGAIN if self._unsure else _IDLE if idle or self._refusals else _FLOWING
        return time.monotonic() - self._looked >= wait

    def _look(self) -> None:
        """See which partitions there are and how far they go."""
        asked, until = self._now(), time.monotonic() + _PATIENCE
        self._looked, self._unsure = time.monotonic(), True
        found = self._find(until)
        if found is None or not self._add(found, until):
            return
        self._unsure, self._listed = False, asked
        patience = 0 if self._refusals.answered() else _left(until)  # before anything is read: is it the same topic?
        for topic, topic_id in self._questions.topic_ids(self._topics, patience).items():
            for one in self._partitions.values():
                if one.topic == topic:
                    one.identify(topic_id)
        for key, end in self._questions.ends(list(self._partitions), _left(until)).items():
            self._partitions[key].ask(asked, end)

    def _find(self, until: float) -> Optional[dict[str, Sequence[int]]]:
        found: dict[str, Sequence[int]] = {}
        for topic in self._topics:
            try:
                numbers = self._questions.partitions(topic, _left(until))
            except LookupError:
                self._refusals.add(f"topic {topic} is not there; make it, or take it from the source's topics")
                return None
            if numbers is None:
                return None
            found[topic] = [number for number in numbers if self._owns(number)]
        return found

    def _add(self, found: Mapping[str, Sequence[int]], until: float) -> bool:
        """Take new partitions in; one that came later is read from its beginning. False: ask again."""
        known = {one.topic for one in self._partitions.values()} | {part.rpartition("/")[0] for part in self._positions}
        new = [(topic, number) for topic in found for number in found[topic] if (topic, number) not in self._partitions]
        first = [key for key in new if key[0] not in known and self._since is not None]
        ends = self._questions.ends(first, _left(until))  # asked first: what comes after it is read in any case
        starts = self._questions.since(first, self._since or 0, _left(until))
        if not ends.keys() & starts.keys() >= set(first):
            return False
        for topic, number in new:
            start = starts.get((topic, number), OFFSET_BEGINNING)
            one = Partition(topic, number, start=ends[topic, number] if start == OFFSET_END else start, blocked=True)
            position = self._positions.get(one.part)
            if position is not None:
                one.stand(position)
            self._partitions[topic, number] = one
        return True

    def _read(self, limits: Limits, until: float) -> None:
        if any(one.blocked for one in self._partitions.values()):
            self._consumer.assign([one.wanted() for one in self._partitions.values()])
            for one in self._partitions.values():
                one.blocked = False
        room, size = limits.messages, limits.size
        while room > 0 and size > 0:
            got = self._consumer.consume(min(room, _SLICE), timeout=_left(until))
            for (topic, number, sound), run in itertools.groupby(got, key=_place):
                partition, messages = self._partitions.get((topic or "", number or 0)), list(run)
                if partition is None:
                    continue  # an error of no partition: of the group, which nothing here depends on
                if sound:
                    room -= len(messages)
                    size -= partition.take(messages)
                else:
                    self._tell(partition, messages)
            if not _left(until):
                break
        for one in self._partitions.values():
            one.gather(self._source, self._now())

    def _tell(self, one: Partition, messages: Sequence[Message]) -> None:
        for message in messages:
            error = message.error()
            if error is not None:
                self._event(one, error, message.offset() or 0)

    def _event(self, one: Partition, error: KafkaError, offset: int) -> None:
        """What the client says of a partition in between its messages."""
        code = error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001
            one.end(offset)
        elif code in _LOST:
            one.gather(self._source, self._now())
            one.lose()
        elif code in NOT_ALLOWED:
            raise not_allowed(one.topic)
        elif code in NOT_THERE:
            self._unsure = True
        else:
            one.blocked = True  # the client may go on behind what it could not read
            one.stumbles += code in _UNREADABLE
            if one.stumbles >= _STUMBLES:
                message = f"kafka: {one.part}: the message at offset {one.next} cannot be read ({error.name()})"
                raise BusError(message)


def _place(message: Message) -> tuple[Optional[str], Optional[int], bool]:
    return message.topic(), message.partition(), message.error() is None


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())
