"""One reader of a source in an engine: its clock, the hours it tells, its watermark, its marks."""

import pickle

import pytest
from apache_beam.utils.timestamp import MIN_TIMESTAMP

from pipelines import bus_reader, kafka_reader
from pipelines.bus import Gap
from pipelines.bus_reader import BusMark, BusMarkCoder, BusReader, read_bus
from pipelines.kafka_reader import KafkaSource
from schemas.gate import Delivered, Passage
from tests.support.scripted_partitions import Reads, ScriptedPartitions
from transforms.coders import ColumnsCoder
from transforms.privacy.times import GRACE

HOUR, MINUTE = 3_600_000, 60_000
T0 = 1_772_341_200_000  # a full hour
SOURCE = KafkaSource("ils", ("t",), None, (), None, 2, "digest", 1)
FRESH = BusMark()


@pytest.fixture
def wall(monkeypatch):
    """The reader's own clock, set by a test."""
    clock = [T0 + 1000 * HOUR]
    monkeypatch.setattr(bus_reader, "now", lambda: clock[0])
    return clock


def taken(reader):
    """What the next poll gives: the element or None, its time and the watermark behind it, in ms UTC."""
    found = reader.advance()
    at = reader.get_current_timestamp().micros // 1000 if found else None
    return (reader.get_current() if found else None), at, reader.get_watermark().micros // 1000


def passage(reader):
    delivered, _, _ = taken(reader)
    return None if delivered is None else delivered.passage


def test_what_a_poll_takes_is_one_element_that_says_when_it_was_read(wall):
    bus = ScriptedPartitions("t/0", "t/1")
    bus.put({"t/0": [T0, T0 + 5], "t/1": [T0 + 3]})

    delivered, _, _ = taken(BusReader(SOURCE, bus, FRESH, Reads()))

    assert isinstance(delivered, Delivered)
    assert (delivered.source, delivered.reader, delivered.readers, delivered.policy) == ("ils", 1, 2, "digest")
    assert [chunk.wrapping.stamps for chunk in delivered.chunks] == [(T0, T0 + 5), (T0 + 3,)]
    assert [chunk.read_at for chunk in delivered.chunks] == wall * 2


def test_a_machine_that_slept_while_it_read_does_not_find_its_messages_ahead_of_its_clock(wall):
    bus = ScriptedPartitions("t/0")
    bus.put({"t/0": [T0 + 2000 * HOUR]})
    bus.while_polling = lambda: wall.__setitem__(0, T0 + 2000 * HOUR)

    delivered, _, _ = taken(BusReader(SOURCE, bus, FRESH, Reads()))

    assert [chunk.read_at for chunk in delivered.chunks] == [T0 + 2000 * HOUR]


def test_the_clock_is_the_lowest_of_all_partitions_and_known_once_all_are(wall):
    bus = ScriptedPartitions("t/0", "t/1")
    bus.put({"t/0": [T0 + 3 * HOUR]})
    bus.put({"t/1": [T0 + HOUR]})
    bus.put({"t/1": [T0 + 5 * HOUR]})

    reader = BusReader(SOURCE, bus, FRESH, Reads())

    assert [passage(reader) for _ in range(3)] == [
        None,
        Passage(None, T0 + HOUR),
        Passage(T0 + HOUR, T0 + 3 * HOUR),
    ]


def test_an_hour_is_told_before_the_watermark_passes_it(wall):
    bus = ScriptedPartitions("t/0")
    bus.put({"t/0": [T0 + MINUTE]})
    bus.put({"t/0": [T0 + 2 * MINUTE]})
    bus.put({"t/0": [T0 + 90 * MINUTE]})
    reader = BusReader(SOURCE, bus, FRESH, Reads())

    first, at, watermark = taken(reader)
    assert (first.passage, reader.get_current_timestamp(), watermark) == (
        Passage(None, T0),
        MIN_TIMESTAMP,
        MIN_TIMESTAMP.micros // 1000,
    )
    second, at, watermark = taken(reader)
    assert (second.passage, at, watermark) == (None, T0 + MINUTE, T0 + MINUTE)
    third, at, watermark = taken(reader)
    assert (third.passage, at, watermark) == (Passage(T0, T0 + HOUR), T0 + 2 * MINUTE, T0 + 2 * MINUTE)
    assert taken(reader) == (None, None, T0 + 90 * MINUTE)


def test_a_proven_end_moves_the_clock_and_an_hour_of_silence_is_told(wall):
    bus = ScriptedPartitions("t/0")
    bus.put({"t/0": [T0 + MINUTE]})
    bus.put(proven={"t/0": T0 + 10 * MINUTE})
    bus.put(proven={"t/0": T0 + 2 * HOUR + MINUTE})
    reader = BusReader(SOURCE, bus, FRESH, Reads())

    taken(reader)
    assert taken(reader) == (None, None, T0 + 10 * MINUTE)
    silent, at, _ = taken(reader)
    assert (silent.chunks, silent.passage, at) == ((), Passage(T0, T0 + 2 * HOUR), T0 + 10 * MINUTE)


def test_the_clock_never_falls(wall):
    bus = ScriptedPartitions("t/0")
    bus.put({"t/0": [T0 + 5 * HOUR]})
    reader = BusReader(SOURCE, bus, FRESH, Reads())
    taken(reader)

    bus.names = ("t/0", "t/1")  # a partition is added
    bus.pause()
    assert taken(reader)[2] == T0 + 5 * HOUR
    bus.put({"t/1": [T0 + HOUR]})
    delivered, at, watermark = taken(reader)

    assert (delivered.passage, at, watermark) == (None, T0 + 5 * HOUR, T0 + 5 * HOUR)
    assert taken(reader)[2] == T0 + 5 * HOUR


