"""The Kafka bus against a real broker: what is lost, what is proven, and what it survives."""

import itertools
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    NewPartitions,
    ResourcePatternType,
    ResourceType,
)

from pipelines.bus import BusError, Gap, Limits
from pipelines.kafka_bus import KafkaBus
from pipelines.kafka_bus_questions import Retention
from pipelines.kafka_bus_settings import BrokerSettings
from tests.support.kafka_messages import POLL, all_proven, amount, gather, publish, wall
from tests.support.kafka_server import PASSWORD, USER
from transforms.privacy.times import GRACE

pytestmark = pytest.mark.engine
MINUTE = 60_000
_NAMES = (f"events.{number}" for number in itertools.count())


@pytest.fixture
def topic():
    return next(_NAMES)


@pytest.fixture
def reading(kafka):
    buses = []

    def made(*topics, positions=None, now=wall, settings=None, since=None):
        given = BrokerSettings(settings or {"bootstrap.servers": kafka.brokers})
        buses.append(KafkaBus("folio", topics, given, positions or {}, now=now, since=since))
        return buses[-1]

    yield made
    for bus in buses:
        bus.close()


def numbered(start, end):
    return [b"%d" % at for at in range(start, end)]


def sasl(kafka, password):
    return {
        "bootstrap.servers": kafka.sasl_brokers,
        "security.protocol": "sasl_plaintext",
        "sasl.mechanism": "PLAIN",
        "sasl.username": USER,
        "sasl.password": password,
    }


def delete_before(kafka, topic, offset, partition=0):
    for future in kafka.admin.delete_records([TopicPartition(topic, partition, offset)]).values():
        future.result(timeout=30)


def test_all_partitions_of_several_topics_come_once_and_in_order_over_restarts(kafka, reading):
    topics = [kafka.make_topic(next(_NAMES), partitions) for partitions in (1, 3)]
    publish(kafka.brokers, topics[0], {0: [b"a%d" % at for at in range(3000)]})
    publish(kafka.brokers, topics[1], {part: [b"%d:%d" % (part, at) for at in range(3000)] for part in range(3)})
    payloads, positions = [], {}

    for seen in (2500, 7000, 12_000):
        bus = reading(*topics, positions=positions)
        got = gather(bus, amount(seen - len(payloads)), limits=Limits(messages=900, seconds=0.2))
        payloads += got.payloads
        positions |= got.positions

    assert len(payloads) == len(set(payloads)) == 12_000
    assert [one for one in payloads if one.startswith(b"1:")] == [b"1:%d" % at for at in range(3000)]
    assert {part: position.next for part, position in positions.items()} == {
        f"{topics[0]}/0": 3000, **{f"{topics[1]}/{part}": 3000 for part in range(3)},
    }  # fmt: skip


def test_a_partition_that_is_added_while_running_is_read_from_its_beginning(kafka, reading, topic):
    kafka.make_topic(topic)
    publish(kafka.brokers, topic, {0: [b"old"]})
    bus = reading(topic, since=wall() - MINUTE)
    gather(bus, amount(1))
    for future in kafka.admin.create_partitions([NewPartitions(topic, 2)]).values():
        future.result(timeout=30)
    publish(kafka.brokers, topic, {1: [b"new"]}, timestamp=wall() - 60 * MINUTE)

    got = gather(bus, amount(1))

    assert got.payloads == [b"new"]
    assert bus.parts() == (f"{topic}/0", f"{topic}/1")


def test_a_topic_that_was_never_read_is_read_from_the_given_time(kafka, reading, topic):
    kafka.make_topic(topic, 2)
    now = wall()
    for minutes in (-50, -40, -30):
        publish(kafka.brokers, topic, {0: [b"%d" % minutes]}, timestamp=now + minutes * MINUTE)
    publish(kafka.brokers, topic, {1: [b"all older"]}, timestamp=now - 50 * MINUTE)
    bus = reading(topic, since=now - 40 * MINUTE)

    got = gather(bus, all_proven(bus))

    assert got.payloads == [b"-40", b"-30"]
    assert {part: position.next for part, position in got.positions.items()} == {f"{topic}/0": 3, f"{topic}/1": 1}


