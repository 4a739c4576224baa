"""Kafka as a source of engines, on a real broker: readers share partitions, marks hold where they stand."""

import time

import pytest
from confluent_kafka import OFFSET_INVALID, Consumer, TopicPartition
from confluent_kafka.admin import NewPartitions

from pipelines.bus import BusError
from pipelines.kafka_bus_settings import BrokerSettings
from pipelines.kafka_first import First, first_messages
from pipelines.kafka_reader import KafkaSource
from tests.support.kafka_messages import publish, wall
from tests.support.scripted_partitions import Reads

pytestmark = pytest.mark.engine
T0 = 1_772_341_200_000
HOUR = 3_600_000


@pytest.fixture
def source(kafka, tmp_path):
    settings = tmp_path / "kafka.properties"
    settings.write_text(f"bootstrap.servers={kafka.brokers}\n")

    def made(topic, partitions=3):
        kafka.make_topic(topic, partitions, **{"message.timestamp.type": "CreateTime", "retention.ms": -1})
        return KafkaSource("ils", (topic,), str(settings), (), None, 2, "digest")

    return made


class Reading:
    """A reader, and what it has delivered so far; read until something holds."""

    def __init__(self, source, mark=None):
        self.reader = source.create_reader(Reads(), mark)
        self._source = source
        self.delivered = []

    def until(self, holds, seconds=120):
        limit = time.monotonic() + seconds
        while not holds(self):
            assert time.monotonic() < limit, "it did not come about in time"
            if self.reader.advance():
                self.delivered.append(self.reader.get_current())
        return self

    @property
    def payloads(self):
        return [block for one in self.delivered for chunk in one.chunks for block in chunk.blocks]

    @property
    def hours(self):
        return [one.passage.until for one in self.delivered if one.passage is not None]

    def mark(self):
        coder = self._source.get_checkpoint_mark_coder()
        return coder.decode(coder.encode(self.reader.get_checkpoint_mark()))

    def close(self):
        self.reader.close()


def test_two_readers_share_a_topic_and_go_on_from_their_marks_with_what_is_added(kafka, source):
    one = source("reader.shared")
    publish(
        kafka.brokers,
        "reader.shared",
        {part: [b"%d:%d" % (part, at) for at in range(40)] for part in range(3)},
        timestamp=T0,
    )
    first, second = map(Reading, one.split(20))

    first.until(lambda reading: len(reading.payloads) >= 80)
    second.until(lambda reading: len(reading.payloads) >= 40)
    assert {payload[:1] for payload in first.payloads} == {b"0", b"2"}
    assert {payload[:1] for payload in second.payloads} == {b"1"}
    marks = [first.mark(), second.mark()]
    first.close()
    second.close()
    for future in kafka.admin.create_partitions([NewPartitions("reader.shared", 4)]).values():
        future.result(60)
    publish(kafka.brokers, "reader.shared", {part: [b"%d:new" % part] for part in range(3)}, timestamp=T0 + HOUR)
    publish(kafka.brokers, "reader.shared", {3: [b"3:new"]}, timestamp=T0 + HOUR)

    again = [Reading(reader, mark) for reader, mark in zip(one.split(20), marks, strict=True)]
    for reading in again:
        reading.until(lambda reading: len(reading.payloads) >= 2)

    assert [sorted(reading.payloads) for reading in again] == [[b"0:new", b"2:new"], [b"1:new", b"3:new"]]
    for reading in again:
        reading.close()


def test_a_reader_without_a_partition_proves_the_silence_of_its_own(kafka, source):
    (_, idle) = source("reader.alone", 1).split(20)

    reading = Reading(idle).until(lambda reading: reading.hours)

    assert reading.payloads == []
    assert abs(reading.hours[0] - (wall() - HOUR)) < 2 * HOUR
    reading.close()


def test_the_brokers_are_told_for_who_watches_lag_and_not_before_a_checkpoint_is_durable(kafka, source):
    one = source("reader.told", 2)
    publish(kafka.brokers, "reader.told", {0: [b"a", b"b"], 1: [b"c"]}, timestamp=T0)
    watching = Consumer({"bootstrap.servers": kafka.brokers, "group.id": "carrel.ils", "log_level": 0})

    def told():
        places = [TopicPartition("reader.told", number) for number in (0, 1)]
        return [place.offset for place in watching.committed(places, timeout=30)]

    (reading, other) = map(Reading, one.split(20))
    reading.until(lambda reading: len(reading.payloads) >= 2)
    first, second = (reading.reader.get_checkpoint_mark() for _ in range(2))

    assert [first.is_to_be_told, second.is_to_be_told] == [True, False], "once in a while"
    assert told() == [OFFSET_INVALID] * 2
    first.finalize_checkpoint()
    limit = time.monotonic() + 60
    while told() != [2, OFFSET_INVALID]:
        assert time.monotonic() < limit
        time.sleep(0.2)

    for each in (reading, other):
        each.close()
    first.finalize_checkpoint()  # the engine's word may come when the reader is gone
    watching.close()


def test_the_first_messages_tell_where_a_clean_start_can_begin(kafka, source):
    source("reader.first", 2)
    settings = BrokerSettings({"bootstrap.servers": kafka.brokers})
    empty = first_messages(["reader.first"], settings)
    publish(kafka.brokers, "reader.first", {0: [b"a"]}, timestamp=T0 + 5)
    publish(kafka.brokers, "reader.first", {1: [b"b", b"c"]}, timestamp=T0)
    full = first_messages(["reader.first"], settings)
    publish(kafka.brokers, "reader.first", {1: [b"d"]}, timestamp=T0 + 9)
    for future in kafka.admin.delete_records([TopicPartition("reader.first", 1, 2)]).values():
        future.result(60)

    assert empty == First(None, truncated=False)
    assert full == First(T0, truncated=False)
    assert first_messages(["reader.first"], settings) == First(T0 + 5, truncated=True)
    with pytest.raises(BusError, match=r"topic reader\.nowhere is not there"):
        first_messages(["reader.nowhere"], settings)
