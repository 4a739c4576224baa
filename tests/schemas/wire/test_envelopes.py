"""Envelopes come off whole, or the message is refused for a reason that quotes nothing."""

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.rejects import DecodeError, Reason
from schemas.wire import envelopes

TS = 1_700_000_000_000


def reason_of(opener: Any, message: Any) -> Reason:
    with pytest.raises(DecodeError) as caught:
        opener(message)
    return caught.value.reason


def kcat(**more: object) -> bytes:
    record: dict[str, object] = {
        "topic": "t", "partition": 0, "offset": 1, "tstype": "create", "ts": TS, "broker": 0,
        "headers": ["A", "1", "b", None], "key": "k", "payload": '{"x":1}',
    }  # fmt: skip
    return json.dumps({**record, **more}).encode()


def pubsub(*, wrap: bool = True, **more: object) -> bytes:
    inner = {"data": base64.b64encode(b'{"x":1}').decode(), "messageId": "1", **more}
    return json.dumps({"ackId": "a", "message": inner} if wrap else inner).encode()


def test_a_kcat_record_gives_value_key_headers_time_and_topic() -> None:
    found = envelopes.open_kcat(kcat())
    assert (found.value, found.key, found.arrived_at, found.topic) == ({"x": 1}, "k", TS, "t")
    assert found.wrapped() == {"@key": "k", "@headers": {"a": "1", "b": None}}
    assert repr(found) == "Delivered(<redacted>)"
    bare = envelopes.open_kcat(kcat(ts=-1, key=None, headers=None, payload={"x": 2}))
    assert (bare.value, bare.arrived_at, bare.wrapped()) == ({"x": 2}, None, {})
    assert envelopes.open_kcat(b'{"payload":"1"}').arrived_at is None


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (kcat(payload=None), Reason.EMPTY),
        (kcat(payload=""), Reason.EMPTY),
        (kcat(payload="{"), Reason.NOT_JSON),
        (kcat(payload='"\\u0000"'), Reason.NUL_BYTE),
        (kcat(payload={"a": ["\0"]}), Reason.NUL_BYTE),
        (kcat(ts="x"), Reason.ENVELOPE),
        (kcat(ts=True), Reason.ENVELOPE),
        (kcat(ts=5), Reason.BAD_TIME),
        (kcat(key=5), Reason.ENVELOPE),
        (kcat(headers=["a"]), Reason.ENVELOPE),
        (kcat(headers={}), Reason.ENVELOPE),
        (kcat(headers=[1, "a"]), Reason.ENVELOPE),
        (kcat(headers=["a", 1]), Reason.ENVELOPE),
        (kcat(more=1), Reason.DISALLOWED_FIELD),
        (b"[]", Reason.ENVELOPE),
    ],
)
def test_a_bad_kcat_record_is_refused(message: bytes, reason: Reason) -> None:
    assert reason_of(envelopes.open_kcat, message) is reason


