"""What the bus asks the brokers about topics: their partitions, ids, ends and how long they keep messages.

No answer in time is no error here: it is asked again. No text of the client is passed on: it may quote addresses.
"""

import base64
import concurrent.futures
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Optional, Sequence

from confluent_kafka import (
    OFFSET_END,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from pipelines.bus import BusError
from pipelines.kafka_bus_settings import BrokerSettings
from pipelines.try_again import TryAgainError

NOT_THERE = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - the client's own codes begin so
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)
NOT_ALLOWED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})
_AWAY = frozenset({KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError.REQUEST_TIMED_OUT})  # noqa: SLF001
_LONG = 5.0  # seconds a question may stay open that nobody waits for


class BrokersAwayError(BusError, TryAgainError):
    """The brokers do not answer now."""


@dataclass(frozen=True)
class Retention:
    """How long a topic keeps its messages.

    Attributes:
      time: ms; None without end.
      size: bytes of a partition; None without end. With one, `time` promises nothing.
      compacted: whether older messages of a key go before that.
    """

    time: Optional[int]
    size: Optional[int]
    compacted: bool


class Questions:
    """Asks over connections of its own: on the consumer's a question waits until a fetch is answered.

    Args:
      heard: told each error that concerns no partition.
    """

    def __init__(self, settings: BrokerSettings, heard: Callable[[KafkaError], None]) -> None:
        self._admin = AdminClient(settings.asking() | {"error_cb": heard})
        self._asked: dict[str, concurrent.futures.Future[Any]] = {}

    def close(self) -> None:
        """Let go of connections, now and in this thread."""
        self._asked = {}
        vars(self).pop("_admin", None)  # the only one that holds it

    def listen(self) -> None:
        """Let errors be told."""
        self._admin.poll(0)

    def partitions(self, topic: str, seconds: float) -> Optional[Sequence[int]]:
        """The partitions of a topic; None without an answer in time.

        Raises:
          LookupError: there is no such topic.
          BusError: it must not be read.
        """
        try:
            answer = self._admin.list_topics(topic, timeout=seconds).topics[topic]
        except KafkaException:
            return None
        code = None if answer.error is None else answer.error.code()
        if code in NOT_THERE:
            raise LookupError(topic)
        if code in NOT_ALLOWED:
            raise not_allowed(topic)
        return sorted(answer.partitions) if code is None and answer.partitions else None

    def topic_ids(self, topics: Sequence[str], seconds: float) -> Mapping[str, bytes]:
        """The ids of topics that are told in time; a later answer comes with the next call, some brokers give none."""
        rest = [topic for topic in topics if topic not in self._asked]
        self._asked |= self._admin.describe_topics(TopicCollection(rest), request_timeout=_LONG) if rest else {}
        concurrent.futures.wait(self._asked.values(), timeout=seconds)
        done = {topic: future for topic, future in self._asked.items() if future.done()}
        self._asked = {topic: future for topic, future in self._asked.items() if topic not in done}
        return {topic: _id_bytes(future.result()) for topic, future in done.items() if future.exception() is None}

    def ends(self, parts: Sequence[tuple[str, int]], seconds: float) -> Mapping[tuple[str, int], int]:
        """The offset after the last message of each part that is told, open and aborted transactions included.

        What a transaction holds back was appended all the same: the end that a reader of committed messages
        is told would prove too much.
        """
        told = self._offsets(parts, OffsetSpec.latest(), seconds)
        # Of a broker that falls silent in the middle the client may tell, without an error, that it knows no offset.
        return {part: offset for part, offset in told.items() if offset >= 0}

    def since(self, parts: Sequence[tuple[str, int]], stamp: int, seconds: float) -> Mapping[tuple[str, int], int]:
        """The first offset of each part with this stamp (ms UTC) or a later one; `OFFSET_END` where there is none."""
        told = self._offsets(parts, OffsetSpec.for_timestamp(stamp), seconds)
        return {part: offset for part, offset in told.items() if offset >= 0 or offset == OFFSET_END}

    def _offsets(
        self, parts: Sequence[tuple[str, int]], spec: OffsetSpec, seconds: float
    ) -> dict[tuple[str, int], int]:
        if not parts or not seconds:
            return {}
        asked = self._admin.list_offsets(
            {TopicPartition(*part): spec for part in parts},
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=seconds,
        )
        concurrent.futures.wait(asked.values(), timeout=seconds)
        return {
            (part.topic, part.partition): future.result().offset
            for part, future in asked.items()
            if future.done() and future.exception() is None
        }

    def retention(self, topic: str, seconds: float = 5.0) -> Retention:
        """How long the topic keeps its messages.

        Raises:
          BrokersAwayError: the brokers did not answer in time.
          BusError: the brokers did not say.
        """
        resource = ConfigResource(ResourceType.TOPIC, topic)
        future = self._admin.describe_configs([resource], request_timeout=seconds)[resource]
        try:
            told = {name: entry.value for name, entry in future.result(timeout=seconds + 1).items()}
        except (KafkaException, concurrent.futures.TimeoutError) as error:
            if isinstance(error, concurrent.futures.TimeoutError) or error.args[0].code() in _AWAY:
                message = f"kafka: topic {topic}: the brokers do not answer; run again when they are back"
                raise BrokersAwayError(message) from None
            message = f"kafka: topic {topic}: the brokers do not say how long it keeps messages; allow DescribeConfigs"
            raise BusError(message) from None
        policy = told.get("cleanup.policy", "delete")
        deletes = "delete" in policy
        return Retention(
            time=_bound(told.get("retention.ms")) if deletes else None,
            size=_bound(told.get("retention.bytes")) if deletes else None,
            compacted="compact" in policy,
        )


def not_allowed(topic: str) -> BusError:
    """What to say of a topic that must not be read."""
    return BusError(f"kafka: topic {topic}: reading it is not allowed; grant Read and Describe on it")


def _bound(value: Optional[str]) -> Optional[int]:
    bound = -1 if value is None else int(value)
    return None if bound < 0 else bound


def _id_bytes(description: Any) -> bytes:
    """The topic's id; none where the brokers know none."""
    text = str(description.topic_id)
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return raw if any(raw) else b""