def test_deleted_records_are_a_gap_between_the_messages_around_them(kafka, reading, topic):
    kafka.make_topic(topic)
    now = wall()
    publish(kafka.brokers, topic, {0: numbered(0, 10)}, timestamp=now - 30 * MINUTE)
    before = gather(reading(topic), amount(10))
    publish(kafka.brokers, topic, {0: numbered(10, 20)}, timestamp=now - 20 * MINUTE)
    publish(kafka.brokers, topic, {0: numbered(20, 30)}, timestamp=now - 10 * MINUTE)
    delete_before(kafka, topic, 20)

    after = gather(reading(topic, positions=before.positions), amount(10))

    assert after.gaps == [Gap(f"{topic}/0", now - 30 * MINUTE, now - 10 * MINUTE)]
    assert after.payloads == numbered(20, 30)


def test_records_deleted_under_a_running_reader_are_a_gap(kafka, reading, topic):
    kafka.make_topic(topic, 2)
    publish(kafka.brokers, topic, {0: [bytes(900_000)] * 160, 1: numbered(0, 10)})  # more than the client fetches ahead
    bus = reading(topic)
    gather(bus, amount(1), limits=Limits(messages=1, seconds=0.2))
    held = gather(bus, amount(5), limits=Limits(messages=5, seconds=0.2))
    delete_before(kafka, topic, 160)
    publish(kafka.brokers, topic, {0: [b"after"]})

    got = gather(bus, lambda got: b"after" in got.payloads)

    assert held.positions
    assert [gap.part for gap in got.gaps] == [f"{topic}/0"]


def test_a_gap_before_which_nothing_stands_is_told_without_an_end(kafka, reading, topic):
    kafka.make_topic(topic)
    publish(kafka.brokers, topic, {0: numbered(0, 10)})
    before = gather(reading(topic), lambda got: len(got.payloads) == 10)
    publish(kafka.brokers, topic, {0: numbered(10, 20)})
    delete_before(kafka, topic, 20)

    after = gather(reading(topic, positions=before.positions), lambda got: bool(got.gaps))

    assert after.gaps == [Gap(f"{topic}/0", before.stamps[-1], None)]
    assert after.positions[f"{topic}/0"].next == 20
    assert after.positions[f"{topic}/0"].clock == before.stamps[-1]


def test_records_that_were_read_and_then_deleted_are_no_gap(kafka, reading, topic):
    kafka.make_topic(topic)
    publish(kafka.brokers, topic, {0: numbered(0, 10)})
    bus = reading(topic)
    before = gather(bus, all_proven(bus))
    delete_before(kafka, topic, 10)
    publish(kafka.brokers, topic, {0: [b"next"]})

    got = gather(reading(topic, positions=before.positions), amount(1))

    assert got.payloads == [b"next"]
    assert not got.gaps


@pytest.mark.parametrize("messages", [5, 40], ids=["shorter", "longer"])
def test_a_topic_made_anew_while_nobody_read_is_a_gap_and_read_from_its_beginning(kafka, reading, topic, messages):
    kafka.make_topic(topic)
    publish(kafka.brokers, topic, {0: numbered(0, 20)})
    before = gather(reading(topic), amount(20))
    kafka.delete_topic(topic)
    kafka.make_topic(topic)
    publish(kafka.brokers, topic, {0: [b"new"] * messages})

    after = gather(reading(topic, positions=before.positions), amount(messages))

    assert after.gaps == [Gap(f"{topic}/0", before.stamps[-1], after.stamps[0])]
    assert after.payloads == [b"new"] * messages
    assert after.positions[f"{topic}/0"].head[:16] != before.positions[f"{topic}/0"].head[:16]


@pytest.mark.parametrize("messages", [5, 40], ids=["shorter", "longer"])
def test_a_topic_made_anew_under_a_running_reader_is_a_gap_and_read_from_its_beginning(kafka, reading, topic, messages):
    kafka.make_topic(topic)
    publish(kafka.brokers, topic, {0: numbered(0, 20)})
    bus = reading(topic)
    gather(bus, all_proven(bus))
    kafka.delete_topic(topic)
    kafka.make_topic(topic)
    publish(kafka.brokers, topic, {0: [b"new%d" % at for at in range(messages)]})

    got = gather(bus, lambda got: bool(got.gaps) and len(set(got.payloads)) == messages, seconds=120)

    assert [gap.part for gap in got.gaps] == [f"{topic}/0"]
    assert got.positions[f"{topic}/0"].next == messages


