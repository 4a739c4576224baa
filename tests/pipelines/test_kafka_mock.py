"""The Kafka bus against the mock cluster of its own client library: the real protocol, no broker to start."""

import time

import pytest
from confluent_kafka import Producer

from pipelines.bus import Limits
from pipelines.kafka_bus import KafkaBus
from pipelines.kafka_bus_settings import BrokerSettings
from tests.support.kafka_messages import wall

T0 = 1_772_341_200_000
PARTITIONS = 4
PARTS = tuple(f"t/{number}" for number in range(PARTITIONS))
KEPT = 5 << 20  # bytes that the mock keeps of a partition


@pytest.fixture
def cluster():
    """A producer, within which the cluster lives, and the cluster's address."""
    producer = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = producer.list_topics("t", timeout=30).brokers.values()
    yield producer, f"{broker.host}:{broker.port}"
    producer.flush(30)


@pytest.fixture
def reading(cluster):
    buses = []

    def made(positions=None):
        _, address = cluster
        buses.append(KafkaBus("ils", ["t"], BrokerSettings({"bootstrap.servers": address}), positions or {}, now=wall))
        return Reading(buses[-1])

    yield made
    for bus in buses:
        bus.close()


class Reading:
    """What one bus has given so far."""

    def __init__(self, bus):
        self._bus = bus
        self.messages, self.positions, self.proven, self.gaps = [], {}, {}, []

    def until(self, holds, seconds=60):
        limit = time.monotonic() + seconds
        while not holds(self):
            assert time.monotonic() < limit, "it did not come about in time"
            batch = self._bus.poll(Limits(seconds=0.2))
            if batch is not None:
                for chunk in batch.chunks:
                    self.messages += zip(chunk.wrapping.stamps, chunk.blocks, strict=True)
                self.positions |= {position.part: position for position in batch.positions}
                self.proven |= batch.proven
                self.gaps += batch.gaps
        return self


def publish(producer, numbers, payload=b"%d"):
    for number in numbers:
        while True:
            try:
                producer.produce("t", payload % number, partition=number % PARTITIONS, timestamp=T0 + number)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(60) == 0


def test_all_is_read_once_with_its_stamps_and_the_end_of_each_partition_is_proven(cluster, reading):
    producer, _ = cluster
    publish(producer, range(50_000))

    first = reading().until(lambda one: len(one.messages) >= 50_000 and one.proven.keys() == set(PARTS))

    assert sorted(first.messages) == [(T0 + number, b"%d" % number) for number in range(50_000)]
    assert {part: position.next for part, position in first.positions.items()} == dict.fromkeys(PARTS, 12_500)
    publish(producer, range(50_000, 50_040))
    again = reading(first.positions).until(lambda one: len(one.messages) >= 40)
    assert sorted(again.messages) == [(T0 + number, b"%d" % number) for number in range(50_000, 50_040)]
    assert first.gaps == again.gaps == []


def test_what_the_cluster_dropped_before_it_was_read_is_a_gap(cluster, reading):
    producer, _ = cluster
    publish(producer, range(400))
    first = reading().until(lambda one: len(one.messages) >= 400)
    amount = 2 * PARTITIONS * KEPT // 1_000
    publish(producer, range(400, 400 + amount), b"%d" + b"x" * 1_000)

    again = reading(first.positions).until(lambda one: {gap.part for gap in one.gaps} == set(PARTS))

    assert {gap.after for gap in again.gaps} == {T0 + 396 + number for number in range(PARTITIONS)}
    again.until(lambda one: one.proven.keys() == set(PARTS))
    assert 0 < len(again.messages) < amount
    assert max(again.messages)[0] == T0 + 399 + amount
