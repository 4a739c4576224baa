"""What the answers of a subscription prove, and what becomes of its messages; no server needed."""

import logging

import pytest
from google.pubsub_v1 import PullResponse
from google.pubsub_v1.services.subscriber.transports.grpc import SubscriberGrpcTransport
from hypothesis import given
from hypothesis import strategies as st

from pipelines.bus import BusError, Gap, Limits
from pipelines.pubsub_bus import PubsubBus, _chunk
from pipelines.pubsub_bus_clock import LONGEST_LEASE, PullClock
from schemas.chunks import RawChunk
from schemas.wire import ADAPTERS
from schemas.wire.adapter import Context
from transforms.messages import read_messages, rewrapped
from transforms.privacy.times import DAY, GRACE

NOW = 1_800_000_000_000
SETTLING = 2 * LONGEST_LEASE
MINUTE = 60_000
NAME = "projects/library/subscriptions/events"


def a_clock(*, kept=7 * DAY, backoff=0, proven=None):
    return PullClock("events", kept=kept, backoff=backoff, proven=proven)


def answer(clock, at, *, age=None, full=False):
    clock.answered(at, oldest=None if age is None else at - age, full=full)
    return clock.findings()[0]


def settled(at=NOW):
    clock = a_clock()
    answer(clock, at - SETTLING)
    return clock


def test_nothing_is_proven_until_two_of_the_longest_leases_and_the_backoff_are_over():
    clock = a_clock(backoff=5 * MINUTE)
    answer(clock, NOW)

    assert answer(clock, NOW + SETTLING + 5 * MINUTE - 1) is None
    assert answer(clock, NOW + SETTLING + 5 * MINUTE) == NOW + SETTLING + 5 * MINUTE - GRACE


@pytest.mark.parametrize("age", [None, 0, GRACE])
def test_after_that_each_answer_without_old_messages_proves_its_question_less_the_grace(age):
    clock = settled()

    assert answer(clock, NOW, age=age) == NOW - GRACE
    assert answer(clock, NOW + 1, age=age) == NOW + 1 - GRACE


def test_one_old_message_begins_the_waiting_anew():
    clock = settled()

    assert answer(clock, NOW, age=GRACE + 1) is None
    assert answer(clock, NOW + 1) is None
    assert answer(clock, NOW + SETTLING) is None
    assert answer(clock, NOW + 1 + SETTLING) == NOW + 1 + SETTLING - GRACE


def test_an_old_message_takes_back_what_the_same_batch_had_proven():
    clock = settled()

    clock.answered(NOW, oldest=None, full=False)
    clock.answered(NOW + 1, oldest=NOW - DAY, full=False)

    assert clock.findings()[0] is None


def test_a_lost_answer_begins_the_waiting_anew():
    clock = settled()
    clock.answered(NOW, oldest=None, full=False)

    clock.failed()

    assert clock.findings()[0] is None
    assert answer(clock, NOW + 1) is None


def test_an_answer_that_is_full_proves_nothing_and_spoils_nothing():
    clock = settled()

    assert answer(clock, NOW, age=0, full=True) is None
    assert answer(clock, NOW + 1, age=0) == NOW + 1 - GRACE


def test_a_wall_clock_that_is_set_back_begins_the_waiting_anew():
    clock = settled()

    assert answer(clock, NOW - DAY) is None
    assert answer(clock, NOW - DAY + SETTLING) == NOW - DAY + SETTLING - GRACE


@given(
    st.lists(
        st.tuples(st.integers(0, 10 * MINUTE), st.integers(0, 2 * GRACE), st.booleans(), st.booleans()), max_size=60
    )
)
def test_no_message_of_the_last_settling_time_is_older_than_a_proof(answers):
    clock, at, seen = a_clock(), NOW, []
    for step, age, full, lost in answers:
        at += step
        if lost:
            clock.failed()
            seen = []
            continue
        proof = answer(clock, at, age=age, full=full)
        seen.append((at, at - age))
        if proof is not None:
            assert proof == at - GRACE
            recent = [(asked, stamp) for asked, stamp in seen if asked > at - SETTLING]
            assert all(stamp >= asked - GRACE for asked, stamp in recent)
            assert at - seen[0][0] >= SETTLING


def test_a_subscription_that_was_never_read_has_no_gap():
    clock = a_clock()
    answer(clock, NOW, age=30 * DAY)

    assert clock.findings() == (None, ())


@pytest.mark.parametrize(("away", "is_gap"), [(7 * DAY, False), (7 * DAY + 1, True)])
def test_not_reading_for_longer_than_messages_are_kept_is_a_gap(away, is_gap):
    clock = a_clock(proven=NOW - GRACE)
    answer(clock, NOW + away)

    gap = Gap("events", after=NOW - GRACE, until=NOW + 1 + GRACE)
    assert clock.findings()[1] == ((gap,) if is_gap else ())


