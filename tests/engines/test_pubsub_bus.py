"""The Pub/Sub bus against Google's emulator: what comes again and when, what is proven, what never leaves in clear."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines import pubsub_bus_client
from pipelines.bus import BusError, Limits
from pipelines.pubsub_bus import PubsubBus
from pipelines.pubsub_bus_clock import LONGEST_LEASE
from pipelines.work_values import Position
from schemas.chunks import RawChunk
from schemas.wire import ADAPTERS
from schemas.wire.adapter import Context
from tests.support.kafka_messages import POLL, amount, gather, wall
from transforms.messages import read_messages, rewrapped
from transforms.privacy.times import DAY, GRACE

pytestmark = pytest.mark.engine
ROOT = Path(__file__).parents[2]
MINUTE = 60_000
SETTLED = 2 * LONGEST_LEASE + MINUTE
_KILLED = """
import sys, time
from pipelines.bus import Limits
from pipelines.pubsub_bus import PubsubBus
bus = PubsubBus("ils", sys.argv[1], {}, {}, now=lambda: time.time_ns() // 1_000_000)
taken = 0
while taken < int(sys.argv[2]):
    batch = bus.poll(Limits(seconds=2))
    taken += len(batch.receipts) if batch else 0
print(taken, flush=True)
sys.stdin.read()
"""


class Clock:
    """The wall clock, set forward by hand."""

    def __init__(self):
        self.ahead = 0

    def __call__(self):
        return wall() + self.ahead


@pytest.fixture
def reading(pubsub):
    buses = []

    def made(subscription, *, positions=None, proofs=None, now=wall):
        buses.append(PubsubBus("ils", subscription, positions or {}, proofs or {}, now=now))
        return buses[-1]

    yield made
    for bus in buses:
        bus.close()


@pytest.fixture
def short_waits(monkeypatch):
    """Questions that wait less long, so that an end is proven or an outage noticed within a test's patience."""
    monkeypatch.setattr(pubsub_bus_client, "_WAIT", 1.5)
    monkeypatch.setattr("pipelines.pubsub_bus.PATIENCE", 1.5)
    monkeypatch.setattr(pubsub_bus_client, "PATIENCE", 1.5)


def numbered(start, end):
    return [b"%d" % at for at in range(start, end)]


def take(bus, messages, seconds=30):
    """Poll, without any acknowledgement, until one batch brings so many."""
    until = time.monotonic() + seconds
    while True:
        batch = bus.poll(Limits(messages=messages, seconds=2))
        if batch is not None and len(batch.receipts) == messages:
            return batch
        assert time.monotonic() < until, "the messages did not come"


def payloads(batch):
    return sorted(block for chunk in batch.chunks for block in chunk.blocks)


def prove(bus, pubsub, made, seconds=60):
    """Publish, take and acknowledge until a clock is proven."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pubsub.publish(made, [b"{}"])
        batch = bus.poll(POLL)
        if batch is not None:
            bus.ack(batch)
            if batch.proven:
                return batch.proven
    raise AssertionError("nothing was proven")


def test_every_message_comes_and_the_position_counts_them(pubsub, reading):
    made = pubsub.make()
    pubsub.publish(made, numbered(0, 2_500))
    bus = reading(made.subscription)

    gathered = gather(bus, amount(2_500))

    part = made.subscription.rpartition("/")[2]
    assert sorted(gathered.payloads) == sorted(numbered(0, 2_500))
    assert gathered.positions == {part: Position(part, 2_500, b"", done=False, clock=None)}
    assert bus.parts() == (part,)


def test_the_count_goes_on_where_the_work_store_stands(pubsub, reading):
    made = pubsub.make()
    part = made.subscription.rpartition("/")[2]
    pubsub.publish(made, numbered(0, 3))

    gathered = gather(reading(made.subscription, positions={part: Position(part, 40, b"", done=False)}), amount(3))

    assert gathered.positions[part].next == 43


def test_what_is_acknowledged_never_comes_again_and_what_is_not_does(pubsub, reading):
    made = pubsub.make()
    pubsub.publish(made, numbered(0, 10))
    first = reading(made.subscription)
    first.ack(take(first, 10))
    pubsub.publish(made, numbered(10, 20))
    take(first, 10)
    first.close()

    assert sorted(pubsub.left(made.subscription)) == sorted(numbered(10, 20))


def test_what_an_instance_that_was_killed_had_taken_comes_again_when_its_lease_is_over(pubsub, reading):
    made = pubsub.make()
    pubsub.publish(made, numbered(0, 50))
    victim = subprocess.Popen(
        [sys.executable, "-c", _KILLED, made.subscription, "50"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    bus = reading(made.subscription)
    try:
        assert victim.stdout.readline() == b"50\n"
        assert bus.poll(POLL) is None
    finally:
        victim.kill()
        victim.communicate(timeout=30)

    gathered = gather(bus, amount(50))

    assert sorted(gathered.payloads) == sorted(numbered(0, 50))


def test_a_batch_that_is_in_work_for_longer_than_the_deadline_goes_to_nobody_else(pubsub, reading):
    made = pubsub.make(lease=10)
    pubsub.publish(made, numbered(0, 2_100))
    bus = reading(made.subscription)
    batch = take(bus, 2_100)

    assert pubsub.left(made.subscription, seconds=14) == []

    bus.ack(batch)
    bus.close()
    assert pubsub.left(made.subscription) == []


def test_what_arrives_while_a_batch_is_in_work_waits_leased_and_is_next(pubsub, reading):
    made = pubsub.make(lease=10)
    bus = reading(made.subscription)
    assert bus.poll(POLL) is None  # its question stays out
    pubsub.publish(made, [b"early"])
    assert bus._pull.is_answered(10)

    assert pubsub.left(made.subscription, seconds=14) == []
    assert gather(bus, amount(1)).payloads == [b"early"]


def test_closing_gives_everything_back_at_once(pubsub, reading):
    made = pubsub.make(lease=600)
    pubsub.publish(made, numbered(0, 1_200))
    bus = reading(made.subscription)
    take(bus, 1_000)
    bus.close()

    assert sorted(gather(reading(made.subscription), amount(1_200), seconds=20).payloads) == sorted(numbered(0, 1_200))


def test_a_batch_that_was_not_acknowledged_comes_again_with_the_next_poll_and_counts_once(pubsub, reading):
    made = pubsub.make(lease=600)
    pubsub.publish(made, numbered(0, 10))
    bus = reading(made.subscription)
    take(bus, 10)

    again = take(bus, 10)

    assert payloads(again) == sorted(numbered(0, 10))
    assert again.positions[0].next == 10


def test_attributes_keys_and_publish_times_come_along(pubsub, reading):
    made = pubsub.make()
    before = wall()
    pubsub.publish(made, [b"plain"])
    pubsub.publish(made, [b"wrapped"], attributes={"b": "\u00e9", "a": ""}, ordering_key="branch-1")

    (chunk,) = take(reading(made.subscription), 2).chunks

    wrapping = chunk.wrapping
    at, plain = chunk.blocks.index(b"wrapped"), chunk.blocks.index(b"plain")
    assert (chunk.form, chunk.source, wrapping.topic) == ("bus", "ils", made.topic.rpartition("/")[2])
    assert wrapping.headers[at] == (("a", b""), ("b", "\u00e9".encode()))
    assert (wrapping.keys[at], wrapping.keys[plain], wrapping.headers[plain]) == (b"branch-1", None, ())
    assert all(before <= stamp <= wall() for stamp in wrapping.stamps)


def test_messages_with_nothing_around_them_carry_nothing(pubsub, reading):
    made = pubsub.make()
    pubsub.publish(made, numbered(0, 5))

    (chunk,) = take(reading(made.subscription), 5).chunks

    assert (chunk.wrapping.keys, chunk.wrapping.headers) == ((), ())


def test_a_message_that_is_published_twice_comes_twice(pubsub, reading):
    made = pubsub.make()
    pubsub.publish(made, [b"same", b"same"])

    assert payloads(take(reading(made.subscription), 2)) == [b"same", b"same"]


def test_empty_data_is_a_message(pubsub, reading):
    made = pubsub.make()
    pubsub.publish(made, [b""], attributes={"a": "1"})

    assert payloads(take(reading(made.subscription), 1)) == [b""]


def test_messages_of_nine_megabytes_come_whole_and_a_batch_stops_at_its_size(pubsub, reading):
    made = pubsub.make()
    for at in range(4):
        pubsub.publish(made, [b"%d" % at * 9_000_000])
    bus = reading(made.subscription)

    gathered = gather(bus, amount(4), limits=Limits(size=9_000_000, seconds=5))

    assert sorted(one[:1] for one in gathered.payloads) == [b"0", b"1", b"2", b"3"]
    assert {len(one) for one in gathered.payloads} == {9_000_000}
    assert len(gathered.batches) > 1


def test_a_batch_holds_no_more_messages_than_asked_for(pubsub, reading):
    made = pubsub.make()
    pubsub.publish(made, numbered(0, 250))

    gathered = gather(reading(made.subscription), amount(250), limits=Limits(messages=70, seconds=1))

    assert {len(batch.receipts) for batch in gathered.batches} <= set(range(1, 71))
    assert sorted(gathered.payloads) == sorted(numbered(0, 250))


def test_the_clock_waits_out_the_longest_leases_after_a_start(pubsub, reading):
    made, now = pubsub.make(), Clock()
    bus = reading(made.subscription, now=now)

    pubsub.publish(made, numbered(0, 3))
    gathered = gather(bus, amount(3))
    now.ahead = 2 * LONGEST_LEASE - MINUTE
    for at in range(3, 6):
        pubsub.publish(made, numbered(at, at + 1))
        gathered.batches += gather(bus, amount(1)).batches
    assert gathered.proven == {}

    now.ahead = SETTLED
    (clock,) = prove(bus, pubsub, made).values()
    assert wall() + SETTLED - GRACE - MINUTE < clock <= wall() + SETTLED - GRACE


def test_the_clock_waits_for_the_backoff_of_the_subscription_too(pubsub, reading):
    made, now = pubsub.make(retry_policy={"minimum_backoff": "10s", "maximum_backoff": "300s"}), Clock()
    bus = reading(made.subscription, now=now)
    pubsub.publish(made, [b"0"])
    gather(bus, amount(1))

    now.ahead = SETTLED
    for _ in range(3):
        pubsub.publish(made, [b"1"])
        assert gather(bus, amount(1)).proven == {}

    now.ahead = SETTLED + 5 * MINUTE
    assert prove(bus, pubsub, made)


def test_a_backlog_older_than_the_grace_proves_nothing_while_it_is_read(pubsub, reading):
    made, now = pubsub.make(), Clock()
    bus = reading(made.subscription, now=now)
    pubsub.publish(made, [b"young"])
    gather(bus, amount(1))

    now.ahead = 2 * DAY
    pubsub.publish(made, numbered(0, 450))

    assert gather(bus, amount(450)).proven == {}


def test_an_idle_subscription_proves_its_clock(pubsub, reading, short_waits):
    made, now = pubsub.make(), Clock()
    bus = reading(made.subscription, now=now)
    proven, until = {}, time.monotonic() + 30
    while not proven and time.monotonic() < until:
        batch = bus.poll(POLL)
        proven = batch.proven if batch else {}
        now.ahead += 5 * MINUTE

    assert [batch.chunks, batch.positions, batch.receipts] == [(), (), ()]
    assert wall() + now.ahead - GRACE - 30 * MINUTE < min(proven.values()) < wall() + now.ahead - GRACE


def test_an_emulator_that_is_paused_gives_nothing_proves_nothing_and_is_read_on_after(pubsub, reading, short_waits):
    if not pubsub.is_ours:
        pytest.skip("pubsub: the emulator was started by somebody else")
    made, now = pubsub.make(), Clock()
    bus = reading(made.subscription, now=now)
    prove_soon = SETTLED
    pubsub.publish(made, [b"before"])
    gather(bus, amount(1))
    pubsub.pause()
    try:
        until = time.monotonic() + 6
        while time.monotonic() < until:
            assert bus.poll(POLL) is None
            now.ahead += prove_soon
    finally:
        pubsub.resume()

    pubsub.publish(made, [b"after"])
    gathered = gather(bus, amount(1))
    assert gathered.payloads == [b"after"]
    assert gathered.proven == {}


def test_a_start_while_the_service_is_paused_waits_for_it(pubsub, reading, short_waits):
    if not pubsub.is_ours:
        pytest.skip("pubsub: the emulator was started by somebody else")
    made = pubsub.make()
    pubsub.publish(made, [b"waiting"])
    bus = reading(made.subscription)
    pubsub.pause()
    try:
        assert bus.poll(POLL) is None
        with pytest.raises(BusError, match="does not answer"):
            bus.retention_ms()
    finally:
        pubsub.resume()

    assert gather(bus, amount(1)).payloads == [b"waiting"]


def test_closing_while_the_service_is_paused_does_not_wait_long(pubsub, reading, short_waits):
    if not pubsub.is_ours:
        pytest.skip("pubsub: the emulator was started by somebody else")
    made = pubsub.make()
    pubsub.publish(made, numbered(0, 3_000))
    bus = reading(made.subscription)
    take(bus, 3_000)
    pubsub.pause()
    try:
        began = time.monotonic()
        bus.close()
        assert time.monotonic() - began < 30
    finally:
        pubsub.resume()


def test_what_the_service_dropped_unread_is_a_gap_that_is_told_until_it_is_committed(pubsub, reading):
    made = pubsub.make()
    part = made.subscription.rpartition("/")[2]
    last = wall() - 9 * DAY
    bus = reading(made.subscription, proofs={part: last})
    pubsub.publish(made, [b"0"])

    first = take(bus, 1)
    second = take(bus, 1)

    (gap,) = first.gaps
    assert (gap.part, gap.after, first.gaps) == (part, last, second.gaps)
    assert wall() - 7 * DAY < gap.until <= wall() - 7 * DAY + GRACE
    bus.ack(second)
    pubsub.publish(made, [b"1"])
    assert gather(bus, amount(1)).gaps == []


def test_a_poison_message_is_acknowledged_and_never_reaches_the_dead_letter_topic(pubsub, reading):
    made = pubsub.make(attempts=5)
    pubsub.publish(made, [b"\xff not json", b"{"])
    bus = reading(made.subscription)

    batch = take(bus, 2)
    (chunk,) = batch.chunks
    context = Context(source="ils", lookups={}, also_drop=(), strip=())
    assert len(read_messages(chunk, ADAPTERS["carrel-event"], context).refused) == 2
    bus.ack(batch)
    bus.close()

    assert pubsub.left(made.subscription) == []
    assert pubsub.left(made.dead) == []


def test_killed_before_it_acknowledges_live_seals_a_poison_message_once_and_the_service_moves_nothing(
    run, pubsub, tmp_path
):
    made = pubsub.make(attempts=5)
    deployment = tmp_path / "live"
    run("init", deployment, "--secrets", tmp_path / "secrets")
    toml, log = deployment / "carrel.toml", 'adapter = "carrel-event"\n'
    bus = f'bus = {{ kind = "pubsub", subscription = "{made.subscription}" }}\nstate_is_only_copy = true\n'
    toml.write_text(toml.read_text().replace(log, log + bus))
    command = [sys.executable, "-m", "pipelines.command_line", "-c", str(toml), "live"]
    pubsub.publish(made, [b'{"kind": "POISON"'])

    killed = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"CARREL_CRASH_AT": "batch-committed"}, capture_output=True, timeout=120,
        check=False,
    )  # fmt: skip
    again = subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + 90
        with contextlib.closing(sqlite3.connect(f"file:{deployment / 'work.db'}?mode=ro", uri=True)) as db:
            while db.execute("SELECT next FROM positions").fetchall() != [(2,)]:
                assert again.poll() is None, again.communicate()
                assert time.monotonic() < until, "the message did not come again"
    finally:
        again.terminate()
        _, error = again.communicate(timeout=60)

    assert (killed.returncode, again.returncode, error) == (-signal.SIGKILL, 0, b"")
    assert pubsub.left(made.subscription) == []
    assert pubsub.left(made.dead) == []
    letters = [
        line for file in (deployment / "dead-letters").glob("*.jsonl") for line in file.read_bytes().splitlines()
    ]
    assert len(letters) == 1
    assert b"POISON" not in letters[0]


def test_messages_whose_batches_fail_again_and_again_stop_the_bus_before_they_are_moved_in_clear(pubsub, reading):
    made = pubsub.make(attempts=5, lease=600)
    pubsub.publish(made, [b"secret"])
    bus = reading(made.subscription)
    for _ in range(3):
        take(bus, 1)

    with pytest.raises(BusError, match="delivered 4 times") as refused:
        take(bus, 1)
    bus.close()

    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)
    again = reading(made.subscription)
    again.ack(take(again, 1))  # the last delivery is not refused: that would move it
    assert pubsub.left(made.dead) == []


def test_retention_is_how_long_acknowledged_messages_can_be_read_again(pubsub, reading):
    week = {"message_retention_duration": "604800s"}

    assert reading(pubsub.make(**week).subscription).retention_ms() == 0
    assert reading(pubsub.make(**week, retain_acked_messages=True).subscription).retention_ms() == 7 * DAY


@pytest.mark.parametrize("lost", [False, True])
def test_a_subscription_that_is_not_there_or_goes_stops_the_bus(pubsub, reading, short_waits, lost):
    made = pubsub.make()
    bus = reading(made.subscription if lost else "projects/carrel-tests/subscriptions/none-such")
    if lost:
        assert bus.poll(POLL) is None
        pubsub.subscriber.delete_subscription(subscription=made.subscription)

    with pytest.raises(BusError, match=r"sources\.ils: pubsub: [a-z0-9-]+: is not there; make it"):
        gather(bus, amount(1))


def test_what_the_bus_delivers_reads_the_same_from_an_archive_in_the_envelope_of_a_pull(pubsub, reading, sample):
    made = pubsub.make()
    lines = next(sample.glob("carrel-event/*.jsonl")).read_bytes().splitlines()[:500]
    pubsub.publish(made, lines)
    pubsub.publish(made, [b"{", b'{"kind": "none"}'], attributes={"a": "1"}, ordering_key="k")

    (chunk,) = take(reading(made.subscription), len(lines) + 2).chunks
    archived = b"\n".join(rewrapped(block, chunk.wrapping, at) for at, block in enumerate(chunk.blocks))

    context = Context(source="ils", lookups={}, also_drop=(), strip=())
    adapter = ADAPTERS["carrel-event"]
    live = read_messages(chunk, adapter, context)
    replayed = read_messages(RawChunk("ils", b"", (archived,), "pubsub"), adapter, context)
    assert (replayed.events, replayed.stamps, replayed.owners) == (live.events, live.stamps, live.owners)
    assert {at: error.reason for at, error in replayed.refused.items()} == {
        at: error.reason for at, error in live.refused.items()
    }
    assert len(live.events) > 400  # the sample has faults of its own


def test_nothing_of_a_message_reaches_a_log_whatever_is_turned_on(pubsub, tmp_path):
    made = pubsub.make()
    pubsub.publish(made, [json.dumps({"patron": "SECRET-PATRON"}).encode()], attributes={"n": "SECRET-PATRON"})
    scope = {"GOOGLE_SDK_PYTHON_LOGGING_SCOPE": "google.pubsub_v1.services.subscriber.transports.grpc"}
    program = "import logging\nlogging.basicConfig(level=logging.DEBUG)\n" + _KILLED
    done = subprocess.run(
        [sys.executable, "-c", program, made.subscription, "1"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)} | scope, input=b"", capture_output=True, timeout=60, check=True,
    )  # fmt: skip

    assert done.stdout == b"1\n"
    assert b"SECRET-PATRON" not in done.stderr
    assert b"U0VDUkVU" not in done.stderr  # in base64