def test_no_end_is_proven_beyond_what_a_writing_producer_has_appended(kafka, reading, topic):
    kafka.make_topic(topic)
    producer = Producer({"bootstrap.servers": kafka.brokers, "linger.ms": 0, "log_level": 0})
    bus = reading(topic)
    appended, broken, proofs = [], [], 0
    until = time.monotonic() + 15
    while time.monotonic() < until:
        producer.produce(topic, b"%d" % len(appended))
        producer.flush(10)
        appended.append(wall())
        batch = bus.poll(Limits(messages=50, seconds=0.05))
        if batch is not None and batch.proven:
            proofs += 1
            read, clock = batch.positions[0].next, batch.proven[f"{topic}/0"] + GRACE
            broken += [at for at in appended[read:] if at < clock]

    assert proofs
    assert not broken


def test_an_open_transaction_holds_the_proof_back_and_an_aborted_one_is_never_seen(kafka, reading, topic):
    kafka.make_topic(topic)
    publish(kafka.brokers, topic, {0: [b"plain"]})
    producer = Producer({"bootstrap.servers": kafka.brokers, "transactional.id": topic, "log_level": 0})
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce(topic, b"aborted", partition=0)
    producer.flush(30)
    producer.abort_transaction(30)
    producer.begin_transaction()
    producer.produce(topic, b"committed", partition=0)
    producer.flush(30)
    bus = reading(topic)
    first = gather(bus, amount(1))
    until = time.monotonic() + 12
    while time.monotonic() < until:
        held = bus.poll(POLL)
        assert held is None or not (held.proven or held.chunks)

    producer.commit_transaction(30)
    end = 5  # three messages, two markers
    rest = gather(bus, lambda got: got.positions.keys() and got.positions[f"{topic}/0"].next == end)

    assert rest.proven.keys() == {f"{topic}/0"}
    assert first.payloads + rest.payloads == [b"plain", b"committed"]
    assert not rest.gaps


def test_markers_of_transactions_at_the_end_that_expire_are_no_gap(kafka, reading, topic):
    kafka.make_topic(topic)
    producer = Producer({"bootstrap.servers": kafka.brokers, "transactional.id": topic, "log_level": 0})
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce(topic, b"one", partition=0)
    producer.commit_transaction(30)
    bus = reading(topic)
    before = gather(bus, all_proven(bus))
    delete_before(kafka, topic, 2)
    publish(kafka.brokers, topic, {0: [b"two"]})

    after = gather(reading(topic, positions=before.positions), amount(1))

    assert before.payloads + after.payloads == [b"one", b"two"]
    assert not after.gaps


def test_create_time_out_of_order_is_a_running_maximum_and_append_time_is_the_brokers(kafka, reading):
    created, appended = next(_NAMES), next(_NAMES)
    kafka.make_topic(created, message_timestamp_type="CreateTime")
    kafka.make_topic(appended, message_timestamp_type="LogAppendTime")
    now = wall()
    for topic, minutes in itertools.product((created, appended), (-9, -5, -8)):
        publish(kafka.brokers, topic, {0: [b"x"]}, timestamp=now + minutes * MINUTE)

    by_producer = gather(reading(created), amount(3))
    by_broker = gather(reading(appended), amount(3))

    assert by_producer.stamps == [now - 9 * MINUTE, now - 5 * MINUTE, now - 5 * MINUTE]
    assert all(abs(stamp - now) < 2 * MINUTE for stamp in by_broker.stamps)
    assert by_broker.stamps == sorted(by_broker.stamps)


