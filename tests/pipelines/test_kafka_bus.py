"""The Kafka bus against the client's own mock cluster; what the mock cannot do is in tests/engines."""

import itertools
import time

import pytest
from confluent_kafka.admin import AdminClient

from pipelines.bus import BusError, Gap, Limits
from pipelines.kafka_bus import KafkaBus
from pipelines.kafka_bus_settings import BrokerSettings, broker_settings
from tests.support.kafka_messages import all_proven, amount, gather, publish, wall
from transforms.privacy.times import GRACE

MINUTE = 60_000
_TOPICS = (f"topic-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def brokers():
    cluster = AdminClient({"test.mock.num.brokers": 1, "log_level": 0})
    yield ",".join(f"{one.host}:{one.port}" for one in cluster.list_topics(timeout=10).brokers.values())
    del cluster


@pytest.fixture
def topic():
    return next(_TOPICS)


@pytest.fixture
def reading(brokers):
    buses = []

    def made(*topics, positions=None, now=wall, at=brokers, **given):
        buses.append(
            KafkaBus("folio", topics, BrokerSettings({"bootstrap.servers": at}), positions or {}, now=now, **given)
        )
        return buses[-1]

    yield made
    for bus in buses:
        bus.close()


def numbered(partition, start, end):
    return [b"%d:%d" % (partition, at) for at in range(start, end)]


def test_every_message_of_every_partition_of_several_topics_comes_once(brokers, reading):
    first, second = next(_TOPICS), next(_TOPICS)
    publish(brokers, first, {part: numbered(part, 0, 50) for part in range(4)})
    publish(brokers, second, {part: numbered(part + 4, 0, 50) for part in range(4)})

    got = gather(reading(first, second), amount(400))

    assert sorted(got.payloads) == sorted(one for part in range(8) for one in numbered(part, 0, 50))
    assert {part: position.next for part, position in got.positions.items()} == {
        f"{topic}/{part}": 50 for topic in (first, second) for part in range(4)
    }


def test_messages_of_a_partition_keep_their_order_and_a_chunk_is_of_one_partition(brokers, reading, topic):
    publish(brokers, topic, {part: numbered(part, 0, 2000) for part in range(4)})

    got = gather(reading(topic), amount(8000), limits=Limits(messages=700, seconds=0.2))

    assert [one for one in got.payloads if one.startswith(b"2:")] == numbered(2, 0, 2000)
    chunks = [chunk for batch in got.batches for chunk in batch.chunks]
    assert all(len({block[:2] for block in chunk.blocks}) == 1 for chunk in chunks)
    assert {(chunk.source, chunk.form, chunk.wrapping.topic) for chunk in chunks} == {("folio", "bus", topic)}
    assert all(len(chunk.wrapping.stamps) == len(chunk.blocks) for chunk in chunks)


def test_reading_goes_on_from_positions_wherever_a_batch_was_cut(brokers, reading, topic):
    publish(brokers, topic, {0: numbered(0, 0, 100)})
    before = gather(reading(topic), amount(37), limits=Limits(messages=37, seconds=0.2))
    publish(brokers, topic, {0: numbered(0, 100, 120)})

    after = gather(reading(topic, positions=before.positions), amount(120 - len(before.payloads)))

    assert len(before.payloads) < 100
    assert before.payloads + after.payloads == numbered(0, 0, 120)


def test_a_batch_holds_no_more_messages_and_little_more_bytes_than_allowed(brokers, reading, topic):
    publish(brokers, topic, {0: [bytes(1000)] * 3000})

    by_number = gather(reading(topic), amount(3000), limits=Limits(messages=100, seconds=1))
    by_size = gather(reading(topic), amount(3000), limits=Limits(size=600_000, seconds=1))

    assert max(len(chunk.blocks) for batch in by_number.batches for chunk in batch.chunks) == 100
    assert max(sum(map(len, chunk.blocks)) for batch in by_size.batches for chunk in batch.chunks) < 1_200_000


def test_keys_headers_and_tombstones_come_as_they_were_published(brokers, reading, topic):
    publish(brokers, topic, {0: [b"one"]}, key=b"k1", headers=[("a", b"1"), ("a", None)])
    publish(brokers, topic, {0: [None]}, key=b"k2")

    got = gather(reading(topic), lambda got: got.positions.get(f"{topic}/0") is not None and len(got.payloads) == 2)

    wrappings = [chunk.wrapping for batch in got.batches for chunk in batch.chunks]
    assert got.payloads == [b"one", b""]
    assert [key for one in wrappings for key in one.keys] == [b"k1", b"k2"]
    assert wrappings[0].headers[0] == (("a", b"1"), ("a", None))


def test_messages_without_keys_and_headers_carry_none(brokers, reading, topic):
    publish(brokers, topic, {0: [b"one"]})

    (batch,) = gather(reading(topic), amount(1)).batches

    assert batch.chunks[0].wrapping.keys == batch.chunks[0].wrapping.headers == ()


def test_effective_arrival_is_the_running_maximum_of_stamps_also_over_a_restart(brokers, reading, topic):
    now = wall()
    for minutes in (-9, -5, -8, -6):
        publish(brokers, topic, {0: [b"x"]}, timestamp=now + minutes * MINUTE)
    before = gather(reading(topic), amount(4))
    for minutes in (-7, -4):
        publish(brokers, topic, {0: [b"x"]}, timestamp=now + minutes * MINUTE)

    after = gather(reading(topic, positions=before.positions), amount(2))

    assert [(stamp - now) // MINUTE for stamp in before.stamps + after.stamps] == [-9, -5, -5, -5, -5, -4]
    assert after.positions[f"{topic}/0"].clock == now - 4 * MINUTE


def test_a_stamp_too_far_ahead_stays_on_its_message_and_moves_no_clock(brokers, reading, topic):
    now = wall()
    for minutes in (16, -5, 15, 16, 3):
        publish(brokers, topic, {0: [b"x"]}, timestamp=now + minutes * MINUTE)

    got = gather(reading(topic, now=lambda: now), amount(5))

    assert [(stamp - now) // MINUTE for stamp in got.stamps] == [16, -5, 15, 16, 15]
    assert got.positions[f"{topic}/0"].clock == now + 15 * MINUTE


def test_a_partition_that_had_only_stamps_too_far_ahead_has_no_clock(brokers, reading, topic):
    publish(brokers, topic, {0: [b"x"]}, timestamp=wall() + 60 * MINUTE)

    got = gather(reading(topic), amount(1))

    assert got.positions[f"{topic}/0"].clock is None


def test_an_end_that_was_reached_is_proven_up_to_the_question_less_the_grace(brokers, reading, topic):
    publish(brokers, topic, {0: [b"x"]})
    ticks = itertools.count(5_000_000_000_000)
    bus = reading(topic, now=lambda: next(ticks))

    got = gather(bus, all_proven(bus))

    assert all(0 <= clock + GRACE - 5_000_000_000_000 < 100 for clock in got.proven.values())
    assert got.positions.keys() == got.proven.keys() == {f"{topic}/{part}" for part in range(4)}


def test_no_end_is_proven_while_messages_are_unread(brokers, reading, topic):
    publish(brokers, topic, {0: numbered(0, 0, 40)})
    bus = reading(topic)

    got = gather(bus, amount(40), limits=Limits(messages=1, seconds=0.2))

    assert f"{topic}/0" not in got.proven


def test_messages_that_the_brokers_dropped_are_a_gap_and_never_silence(brokers, reading, topic):
    publish(brokers, topic, {0: [b"first"]}, timestamp=wall() - MINUTE)
    before = gather(reading(topic), amount(1))
    publish(brokers, topic, {0: [bytes(100_000)] * 100})  # the mock keeps 5 MiB

    after = gather(reading(topic, positions=before.positions), lambda got: bool(got.gaps))

    (gap,) = after.gaps
    assert gap == Gap(f"{topic}/0", before.stamps[-1], after.stamps[0])
    assert after.positions[f"{topic}/0"].next > before.positions[f"{topic}/0"].next + 1


def test_the_first_reading_of_a_topic_that_dropped_messages_is_no_gap(brokers, reading, topic):
    publish(brokers, topic, {0: [bytes(100_000)] * 100})

    got = gather(reading(topic), amount(1))

    assert not got.gaps


def test_brokers_that_are_away_are_waited_for_in_bounded_steps(reading):
    bus = reading("any", at="127.0.0.1:1")
    started = time.monotonic()

    batches = [bus.poll(Limits(seconds=0.3)) for _ in range(4)]

    assert batches == [None] * 4
    assert time.monotonic() - started < 4 * 1.3
    assert bus.parts() == ()


def test_nothing_of_the_client_reaches_the_terminal(reading, capfd):
    bus = reading("any", at="127.0.0.1:1")
    bus.poll(Limits(seconds=1))
    bus.close()

    assert capfd.readouterr() == ("", "")


def test_settings_come_from_a_file_and_from_the_environment(tmp_path):
    path = tmp_path / "kafka.properties"
    path.write_text("# who we are\nbootstrap.servers = one:9092\n\nsasl.username=carrel\n")

    settings = broker_settings(path, {"sasl.password": "KAFKA_PASSWORD"}, {"KAFKA_PASSWORD": "hunter2="})

    assert settings.values == {"bootstrap.servers": "one:9092", "sasl.username": "carrel", "sasl.password": "hunter2="}
    assert "hunter2" not in repr(settings)
    assert "one" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hunter2", "line 1: not a setting"),
        ("bootstrap.servers=a:1\nplugin.library.paths=hunter2", "line 2: not a setting"),
        ("auto.offset.reset=latest", "line 1: not a setting"),
        ("sasl.username=hunter2", "bootstrap.servers is missing"),
        ("sasl.password=hunter2\nbootstrap.servers=a:1", "others may read it; chmod 600"),
    ],
)
def test_a_wrong_settings_file_is_refused_in_one_line_without_its_values(tmp_path, text, said):
    path = tmp_path / "kafka.properties"
    path.write_text(text)
    path.chmod(0o644)

    with pytest.raises(BusError) as refused:
        broker_settings(path, {}, {})

    assert said in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_settings_file_or_variable_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BusError, match=r"kafka\.properties: the broker settings cannot be read"):
        broker_settings(tmp_path / "kafka.properties", {}, {})
    with pytest.raises(BusError, match="KAFKA_BROKERS is not set; it holds bootstrap"):
        broker_settings(None, {"bootstrap.servers": "KAFKA_BROKERS"}, {})
    with pytest.raises(BusError, match="KAFKA_PLUGIN stands for an unknown setting"):
        broker_settings(None, {"plugin.library.paths": "KAFKA_PLUGIN"}, {"KAFKA_PLUGIN": "x"})


@pytest.mark.parametrize("setting", ["security.protocol", "ssl.ca.location"])
def test_a_value_that_the_client_does_not_take_is_not_repeated(setting):
    values = {"bootstrap.servers": "a:1", "security.protocol": "ssl", setting: "hunter2"}

    with pytest.raises(BusError) as refused:
        KafkaBus("folio", ["any"], BrokerSettings(values), {}, now=wall)

    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)
