"""Messages from a bus are read as those of its archive are, at once where they are plain and one by one else."""

import json
from dataclasses import replace

import pytest
from beam_free_job import decode_lines, events_of
from generated_logs import NOW, SOURCES, a_line, a_policy

from schemas.chunks import RawChunk, Wrapping
from schemas.rejects import Reason
from transforms.decode import Decoder
from transforms.messages import rewrapped
from transforms.privacy.times import Zone

RULES = SOURCES[0]
STAMP = NOW - 1_000


def decoded(chunk):
    return Decoder(RULES, a_policy(), Zone(a_policy().time_zone), {}, NOW).decode(chunk)


def from_bus(payloads, **wrapped):
    stamps = tuple(STAMP + at for at in range(len(payloads)))
    return RawChunk(RULES.name, b"", tuple(payloads), "bus", wrapping=Wrapping("library.events", stamps, **wrapped))


def lines(n):
    return [a_line(event_id=f"e{at}", occurred_at=STAMP - 5_000) for at in range(n)]


def found(result):
    return [event for batch in result.batches for event in events_of(batch, a_policy())]


def test_the_arrival_is_the_stamp_of_the_bus():
    events = found(decoded(from_bus(lines(3))))

    assert [event.arrived_at for event in events] == [STAMP, STAMP + 1, STAMP + 2]


def test_one_bad_message_changes_nothing_of_the_others():
    plain, faulty = lines(4), lines(4)
    faulty[1] = b'{"kind":'

    result = decoded(from_bus(faulty))

    assert [error.reason for _, error in result.rejects] == [Reason.NOT_JSON]
    assert found(result) == [event for at, event in enumerate(found(decoded(from_bus(plain)))) if at != 1]


@pytest.mark.parametrize("payloads", [
    [a_line() + a_line(), b""],
    [b'{"kind":', a_line()[len(b'{"kind":') :]],
    [a_line() + b"\n" + a_line(event_id="other"), b" "],
])  # fmt: skip
def test_no_message_is_taken_for_another_one(payloads):
    assert found(decoded(from_bus(payloads))) == []
    assert len(decoded(from_bus(payloads)).rejects) == len(payloads)


def test_a_tombstone_is_an_empty_message():
    assert [error.reason for _, error in decoded(from_bus([b""])).rejects] == [Reason.EMPTY]


def test_undeclared_headers_are_refused_and_a_key_is_dropped():
    keyed = decoded(from_bus(lines(2), keys=(b"21234000000018", None)))
    headed = decoded(from_bus(lines(2), headers=((("trace", b"1"),), ())))

    assert len(found(keyed)) == 2
    assert [error.reason for _, error in headed.rejects] == [Reason.DISALLOWED_FIELD]
    assert [event.event_id for event in found(headed)] == ["e1"]


def test_what_is_sealed_of_a_refused_message_is_a_line_that_an_archive_could_hold():
    payloads = [a_line(branch="nowhere"), b"\xff\xfe", *lines(2)]
    result = decoded(from_bus(payloads, keys=(b"k", b"\xff", None, None)))
    mended = [payload for payload, error in result.rejects if error.reason is Reason.UNKNOWN_BRANCH]

    again = decoded(RawChunk(RULES.name, b"", tuple(payload for payload, _ in result.rejects), "pubsub"))

    assert [error.reason for _, error in again.rejects] == [error.reason for _, error in result.rejects]
    assert json.loads(mended[0])["message"]["publishTime"].startswith("20")


def test_an_archive_of_what_the_bus_delivered_gives_the_same_events():
    chunk = from_bus(lines(50), keys=tuple(f"k{at}".encode() for at in range(50)))
    archive = b"\n".join(rewrapped(line, chunk.wrapping, at) for at, line in enumerate(chunk.blocks))

    replayed = decoded(RawChunk(RULES.name, b"", (archive,), "pubsub"))

    assert found(replayed) == found(decoded(chunk))


def test_a_chunk_is_read_alike_in_pieces_of_any_size(monkeypatch):
    chunk = from_bus([*lines(9), b"{", *lines(3)])
    whole = decoded(chunk)
    monkeypatch.setattr("transforms.messages._PIECE", 300)

    pieces = decoded(chunk)

    assert found(pieces) == found(whole)
    assert [(payload, error.reason) for payload, error in pieces.rejects] == [
        (payload, error.reason) for payload, error in whole.rejects
    ]
    assert pieces.counts == whole.counts


def test_a_stamp_beyond_all_dates_is_a_reject_and_not_a_fault():
    chunk = from_bus(lines(1))
    absurd = replace(chunk, wrapping=Wrapping("library.events", (2**62,)))

    assert [error.reason for _, error in decoded(absurd).rejects] == [Reason.BAD_TIME]


def test_plain_lines_and_bus_messages_are_the_same_events():
    stamped = [a_line(event_id=f"e{at}", occurred_at=STAMP - 5_000, arrived_at=STAMP + at) for at in range(20)]

    assert found(decode_lines(stamped, RULES, a_policy(), NOW)) == found(decoded(from_bus(stamped)))


@pytest.mark.parametrize("chunk", [lambda line: RawChunk(RULES.name, b"", (line,)), lambda line: from_bus([line])])
def test_a_source_may_drop_and_strip_fields_of_canonical_events_too(chunk):
    log = chunk(a_line(event_id="e0", postal_code="10001", shoe_size="44", hat="7"))
    rules = replace(RULES, also_drop=(("shoe_size", "D"), ("postal_code", "Q")), strip=("hat",))

    plain = decoded(log)
    mended = Decoder(rules, a_policy(), Zone(a_policy().time_zone), {}, NOW).decode(log)

    assert [error.reason for _, error in plain.rejects] == [Reason.DISALLOWED_FIELD]
    assert mended.rejects == []
    assert [event.codes["home_zone"] for event in found(mended)] == ["other"]