def test_keys_headers_and_tombstones_come_as_they_were_published(kafka, reading, topic):
    kafka.make_topic(topic, cleanup_policy="compact")
    publish(kafka.brokers, topic, {0: [b"one", None]}, key=b"k\xff", headers=[("a", b"1"), ("b", None)])

    got = gather(reading(topic), amount(2))

    wrapping = got.batches[0].chunks[0].wrapping
    assert got.payloads == [b"one", b""]
    assert wrapping.keys[0] == b"k\xff"
    assert wrapping.headers[0] == (("a", b"1"), ("b", None))


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd", "snappy"])
def test_reading_goes_on_inside_a_compressed_batch(kafka, reading, topic, codec):
    kafka.make_topic(topic)
    producer = Producer({"bootstrap.servers": kafka.brokers, "compression.type": codec, "linger.ms": 500})
    for payload in numbered(0, 500):
        producer.produce(topic, payload, partition=0)
    producer.flush(30)
    before = gather(reading(topic), amount(123), limits=Limits(messages=123, seconds=0.2))

    after = gather(reading(topic, positions=before.positions), amount(500 - len(before.payloads)))

    assert before.payloads + after.payloads == numbered(0, 500)


def test_how_long_a_topic_keeps_its_messages_is_told(kafka, reading):
    timed = kafka.make_topic(next(_NAMES), retention_ms=3_456_000_000)
    sized = kafka.make_topic(next(_NAMES), retention_ms=-1, retention_bytes=1_000_000)
    compacted = kafka.make_topic(next(_NAMES), cleanup_policy="compact")
    bus = reading(timed)

    assert bus.retention(timed) == Retention(3_456_000_000, None, compacted=False)
    assert bus.retention(sized) == Retention(None, 1_000_000, compacted=False)
    assert bus.retention(compacted) == Retention(None, None, compacted=True)
    with pytest.raises(BusError, match="nowhere"):
        bus.retention("nowhere")


def test_a_topic_that_is_not_there_is_told_in_one_line_and_not_made(kafka, reading):
    with pytest.raises(BusError, match=r"^sources\.folio: kafka: topic nowhere is not there; [^\n]*$"):
        gather(reading("nowhere"), amount(1), seconds=20)

    assert "nowhere" not in kafka.admin.list_topics(timeout=10).topics


def test_signing_in_reads_and_a_wrong_password_is_told_in_one_line_without_it(kafka, reading, topic, capfd):
    kafka.make_topic(topic)
    publish(kafka.brokers, topic, {0: [b"x"]})

    got = gather(reading(topic, settings=sasl(kafka, PASSWORD)), amount(1))
    with pytest.raises(BusError) as refused:
        gather(reading(topic, settings=sasl(kafka, "wrong-horse")), amount(1), seconds=20)

    assert got.payloads == [b"x"]
    said = str(refused.value)
    assert "sasl.password" in said
    assert not [secret for secret in ("wrong-horse", PASSWORD, USER, "\n", "127.0.0.1") if secret in said]
    assert capfd.readouterr() == ("", "")


def test_a_topic_that_must_not_be_read_is_told_in_one_line(kafka, reading, topic):
    kafka.make_topic(topic)
    publish(kafka.brokers, topic, {0: [b"x"]})
    denied = AclBinding(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        f"User:{USER}",
        "*",
        AclOperation.READ,
        AclPermissionType.DENY,
    )
    for future in kafka.admin.create_acls([denied]).values():
        future.result(timeout=30)

    with pytest.raises(BusError, match=rf"^kafka: topic {topic}: reading it is not allowed; [^\n]*$"):
        gather(reading(topic, settings=sasl(kafka, PASSWORD)), amount(1), seconds=20)


def test_no_right_to_any_consumer_group_is_needed(kafka, reading, topic):
    kafka.make_topic(topic)
    publish(kafka.brokers, topic, {0: [b"x"]})
    denied = AclBinding(
        ResourceType.GROUP,
        "*",
        ResourcePatternType.LITERAL,
        f"User:{USER}",
        "*",
        AclOperation.ALL,
        AclPermissionType.DENY,
    )
    for future in kafka.admin.create_acls([denied]).values():
        future.result(timeout=30)
    bus = reading(topic, settings=sasl(kafka, PASSWORD))

    got = gather(bus, lambda got: bool(got.payloads) and all_proven(bus)(got))

    assert got.payloads == [b"x"]


def test_an_idle_bus_uses_hardly_any_cpu(kafka, reading):
    topics = [kafka.make_topic(next(_NAMES), 8) for _ in range(3)]
    bus = reading(*topics)
    gather(bus, all_proven(bus))
    cpu, at = time.process_time(), time.monotonic()
    while time.monotonic() - at < 12:
        bus.poll(Limits(seconds=0.5))

    assert (time.process_time() - cpu) / (time.monotonic() - at) < 0.02


