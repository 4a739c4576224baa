"""Messages in every envelope: the same events come out, each with its envelope's stamp, and each fault costs its message."""

import base64
import datetime as dt
import io
import json
from functools import partial

import fastavro
import pytest
from beam_free_job import events_of, used_codes
from generated_logs import HOUR, NOW, SOURCES, a_line, a_policy, an_event, events, some_rules
from hypothesis import given
from hypothesis import strategies as st
from rowwise_decode import Event, Rejected, judge

from pipelines.contract_files import avro_schema
from schemas.chunks import RawChunk, Wrapping
from schemas.events import MODELS
from schemas.rejects import DecodeError, Reason
from schemas.wire import ADAPTERS
from schemas.wire.adapter import Context
from transforms.decode import Decoder
from transforms.messages import lines_of, read_messages, refuse_all
from transforms.privacy.times import Zone

SYNC = bytes(range(16))


def present(event):
    return {name: value for name, value in event.items() if value is not None}


def kcat(event, stamp):
    payload = json.dumps(present(event))
    record = {
        "topic": "t",
        "partition": 0,
        "offset": 1,
        "tstype": "create",
        "ts": -1 if stamp is None else stamp,
        "payload": payload,
    }
    return json.dumps(record).encode()


def pubsub(event, stamp):
    message = {"data": base64.b64encode(json.dumps(present(event)).encode()).decode(), "messageId": "1"}
    if stamp is not None:
        at = dt.datetime.fromtimestamp(stamp // 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
        message["publishTime"] = f"{at}.{stamp % 1000:03}Z"
    return json.dumps({"message": message, "ackId": "a"}).encode()


def avro_parts(rows):
    """The header and the one block of a container of events of one kind."""
    kind = rows[0]["kind"] if rows else "circulation"
    write = partial(fastavro.writer, schema=fastavro.parse_schema(avro_schema(kind, MODELS[kind])), sync_marker=SYNC)
    empty, whole = io.BytesIO(), io.BytesIO()
    write(empty, records=[])
    write(whole, records=[{"v": 1, **present(row)} for row in rows])
    return empty.getvalue(), whole.getvalue()[len(empty.getvalue()) :]


def chunk_of(form, rows, stamps):
    if form == "avro":
        header, block = avro_parts(rows)
        return RawChunk("ils", header, (block,) if rows else (), "avro")
    if form == "bus":
        payloads = tuple(json.dumps(present(row)).encode() for row in rows)
        return RawChunk("ils", b"", payloads, "bus", wrapping=Wrapping("t", tuple(stamps)))
    wrap = {"kcat": kcat, "pubsub": pubsub, "lines": lambda event, _: json.dumps(present(event)).encode()}[form]
    return RawChunk("ils", b"", (b"\n".join(map(wrap, rows, stamps)),), form)


def decode(chunk, rules=SOURCES[0]):
    return Decoder(rules, a_policy(), Zone("America/New_York"), {}, NOW).decode(chunk)


@given(st.data(), st.sampled_from(["lines", "kcat", "pubsub", "avro", "bus"]), st.sampled_from(sorted(MODELS)))
def test_events_are_the_same_in_every_envelope_and_take_its_stamp(data, form, kind):
    rows = [row for crowd in data.draw(st.lists(events(a_policy(), kind), max_size=5)) for row in crowd[:2]]
    late = st.sampled_from([0, 1, HOUR, NOW])
    absent = st.nothing() if form == "bus" else st.none()
    stamps = [data.draw(absent | late.map(lambda away, at=row["occurred_at"]: min(at + away, NOW))) for row in rows]
    known = stamps if form in ("kcat", "pubsub", "bus") else [None] * len(rows)
    expected = [judge(row, SOURCES[0], a_policy(), NOW, stamp) for row, stamp in zip(rows, known, strict=True)]

    decoded = decode(chunk_of(form, rows, stamps))

    found = [event for batch in decoded.batches for event in events_of(batch, a_policy())]
    assert found == [used_codes(one, a_policy()) for one in expected if isinstance(one, Event)]
    assert [error.reason for _, error in decoded.rejects] == [
        one.reason for one in expected if isinstance(one, Rejected)
    ]
    assert decoded.counts["messages"] == len(rows)


@pytest.mark.parametrize("stamp", [-1, 0, 631_151_999_999, 2**62])
def test_what_an_impossible_stamp_is_refused_for_does_not_depend_on_other_messages(stamp):
    alone = RawChunk("ils", b"", (a_line(),), "bus", wrapping=Wrapping("t", (stamp,)))
    beside = RawChunk("ils", b"", (a_line(), b"{"), "bus", wrapping=Wrapping("t", (stamp, NOW)))

    assert [error.reason for _, error in decode(alone).rejects] == [decode(beside).rejects[0][1].reason]


def contact(*ids):
    header = {"entityName": "Contact", "recordIds": ids, "changeType": "CREATE", "changeOrigin": "o", "transactionKey": ids[0],
              "sequenceNumber": 1, "commitTimestamp": NOW - HOUR, "commitNumber": 5, "commitUser": "005", "nulledFields": [],
              "diffFields": [], "changedFields": []}  # fmt: skip
    return json.dumps({"ChangeEventHeader": header}).encode()


def test_a_message_of_several_records_is_decoded_whole_or_not_at_all():
    rules = some_rules("crm", "contacts", adapter="salesforce", codes={})
    messages = [contact("003A", "003B"), contact("003C", "A\u0430", "003D"), contact("003E")]

    decoded = decode(RawChunk("crm", b"", (b"\n".join(messages),)), rules)

    assert [event.patron for event in events_of(decoded.batches[0], a_policy())] == ["003A", "003B", "003E"]
    assert [(payload, error.reason) for payload, error in decoded.rejects] == [(messages[1], Reason.BAD_PATRON_ID)]
    assert [decoded.counts[name] for name in ("messages", "decoded", "events")] == [3, 2, 3]


def test_an_avro_block_that_breaks_inside_gives_its_first_records_and_counts_the_others_as_lost():
    header, block = avro_parts([an_event(event_id=f"e{at}") for at in range(5)])
    # The third record names a branch of a length that no block has.
    broken = block.replace(b"\x04e2", b"\xff\xff\xff\xff\x0fe2")

    decoded = decode(RawChunk("ils", header, (broken, block), "avro"))

    read = [event.event_id for event in events_of(decoded.batches[0], a_policy())]
    assert read == ["e0", "e1", "e0", "e1", "e2", "e3", "e4"]
    assert decoded.counts["messages"] == 10
    assert decoded.counts["decoded"] == 7
    assert decoded.counts["rejected/not_avro"] == 3
    assert [(payload, error.reason) for payload, error in decoded.rejects] == [(broken, Reason.NOT_AVRO)]


def test_a_table_without_a_readable_header_is_refused_line_by_line():
    rules = some_rules(adapter="evergreen", codes={})

    decoded = decode(RawChunk("ils", b"id\t\tid", (b"1\t2\t3\n4\t5\t6\n",), "tsv"), rules)

    assert [(payload, error.reason) for payload, error in decoded.rejects] == [
        (b"1\t2\t3", Reason.NOT_TSV),
        (b"4\t5\t6", Reason.NOT_TSV),
    ]
    assert decoded.counts["messages"] == 2


def test_lines_are_what_lies_between_line_feeds_and_is_not_blank():
    assert lines_of(b"\xef\xbb\xbfa\n\n \r\nb\r\n\x0bc") == [b"a", b"b\r", b"\x0bc"]
    assert lines_of(b"") == lines_of(b"\n\n") == []


def test_a_whole_chunk_may_be_refused_for_one_reason():
    refused = refuse_all(RawChunk("ils", b"", (b"a\nb\n", b"c"), "tsv"), DecodeError(Reason.NOT_TSV))

    assert [(refused.payload(at), error.reason) for at, error in refused.refused.items()] == [
        (message, Reason.NOT_TSV) for message in (b"a", b"b", b"c")
    ]


@pytest.mark.parametrize(
    "blocks",
    [(a_line() + b"\n" + a_line(event_id="e2") + b"\n",), (a_line() + b"\n", a_line(event_id="e2") + b"\n"), ()],
)
def test_a_chunk_may_have_any_number_of_blocks(blocks):
    messages = read_messages(RawChunk("ils", b"", blocks), ADAPTERS["carrel-event"], Context(source="ils"))

    assert [event.event_id for event in messages.events] == ["e1", "e2"][: 2 * len(blocks)]
    assert [messages.payload(at) for at in messages.owners] == [line for block in blocks for line in lines_of(block)]
