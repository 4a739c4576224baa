"""Pub/Sub as a source of engines, on Google's emulator: what is safe is acknowledged, what is not comes again."""

import pickle
import time

import pytest

from pipelines import bus_reader, pubsub_bus_client, pubsub_reader
from pipelines.bus import BusError
from pipelines.pubsub_reader import PubsubSource
from pipelines.stream_starts import _ask_for
from tests.support.kafka_messages import wall
from tests.support.scripted_partitions import Reads

pytestmark = pytest.mark.engine
MINUTE = 60_000
HOUR = 60 * MINUTE


class Reading:
    """A reader, and what it has delivered so far."""

    def __init__(self, source, mark=None):
        self.reader = source.create_reader(Reads(), mark)
        self.source = source
        self.delivered = []

    def until(self, holds, seconds=60):
        limit = time.monotonic() + seconds
        while not holds(self):
            assert time.monotonic() < limit, "it did not come about in time"
            self.look()
        return self

    def look(self):
        if self.reader.advance():
            self.delivered.append(self.reader.get_current())

    def close(self):
        """End it, once."""
        reader, self.reader = self.reader, None
        if reader is not None:
            reader.close()

    def take(self, amount):
        return self.until(lambda reading: len(reading.payloads) >= amount)

    @property
    def payloads(self):
        return sorted(block for one in self.delivered for chunk in one.chunks for block in chunk.blocks)

    def restored(self, mark):
        coder = self.source.get_checkpoint_mark_coder()
        return coder.decode(coder.encode(mark))


@pytest.fixture
def made(pubsub):
    return pubsub.make()


@pytest.fixture
def reading(made):
    readings = []

    def start(mark=None, readers=1, reader=0):
        readings.append(Reading(PubsubSource("ils", made.subscription, readers, "digest", reader), mark))
        return readings[-1]

    yield start
    for one in readings:
        one.close()


SOME = [b"%03d" % number for number in range(40)]
MORE = [b"%03d" % number for number in range(40, 60)]


def test_what_no_durable_mark_holds_comes_again_and_what_one_holds_does_not(pubsub, made, reading):
    pubsub.publish(made, SOME)
    first = reading().take(len(SOME))
    lost = first.reader.get_checkpoint_mark()
    durable = first.reader.get_checkpoint_mark()
    pubsub.publish(made, MORE)
    first.take(len(SOME) + len(MORE))

    durable.finalize_checkpoint()  # that of the one before it never came
    first.close()

    assert lost == durable
    assert reading(first.restored(durable)).take(len(MORE)).payloads == MORE


def test_a_mark_that_is_told_twice_or_after_the_end_changes_nothing(pubsub, made, reading):
    pubsub.publish(made, SOME)
    first = reading().take(len(SOME))
    mark = first.reader.get_checkpoint_mark()
    mark.finalize_checkpoint()
    mark.finalize_checkpoint()
    first.close()
    mark.finalize_checkpoint()

    assert pubsub.left(made.subscription) == []


def test_what_waits_for_a_checkpoint_keeps_its_leases_until_its_reader_is_left_alone(
    pubsub, made, reading, monkeypatch
):
    pubsub.publish(made, SOME)
    first = reading().take(len(SOME))

    assert pubsub.left(made.subscription, seconds=15) == []  # a lease lasts 10 s
    monkeypatch.setattr(pubsub_reader, "_LEFT_ALONE", 0.0)
    assert set(pubsub.left(made.subscription, seconds=20)) == set(SOME)
    assert first.payloads == SOME


def test_two_readers_share_a_subscription_and_lose_nothing(pubsub, made, reading):
    pubsub.publish(made, SOME)
    pair = [reading(None, 2, number) for number in range(2)]
    limit = time.monotonic() + 60
    while sum(len(one.payloads) for one in pair) < len(SOME):
        assert time.monotonic() < limit
        for one in pair:
            one.look()

    assert sorted(pair[0].payloads + pair[1].payloads) == SOME
    assert {one.reader for reading in pair for one in reading.delivered} <= {0, 1}


def test_silence_is_believed_once_every_lease_is_over_and_its_hour_told_before_the_watermark(
    pubsub, made, reading, monkeypatch
):
    monkeypatch.setattr(pubsub_bus_client, "_WAIT", 1.0)  # an empty subscription is asked again sooner
    ahead = [0]
    for module in (bus_reader, pubsub_reader):
        monkeypatch.setattr(module, "now", lambda: wall() + ahead[0])
    pubsub.publish(made, SOME)
    first = reading().take(len(SOME))
    assert first.reader.get_checkpoint_mark().clock is None

    def proven(reading):
        ahead[0] += 5 * MINUTE
        return any(one.passage for one in reading.delivered)

    first.until(proven, 120)
    told = next(one.passage for one in first.delivered if one.passage)
    before = first.reader.get_watermark().micros // 1000
    first.reader.advance()

    assert before < told.until <= first.reader.get_watermark().micros // 1000
    mark = first.restored(first.reader.get_checkpoint_mark())
    assert told.until <= mark.passed <= mark.clock
    first.close()
    again = reading(mark)
    assert again.reader.get_watermark().micros // 1000 == mark.clock


def test_a_subscription_that_is_not_there_is_told_before_a_job_is_submitted(pubsub, made):
    _ask_for("ils", made.subscription, wall())

    with pytest.raises(BusError, match=r"sources\.ils: pubsub: nowhere: is not there; make it"):
        _ask_for("ils", "projects/carrel-tests/subscriptions/nowhere", wall())


def test_a_pickled_source_holds_names_only():
    """Engines keep it in checkpoints: under these names it is looked for when a job goes on."""
    source = PubsubSource("ils", "projects/p/subscriptions/s", 2, "digest")

    assert (PubsubSource.__module__, PubsubSource.__qualname__) == ("pipelines.pubsub_reader", "PubsubSource")
    assert pickle.loads(pickle.dumps(source)) == source
    assert [one.reader for one in source.split(20)] == [0, 1]
