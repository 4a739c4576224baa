"""The oldest messages that brokers still have of some topics: where a clean start can begin at all."""

import time
from dataclasses import dataclass
from typing import Optional, Sequence

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from pipelines.bus import BusError
from pipelines.kafka_bus_settings import BrokerSettings

_SECONDS = 20.0


@dataclass(frozen=True)
class First:
    """What is known of the oldest messages of all partitions.

    Attributes:
      stamp: the earliest stamp among them, ms UTC; None where there is no message.
      truncated: whether a partition once had older ones.
    """

    stamp: Optional[int]
    truncated: bool


def first_messages(topics: Sequence[str], settings: BrokerSettings) -> First:
    """Look at the first message of each partition.

    Raises:
      BusError: no such topic, or no answer in time.
    """
    try:
        consumer = Consumer(settings.reading("first"))
    except (KafkaException, ValueError) as error:
        raise settings.refused(str(error)) from None
    try:
        parts = []
        for topic in topics:
            found = consumer.list_topics(topic, timeout=_SECONDS).topics[topic]
            if found.error is not None:
                text = f"kafka: topic {topic} is not there, or may not be read"
                raise BusError(text)
            parts += [TopicPartition(topic, number, OFFSET_BEGINNING) for number in sorted(found.partitions)]
        truncated = any(consumer.get_watermark_offsets(part, timeout=_SECONDS)[0] > 0 for part in parts)
        return First(_earliest(consumer, parts), truncated)
    except KafkaException:
        text = "kafka: the brokers do not answer; check the address and that they run"
        raise BusError(text) from None
    finally:
        consumer.close()


def _earliest(consumer: Consumer, parts: Sequence[TopicPartition]) -> Optional[int]:
    stamps, waiting = [], {(part.topic, part.partition) for part in parts}
    consumer.assign(list(parts))
    until = time.monotonic() + _SECONDS
    while waiting:
        if time.monotonic() > until:
            text = "kafka: the brokers do not give their first messages in time; try again"
            raise BusError(text)
        for message in consumer.consume(100, timeout=0.2):
            error = message.error()
            place = (message.topic(), message.partition())
            if error is None and place in waiting:
                stamps.append(message.timestamp()[1])
            elif error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                continue
            waiting.discard(place)
    return min(stamps, default=None)