def test_a_paused_broker_is_waited_for_in_bounded_steps_and_nothing_is_lost(kafka, reading, topic):
    kafka.make_topic(topic, 2)
    publish(kafka.brokers, topic, {part: numbered(0, 100) for part in range(2)})
    bus = reading(topic)
    before = gather(bus, amount(200))
    kafka.pause()
    try:
        lasted = []
        for _ in range(12):
            at = time.monotonic()
            batch = bus.poll(Limits(seconds=0.5))
            lasted.append(time.monotonic() - at)
            assert batch is None or not batch.proven
    finally:
        kafka.resume()
    publish(kafka.brokers, topic, {part: numbered(100, 110) for part in range(2)})

    after = gather(bus, amount(20))

    assert max(lasted) < 1.5
    assert sorted(before.payloads + after.payloads) == sorted(numbered(0, 110) * 2)
    assert not after.gaps


def test_a_broker_that_is_killed_and_comes_back_costs_no_message(kafka, reading, topic):
    kafka.make_topic(topic, 2)
    publish(kafka.brokers, topic, {part: numbered(0, 5000) for part in range(2)})
    bus = reading(topic)
    before = gather(bus, amount(1000), limits=Limits(messages=1000, seconds=0.2))
    kafka.kill()
    during = [batch for batch in (bus.poll(Limits(seconds=0.2)) for _ in range(10)) if batch is not None]
    at = time.monotonic()
    bus.close()
    closing = time.monotonic() - at
    kafka.start()
    publish(kafka.brokers, topic, {part: numbered(5000, 5010) for part in range(2)})
    positions = before.positions | {position.part: position for batch in during for position in batch.positions}

    after = gather(reading(topic, positions=positions), amount(10_020 - len(before.payloads) - _sum(during)))

    assert closing < 5
    read = before.payloads + [block for batch in during for chunk in batch.chunks for block in chunk.blocks]
    assert sorted(read + after.payloads) == sorted(numbered(0, 5010) * 2)
    assert not after.gaps


def _sum(batches):
    return sum(len(chunk.blocks) for batch in batches for chunk in batch.chunks)


def test_a_running_bus_goes_on_when_the_broker_comes_back_and_stops_at_a_damaged_message(kafka, reading, topic):
    kafka.make_topic(topic, 2)
    publish(kafka.brokers, topic, {0: [b"before"], 1: [b"sound"]})
    publish(kafka.brokers, topic, {1: [b"damaged"]})
    bus = reading(topic)
    gather(bus, amount(3))
    kafka.stop()
    damage(kafka, f"{topic}-1", b"damaged")
    assert bus.poll(POLL) is None
    kafka.start()
    publish(kafka.brokers, topic, {0: [b"after"]})

    got = gather(bus, amount(1))
    fresh = reading(topic)
    with pytest.raises(BusError, match=rf"^kafka: {topic}/1: the message at offset 1 cannot be read \(\w+\)$"):
        gather(fresh, amount(100), seconds=30)

    assert got.payloads == [b"after"]
    assert not got.gaps


def test_a_log_that_lost_its_tail_and_grew_again_is_a_gap(kafka, reading, topic):
    kafka.make_topic(topic)
    publish(kafka.brokers, topic, {0: [b"kept"]})
    publish(kafka.brokers, topic, {0: [b"lost"]})
    before = gather(reading(topic), amount(2))
    kafka.kill()
    cut(kafka, f"{topic}-0", b"lost")
    kafka.start()
    publish(kafka.brokers, topic, {0: numbered(0, 10)})

    after = gather(reading(topic, positions=before.positions), amount(11))

    assert after.gaps == [Gap(f"{topic}/0", before.stamps[-1], after.stamps[0])]
    assert after.payloads == [b"kept", *numbered(0, 10)]


def cut(kafka, partition: str, payload: bytes) -> None:
    """Spoil the batch that holds this message: what follows a power cut ends the log there."""
    damage(kafka, partition, payload)


def damage(kafka, partition: str, payload: bytes) -> None:
    (segment,) = Path(kafka.data, partition).glob("*.log")
    whole = segment.read_bytes()
    assert whole.count(payload) == 1
    segment.write_bytes(whole.replace(payload, payload[::-1]))
