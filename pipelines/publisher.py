"""Writes messages to a topic of Kafka or Pub/Sub; what was sent is durable there when `send` returns.

A send that fails may have written some of its messages; sent again, they come twice. Whoever reads them tells them
apart by their content (events) or their key (dead letters).
"""

import functools
import os
from dataclasses import dataclass
from typing import Any, Protocol, Sequence

import grpc  # type: ignore[import-untyped]
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from google.api_core.exceptions import GoogleAPICallError, ServerError, TooManyRequests
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1 import PublisherClient, PubsubMessage
from google.pubsub_v1.services.publisher.transports.grpc import PublisherGrpcTransport

from pipelines.bus import BusError
from pipelines.kafka_bus_settings import BrokerSettings
from pipelines.try_again import TryAgainError

_PATIENCE = 60  # seconds for all of one send
_AT_ONCE = 100  # messages of at most 90 KB each in one request: the service takes 10 MB
_WRITING = {
    "enable.idempotence": True,
    "delivery.timeout.ms": _PATIENCE * 1000,
    "topic.metadata.propagation.max.ms": 5_000,  # a topic that is not there is said soon
    "linger.ms": 5,
}
# No broker answered in time, as far as the client tells it from one that refuses.
_AWAY = {KafkaError._MSG_TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}  # noqa: SLF001 - their names


class PublisherAwayError(BusError, TryAgainError):
    """The topic's brokers or service do not answer now."""


@dataclass(frozen=True, repr=False)
class Outgoing:
    """A message to be written.

    Attributes:
      key: record key or ordering key; empty for none.
      headers: (name, value) pairs, Pub/Sub's attributes.
    """

    data: bytes
    key: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return "Outgoing(<redacted>)"


class Publisher(Protocol):
    """One topic."""

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Write these; all are durable when it returns.

        Raises:
          BusError: not all of them are.
        """


class KafkaPublisher:
    """A topic of Kafka; acknowledged by all replicas that are in sync.

    Raises:
      BusError: the client does not take the settings.
    """

    def __init__(self, settings: BrokerSettings, topic: str) -> None:
        self._topic = topic
        self._failed: list[KafkaError] = []
        try:
            self._producer = Producer({**settings.asking(), **_WRITING})
        except (KafkaException, ValueError) as error:
            raise settings.refused(str(error)) from None

    def send(self, messages: Sequence[Outgoing]) -> None:
        """See `Publisher`."""
        self._failed = []
        for one in messages:
            headers = [(name, value.encode()) for name, value in one.headers]
            self._produce(one.data, one.key.encode() or None, headers)
        left = self._producer.flush(_PATIENCE + 5)
        if left or self._failed:
            why = self._failed[0].name() if self._failed else "no answer"
            what = f"not all messages were taken ({why}); check the brokers and the rights to write there"
            raise self._refused(what, away=all(error.code() in _AWAY for error in self._failed))

    def _produce(self, data: bytes, key: bytes | None, headers: list[Any]) -> None:
        while True:
            try:
                self._producer.produce(self._topic, data, key, headers=headers, on_delivery=self._delivered)
                break
            except BufferError:
                self._producer.poll(1.0)  # its queue is full
            except KafkaException as error:
                raise self._refused(f"does not take a message ({error.args[0].name()})") from None

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failed.append(error)

    def _refused(self, what: str, *, away: bool = False) -> BusError:
        return (PublisherAwayError if away else BusError)(f"kafka: topic {self._topic}: {what}")


class PubsubPublisher:
    """A topic of Pub/Sub, projects/P/topics/T.

    Raises:
      BusError: there are no credentials.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
        transport: Any = PublisherGrpcTransport
        if emulator:
            transport = functools.partial(PublisherGrpcTransport, channel=grpc.insecure_channel(emulator))
        try:
            self._client = PublisherClient(transport=transport() if emulator else None)
        except GoogleAuthError:
            raise self._refused("no valid credentials; check GOOGLE_APPLICATION_CREDENTIALS") from None

    def send(self, messages: Sequence[Outgoing]) -> None:
        """See `Publisher`."""
        for at in range(0, len(messages), _AT_ONCE):
            some = [
                PubsubMessage(data=one.data, ordering_key=one.key, attributes=dict(one.headers))
                for one in messages[at : at + _AT_ONCE]
            ]
            try:
                self._client.publish(topic=self._topic, messages=some, timeout=_PATIENCE)
            except GoogleAPICallError as error:
                name = type(error).__name__
                what = f"not all messages were taken ({name}); check the topic and the right to write there"
                raise self._refused(what, away=isinstance(error, ServerError | TooManyRequests)) from None

    def _refused(self, what: str, *, away: bool = False) -> BusError:
        return (PublisherAwayError if away else BusError)(f"pubsub: {self._topic}: {what}")