def test_a_reader_without_a_partition_goes_by_the_listing_that_shows_it(wall):
    bus = ScriptedPartitions()
    reader = BusReader(SOURCE, bus, FRESH, Reads())

    assert taken(reader) == (None, None, MIN_TIMESTAMP.micros // 1000)
    bus.at = T0 + HOUR + MINUTE
    assert passage(reader) == Passage(None, T0 + HOUR - GRACE)


def test_lost_messages_are_told_with_the_arrivals_around_them(wall):
    bus = ScriptedPartitions("t/0")
    bus.put({"t/0": [T0]}, lost=(Gap("t/0", None, T0),))
    bus.put(lost=(Gap("t/0", T0, None),))
    reader = BusReader(SOURCE, bus, FRESH, Reads())

    assert [taken(reader)[0].gaps for _ in range(2)] == [((0, T0),), ((T0, wall[0]),)]


def test_a_reader_goes_on_where_a_mark_stands(wall):
    bus = ScriptedPartitions("t/0", "t/1")
    bus.put({"t/0": [T0 + HOUR], "t/1": [T0 + HOUR + MINUTE]}, proven={"t/1": T0 + 2 * HOUR})
    before = BusReader(SOURCE, bus, FRESH, Reads())
    taken(before)
    coder = BusMarkCoder()
    mark = coder.decode(coder.encode(before.get_checkpoint_mark()))

    bus = ScriptedPartitions("t/0", "t/1")
    bus.put({"t/0": [T0 + 3 * HOUR]})
    after = BusReader(SOURCE, bus, mark, Reads())

    assert mark == before.get_checkpoint_mark()
    assert mark.parts == (
        ("t/0", 1, b"head", T0 + HOUR, None),
        ("t/1", 1, b"head", T0 + HOUR + MINUTE, T0 + 2 * HOUR),
    )
    assert after.get_watermark().micros // 1000 == T0 + HOUR
    # The hour that it has told is not told again; the proof of the other partition still stands.
    assert passage(after) == Passage(T0 + HOUR, T0 + 2 * HOUR)


def test_a_mark_of_another_version_is_refused(wall):
    coder = BusMarkCoder()
    other = coder.encode(FRESH).replace(b"\x01", b"\x09", 1)

    assert coder.decode(coder.encode(FRESH)) == FRESH
    assert coder.is_deterministic()
    with pytest.raises(ValueError, match="unknown version"):
        coder.decode(other)


def test_a_quiet_poll_gives_nothing_and_takes_a_moment(wall):
    bus = ScriptedPartitions("t/0")

    assert not BusReader(SOURCE, bus, FRESH, Reads()).start()
    assert bus.asked[0].seconds <= 0.1


def test_while_its_source_is_stopped_a_reader_takes_nothing_and_its_clock_stands(wall):
    bus, watch = ScriptedPartitions("t/0"), Reads()
    bus.put({"t/0": [T0 + MINUTE]})
    bus.put({"t/0": [T0 + 2 * HOUR]}, proven={"t/0": T0 + 3 * HOUR})
    reader = BusReader(SOURCE, bus, FRESH, watch)
    taken(reader)
    watch.answer = False

    assert [taken(reader) for _ in range(2)] == [(None, None, T0 + MINUTE)] * 2
    assert len(bus.asked) == 1, "its bus is not even asked"

    watch.answer = True
    assert passage(reader) == Passage(T0, T0 + 3 * HOUR)


def test_a_reader_lets_go_of_its_bus(wall):
    bus = ScriptedPartitions("t/0")

    BusReader(SOURCE, bus, FRESH, Reads()).close()

    assert bus.is_closed


def test_a_source_is_cut_into_its_readers_whatever_number_an_engine_desires():
    assert [(one.reader, one.readers) for one in SOURCE.split(20)] == [(0, 2), (1, 2)]


def test_readers_share_the_partitions_by_number(monkeypatch):
    owned = {}

    def bus(source, topics, settings, positions, *, now, since, owns):
        owned[len(owned)] = {number for number in range(7) if owns(number)}
        return ScriptedPartitions()

    monkeypatch.setattr(kafka_reader, "KafkaBus", bus)
    monkeypatch.setenv("BROKERS", "localhost:1")
    source = KafkaSource("ils", ("t",), None, (("bootstrap.servers", "BROKERS"),), None, 3, "digest")
    for one in source.split(1):
        one.create_reader(Reads(), None)

    assert list(owned.values()) == [{0, 3, 6}, {1, 4}, {2, 5}]


def test_a_pickled_source_holds_names_and_no_secret(monkeypatch, tmp_path):
    """Engines keep it in checkpoints: under these names it is looked for when a job goes on."""
    settings = tmp_path / "kafka.properties"
    settings.write_text("bootstrap.servers=localhost:1\nsasl.password=hunter2secret\n")
    monkeypatch.setenv("PASSWORD", "hunter2secret")
    source = KafkaSource("ils", ("t",), str(settings), (("sasl.password", "PASSWORD"),), 5, 2, "digest", 1)

    pickled = pickle.dumps(source)

    assert (KafkaSource.__module__, KafkaSource.__qualname__) == ("pipelines.kafka_reader", "KafkaSource")
    assert b"hunter2" not in pickled
    assert pickle.loads(pickled) == source


def test_deliveries_have_a_coder_of_ours():
    assert SOURCE.default_output_coder() == ColumnsCoder("Delivered")
    assert SOURCE.get_checkpoint_mark_coder().decode(BusMarkCoder().encode(FRESH)) == FRESH
    assert read_bus(SOURCE, Reads()).get_type_hints().simple_output_type("Read") is Delivered
