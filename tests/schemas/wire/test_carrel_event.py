"""Canonical events that come as objects: in envelopes and Avro containers."""

import datetime as dt

import msgspec
import pytest

from schemas.events import EARLIEST
from schemas.fast import READER, STRUCTS
from schemas.rejects import DecodeError, Reason
from schemas.wire.adapter import Context
from schemas.wire.carrel_event import ADAPTER, exactly
from schemas.wire.envelopes import Delivered

EVENT = {"kind": "circulation", "event_id": "e", "occurred_at": EARLIEST, "action": "checkout", "patron_ref": "p"}
CONTEXT = Context("ils")
UTC = dt.UTC


def events(value, **envelope):
    return ADAPTER.events(Delivered(value, **envelope), CONTEXT)


def refusal(value, **envelope):
    with pytest.raises(DecodeError) as refused:
        events(value, **envelope)
    return refused.value.reason, refused.value.fields, refused.value.unknown


@pytest.mark.parametrize(
    "event",
    [
        EVENT,
        {"kind": "patron", "event_id": "e", "occurred_at": EARLIEST, "change": "expired"},
        {"kind": "engagement", "event_id": "e", "occurred_at": EARLIEST, "response": "opened"},
    ],
)
def test_an_object_becomes_the_very_event_that_its_json_line_becomes(event):
    assert events(event) == [exactly(event)] == [READER.decode(msgspec.json.encode(event))]
    assert type(events(event)[0]) is STRUCTS[event["kind"]]


@pytest.mark.parametrize(
    ("instant", "millis"),
    [
        (dt.datetime(2026, 3, 1, 10, 0, 0, 123_000, UTC), 1_772_359_200_123),
        (dt.datetime(2026, 3, 1, 12, 0, 0, 1_000, dt.timezone(dt.timedelta(hours=2))), 1_772_359_200_001),
        (dt.datetime(1999, 12, 31, 23, 59, 59, 999_000, UTC), 946_684_799_999),
        (dt.datetime(2026, 2, 28, 23, 59, 59, 999_999, UTC), 1_772_323_199_999),
    ],
)
def test_an_avro_timestamp_is_the_same_instant_to_the_millisecond(instant, millis):
    (both,) = events(EVENT | {"occurred_at": instant, "arrived_at": instant})
    (one,) = events(EVENT | {"occurred_at": instant, "arrived_at": None})
    (mixed,) = events(EVENT | {"arrived_at": instant})
    (without,) = events(EVENT | {"occurred_at": instant})

    assert (both.occurred_at, both.arrived_at) == (millis, millis)
    assert (one.occurred_at, one.arrived_at) == (without.occurred_at, without.arrived_at) == (millis, None)
    assert (mixed.occurred_at, mixed.arrived_at) == (EARLIEST, millis)


@pytest.mark.parametrize("name", ["occurred_at", "arrived_at"])
def test_an_avro_time_without_a_zone_is_refused(name):
    assert refusal(EVENT | {name: dt.datetime(2026, 3, 1)}) == (Reason.BAD_TIME, (name,), 0)  # noqa: DTZ001


@pytest.mark.parametrize("name", ["patron_ref", "branch", "birth_date"])
def test_a_timestamp_where_the_contract_has_none_is_refused(name):
    assert refusal(EVENT | {name: dt.datetime(2026, 3, 1, tzinfo=UTC)}) == (Reason.WRONG_TYPE, (name,), 0)


def test_an_avro_timestamp_out_of_range_is_a_bad_time():
    assert refusal(EVENT | {"occurred_at": dt.datetime(1989, 12, 31, tzinfo=UTC)}) == (
        Reason.BAD_TIME,
        ("occurred_at",),
        0,
    )


def test_headers_are_refused_and_counted_but_not_named():
    headers = (("X-Patron-21234000000018", "1"), ("trace", None))

    assert refusal(EVENT, headers=headers) == (Reason.DISALLOWED_FIELD, (), 2)


def test_a_key_of_the_bus_is_dropped():
    assert events(EVENT, key="21234000000018") == [exactly(EVENT)]
    assert [field.use for field in ADAPTER.fields["circulation"].fields if field.path == "@key"] == ["dropped"]


def test_what_the_configuration_drops_or_strips_is_left_out_and_the_rest_still_refused():
    context = Context("ils", also_drop=(("shoe", "Q"), ("birth_date", "Q"), ("@headers.trace", "L")), strip=("hat",))
    event = EVENT | {"shoe": {"size": 43}, "hat": 1, "birth_date": "2000-02-29"}

    assert ADAPTER.events(Delivered(event, headers=(("Trace", "1"),)), context) == [exactly(EVENT)]
    with pytest.raises(DecodeError) as refused:
        ADAPTER.events(Delivered(event | {"coat": 1}, headers=(("other", "1"),)), context)
    assert (refused.value.reason, refused.value.unknown) == (Reason.DISALLOWED_FIELD, 2)


@pytest.mark.parametrize("kind", ["loan", None, 5, ["circulation"]])
def test_an_enveloped_event_of_no_known_kind_is_refused(kind):
    with pytest.raises(DecodeError):
        ADAPTER.events(Delivered(EVENT | {"kind": kind}, key="k"), Context("ils", strip=("hat",)))


@pytest.mark.parametrize("value", [None, [], [EVENT], "event", 1, True])
def test_what_is_no_object_is_refused(value):
    assert refusal(value) == (Reason.WRONG_TYPE, (), 0)


@pytest.mark.parametrize("value", [EVENT | {"shoe": 43}, EVENT | {"change": "new"}])
def test_a_field_of_no_contract_or_of_another_kind_is_refused(value):
    assert refusal(value) == (Reason.DISALLOWED_FIELD, (), 1)


def test_what_the_exact_reader_refuses_is_refused_with_its_reason():
    assert refusal(EVENT | {"v": True}) == (Reason.UNKNOWN_VERSION, ("v",), 0)
    assert refusal(EVENT | {"event_id": "a\0"}) == (Reason.NUL_BYTE, ("event_id",), 0)