def test_a_gap_is_told_until_it_is_committed_and_then_no_more():
    clock = a_clock(proven=NOW)
    answer(clock, NOW + 9 * DAY)
    first = clock.findings()[1]
    answer(clock, NOW + 9 * DAY + 1)

    assert clock.findings()[1] == first != ()
    clock.kept()
    answer(clock, NOW + 9 * DAY + 2)
    assert clock.findings()[1] == ()


def test_a_backlog_that_is_read_too_slowly_grows_the_gap_without_a_hole_in_it():
    clock = a_clock(proven=NOW)
    at = NOW + 9 * DAY
    for _ in range(50):
        answer(clock, at, age=6 * DAY)
        at += 10 * MINUTE
    gaps = clock.findings()[1]

    assert len(gaps) < 10
    assert gaps[0].after == NOW
    assert all(later.after <= earlier.until for earlier, later in zip(gaps, gaps[1:], strict=False))
    assert gaps[-1].until >= at - 10 * MINUTE - 7 * DAY


def received(*messages):
    response = PullResponse(received_messages=[{"ack_id": str(at), "message": one} for at, one in enumerate(messages)])
    return PullResponse.pb(response).received_messages


def test_stamps_are_publish_times_as_they_are_not_a_running_maximum():
    taken = received(
        {"data": b"a", "publish_time": {"seconds": 20, "nanos": 999_999_999}},
        {"data": b"b", "publish_time": {"seconds": 10}},
    )

    assert _chunk("ils", "t", taken).wrapping.stamps == (20_999, 10_000)


def test_a_chunk_in_the_envelope_of_a_pull_decodes_to_the_same_events_and_refusals():
    line = (
        b'{"kind":"circulation","v":1,"event_id":"e%d","occurred_at":1770000000000,"action":"checkout",'
        b'"branch":"B01","material":"book","patron_ref":"p1","patron_kind":"patron"}'
    )
    at = {"publish_time": {"seconds": 1_770_000_100, "nanos": 123_456_789}}
    plain = [{"data": line % number, **at} for number in range(3)]
    odd = [
        {"data": line % 3, "ordering_key": "k", **at},
        {"data": b"", "attributes": {"a": "1"}, **at},
        {"data": b"\xff", "attributes": {"b": "\u00e9", "a": ""}, **at},
        {"data": line % 4 + b"\n" + line % 5, **at},
        {"data": line % 6 + b"\n", **at},
    ]
    adapter, context = ADAPTERS["carrel-event"], Context(source="ils")
    for messages in (plain, plain + odd):
        chunk = _chunk("ils", "t", received(*messages))
        lines = b"\n".join(rewrapped(block, chunk.wrapping, number) for number, block in enumerate(chunk.blocks))

        live = read_messages(chunk, adapter, context)
        replayed = read_messages(RawChunk("ils", b"", (lines,), "pubsub"), adapter, context)

        assert (replayed.events, replayed.owners, replayed.stamps) == (live.events, live.owners, live.stamps)
        assert {at: error.reason for at, error in replayed.refused.items()} == {
            at: error.reason for at, error in live.refused.items()
        }
        assert len(live.events) >= len(plain)


@pytest.mark.parametrize(
    "name", ["events", "projects/p/topics/t", "projects/p/subscriptions/", f"{NAME}/x", f"{NAME}\n"]
)
def test_a_name_that_is_no_subscription_is_refused(name):
    with pytest.raises(BusError, match=r"^sources\.ils: pubsub: subscription: its name is not [^\n]*$"):
        PubsubBus("ils", name, {}, {}, now=lambda: NOW)


def test_no_credentials_are_a_refusal_that_names_no_file(monkeypatch, tmp_path):
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))

    with pytest.raises(BusError, match=r"^sources\.ils: pubsub: events: no valid credentials[^\n]*$") as refused:
        PubsubBus("ils", NAME, {}, {}, now=lambda: NOW)

    assert "none.json" not in str(refused.value)


def test_a_service_that_is_not_there_is_no_error_and_close_may_be_called_twice(monkeypatch):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    bus = PubsubBus("ils", NAME, {}, {}, now=lambda: NOW)

    assert bus.poll(Limits(seconds=0.1)) is None
    assert bus.parts() == ("events",)
    bus.close()
    bus.close()


def test_the_client_never_writes_answers_even_when_its_debug_messages_are_on(monkeypatch):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    logger = logging.getLogger(SubscriberGrpcTransport.__module__)
    logger.setLevel(logging.DEBUG)

    PubsubBus("ils", NAME, {}, {}, now=lambda: NOW).close()

    assert not logger.isEnabledFor(logging.DEBUG)