def test_a_pubsub_message_is_opened_wrapped_or_bare() -> None:
    for wrap in (True, False):
        found = envelopes.open_pubsub(
            pubsub(wrap=wrap, attributes={"A": "1"}, publishTime="2023-11-14T22:13:20Z", orderingKey="k")
        )
        assert (found.value, found.key, found.arrived_at) == ({"x": 1}, "k", TS)
        assert found.wrapped() == {"@key": "k", "@headers": {"a": "1"}}
    assert envelopes.open_pubsub(pubsub()).arrived_at is None


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"[]", Reason.ENVELOPE),
        (b'{"message":1}', Reason.ENVELOPE),
        (pubsub(data=None), Reason.EMPTY),
        (pubsub(data=5), Reason.ENVELOPE),
        (pubsub(data="%%"), Reason.ENVELOPE),
        (pubsub(data="é"), Reason.ENVELOPE),
        (pubsub(data=base64.b64encode(b"\xff").decode()), Reason.NOT_UTF8),
        (pubsub(attributes=[1]), Reason.ENVELOPE),
        (pubsub(attributes={"a": 1}), Reason.ENVELOPE),
        (pubsub(publishTime="x"), Reason.BAD_TIME),
        (pubsub(more=1), Reason.DISALLOWED_FIELD),
        (pubsub(wrap=False, more=1), Reason.DISALLOWED_FIELD),
        (b'{"message":{},"more":1}', Reason.DISALLOWED_FIELD),
    ],
)
def test_a_bad_pubsub_message_is_refused(message: bytes, reason: Reason) -> None:
    assert reason_of(envelopes.open_pubsub, message) is reason


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", Reason.EMPTY),
        (b" \n", Reason.EMPTY),
        (b"null", Reason.EMPTY),
        (b"\xff", Reason.NOT_UTF8),
        (b'"\x00"', Reason.NUL_BYTE),
        (b'{"\\u0000":1}', Reason.NUL_BYTE),
        (b'[[{"a":["x","\\u0000"]}]]', Reason.NUL_BYTE),
        (b"NaN", Reason.NOT_JSON),
        (b"Infinity", Reason.NOT_JSON),
        (b"1e999", Reason.NOT_JSON),
        (b"{}{}", Reason.NOT_JSON),
        (b'"\\ud800"', Reason.NOT_JSON),
        (b"[" * 30_000 + b"]" * 30_000, Reason.TOO_DEEP),
    ],
)
def test_what_is_no_json_is_refused(message: bytes, reason: Reason) -> None:
    assert reason_of(envelopes.open_json, message) is reason


def test_json_may_hold_a_mark_and_an_escaped_backslash() -> None:
    assert envelopes.open_json(b'\xef\xbb\xbf{"a":"\\\\u0000","b":[1,null]}').value == {"a": "\\u0000", "b": [1, None]}


def test_copy_text_is_unescaped_and_null_is_null() -> None:
    assert envelopes.open_tsv(b"1\t\\N\ta\\tb\\\\\t\n").value == ["1", None, "a\tb\\", ""]
    assert envelopes.cells(b"1\t2\r\n") == ["1", "2"]
    assert reason_of(envelopes.cells, b"1\n2") is Reason.NOT_TSV
    assert reason_of(envelopes.cells, b"\n") is Reason.EMPTY


def test_a_header_names_each_column_once() -> None:
    assert envelopes.header(b"\xef\xbb\xbfid\tusr\n") == ("id", "usr")
    for line in (b"id\tid", b"id\t", b"id\t\\N"):
        assert reason_of(envelopes.header, line) is Reason.NOT_TSV


def test_an_avro_record_is_an_object() -> None:
    assert envelopes.open_avro({"a": 1}).value == {"a": 1}
    assert reason_of(envelopes.open_avro, 5) is Reason.NOT_AVRO


@given(st.sampled_from(sorted(envelopes.OPENERS)), st.binary() | st.text().map(str.encode))
def test_no_bytes_make_a_stray_exception(name: str, message: bytes) -> None:
    with contextlib.suppress(DecodeError):
        envelopes.OPENERS[name](message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(sorted(envelopes.KCAT_NAMES | envelopes.PUBSUB_NAMES | envelopes.PUBSUB_OUTER))


@given(st.dictionaries(NAMES, JSON, max_size=5))
def test_no_record_makes_a_stray_exception(record: dict[str, object]) -> None:
    for opener in (envelopes.open_kcat, envelopes.open_pubsub):
        with contextlib.suppress(DecodeError):
            opener(json.dumps(record).encode())


def test_a_dead_letter_from_a_bus_says_its_topic_beside_the_message():
    line = b'{"message":{"data":"e30="},"topic":"folio.circulation"}'
    assert envelopes.open_pubsub(line).topic == "folio.circulation"
    assert envelopes.open_pubsub(b'{"message":{"data":"e30="}}').topic is None
