"""Decoding: of any lines, each is accepted, filtered or refused as the row-wise reference says, whatever lies beside it."""

import json
from operator import attrgetter
from unittest import mock

import pytest
from apache_beam.typehints.decorators import TypeCheckError
from beam_free_job import KeysOfTests, decode_lines, events_of, used_codes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from eager_run import encoded, run
from generated_logs import HOUR, NOW, SOURCES, ZONES, a_line, a_policy, an_event, events, line
from hypothesis import example, given
from hypothesis import strategies as st
from rowwise_decode import Event, Filtered, Rejected, decode

from pipelines.opening import open_reject
from schemas.chunks import ArrivalSpan, RawChunk
from schemas.personal import PersonalBatch
from schemas.rejects import Reason
from transforms.decode import DecodeEvents, Decoder, Decoding
from transforms.privacy.sealing import fingerprint
from transforms.privacy.times import Zone

LIMIT = 64 * 1024
BOM = b"\xef\xbb\xbf"
ODD_VALUES = st.sampled_from([
    None, True, False, 0, 1, 1.0, -1, 2, 1e300, "", "x", "\0", "checkout", "circulation", "2026-03-08", "2026-3-8", "20260308xx",
    "\u00e9" * 64, "y" * 65, "z" * 129, [], {}, [1], {"a": {"b": None}}, 631_152_000_000, 631_151_999_999, 4_102_444_800_000,
    NOW + 900_000, NOW + 900_001, "\U0001f600", "A 7", "staff",
])  # fmt: skip
NAMES = st.sampled_from([
    "v", "kind", "event_id", "op", "occurred_at", "arrived_at", "patron_ref", "patron_kind", "patron_type", "home_branch",
    "birth_date", "postal_code", "action", "change", "branch", "material", "audience", "campaign_type", "response", "title",
    "Kind", "", "event_id\0", "@key",
])  # fmt: skip
GARBAGE = st.sampled_from([
    b"null", b"[]", b"{}", b"7", b'"text"', b"{", b"}", b"\xff", b"\x00", b"\xc2\xa0", b"nul", b"[" * 50_000, b'{"a":' * 50_000,
    b"NaN", b"[" + a_line() + b"]", b"{}{}", b"\xed\xa0\x80",
])  # fmt: skip


@st.composite
def odd_lines(draw):
    """A line that may be anything: an event, one with other fields or values, parts and joints of lines, bytes."""
    event = draw(st.sampled_from([an_event(), an_event(kind="patron"), an_event(kind="engagement")]))
    event = event | draw(st.dictionaries(NAMES, ODD_VALUES, max_size=2))
    for name in draw(st.lists(NAMES, max_size=1)):
        event.pop(name, None)
    text = json.dumps(event, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    cut = draw(st.integers(0, len(text)))
    return draw(
        st.sampled_from(
            [
                text,
                text,
                text,
                text,
                BOM + text,
                b" " + text + b"\t\r",
                text + text,
                text[:cut],
                text[cut:],
                text + b"," + text,
                text[:cut] + b"\x00" + text[cut:],
                text[:cut] + b"\xff" + text[cut:],
                text[:cut] + b"\\u0000" + text[cut:],
                text[:cut] + b"\\ud800" + text[cut:],
                text.replace(b"1", b"1e999"),
                text.replace(b":", b": NaN,", 1),
                text.replace(b"1", b"1" + b"0" * 400),
                text + b" " * LIMIT,
                text[:-1] + b" " * (LIMIT - len(text)) + b"}",
                text[:-1] + b" " * (LIMIT + 1 - len(text)) + b"}",
            ]
        )
    )


def lines_with_faults(policy):
    whole = events(policy).map(lambda crowd: line(crowd[0]))
    return st.lists(st.one_of(whole, odd_lines(), GARBAGE), max_size=8)


def outcomes(lines, rules, policy):
    """What the reference makes of the messages among the lines; empty lines are none, marks at their heads no part."""
    messages = [line.removeprefix(BOM) for line in lines]
    return [(message, decode(message, rules, policy, NOW)) for message in messages if message.strip()]


@given(st.data(), st.sampled_from([1, 300, 2000]))
def test_lines_are_decoded_alike_in_pieces_of_any_size(data, size):
    policy = a_policy()
    lines = data.draw(lines_with_faults(policy))
    at_once = decode_lines(lines, SOURCES[0], policy, NOW)

    with mock.patch("transforms.messages._PIECE", size):
        decoded = decode_lines(lines, SOURCES[0], policy, NOW)

    assert list(map(encoded, decoded.batches)) == list(map(encoded, at_once.batches))
    assert [(payload, *vars(error).values()) for payload, error in decoded.rejects] == [
        (payload, *vars(error).values()) for payload, error in at_once.rejects
    ]
    assert decoded.counts == at_once.counts
    assert decoded.span == at_once.span


def test_a_line_with_a_byte_order_mark_is_the_same_message_wherever_a_chunk_is_cut():
    at_once = decode_lines([a_line(), BOM, b""], SOURCES[0], a_policy(), NOW)
    cut = [decode_lines([line], SOURCES[0], a_policy(), NOW) for line in (a_line(), BOM)]

    assert at_once.counts["messages"] == sum(one.counts["messages"] for one in cut)


@given(st.data(), st.sampled_from(ZONES), st.sampled_from(SOURCES))
def test_each_line_is_accepted_filtered_or_refused_as_it_is_alone(data, time_zone, rules):
    policy = a_policy(time_zone)
    lines = data.draw(lines_with_faults(policy))
    expected = outcomes(lines, rules, policy)

    decoded = decode_lines(lines, rules, policy, NOW)

    accepted = sorted(
        (used_codes(one, policy) for _, one in expected if isinstance(one, Event)), key=attrgetter("kind")
    )
    refused = [(message, *one) for message, one in expected if isinstance(one, Rejected)]
    found = [(payload, error.reason, error.fields, error.unknown) for payload, error in decoded.rejects]
    assert [event for batch in decoded.batches for event in events_of(batch, policy)] == accepted
    assert found == refused
    assert decoded.counts["messages"] == len(expected)
    assert decoded.counts["decoded"] == len(expected) - len(refused)
    assert decoded.counts["events"] == len(expected) - len(refused)
    for why in ("kind", "not_a_patron", "no_patron"):
        assert decoded.counts[f"filtered/{why}"] == sum(one == Filtered(why) for _, one in expected)


@given(st.data())
@example(None)
def test_a_bad_line_costs_that_line_and_no_other(data):
    policy, rules = a_policy(), SOURCES[0]
    good = [a_line(event_id=f"e{at}") for at in range(3)]
    bad = [b'{"kind":', b'"patron"}', a_line() + a_line()] if data is None else data.draw(st.lists(GARBAGE, max_size=4))
    mixed = good + bad if data is None else data.draw(st.permutations(good + bad))

    decoded = decode_lines(mixed, rules, policy, NOW)

    found = [event for batch in decoded.batches for event in events_of(batch, policy)]
    assert found == [used_codes(one, policy) for _, one in outcomes(mixed, rules, policy) if isinstance(one, Event)]
    assert {event.event_id for event in found} == {"e0", "e1", "e2"}


@pytest.mark.parametrize(
    ("lines", "reasons"),
    [
        ([a_line() + a_line(), b""], [Reason.NOT_JSON]),
        ([b'{"kind":', a_line()[len(b'{"kind":') :], a_line() + a_line()], [Reason.NOT_JSON] * 3),
        ([a_line(), b"\x00", b"{", b"[]"], [Reason.NUL_BYTE, Reason.NOT_JSON, Reason.WRONG_TYPE]),
        ([a_line(v=True)], [Reason.UNKNOWN_VERSION]),
        ([a_line(event_id="a\0b")], [Reason.NUL_BYTE]),
        ([b"[" * 50_000], [Reason.TOO_DEEP]),
        ([a_line() + b" " * LIMIT], [Reason.OVERSIZE]),
    ],
)
def test_faulty_lines_have_their_own_reasons(lines, reasons):
    decoded = decode_lines(lines, SOURCES[0], a_policy(), NOW)

    assert [error.reason for _, error in decoded.rejects] == reasons


def test_of_two_faults_a_version_that_is_no_number_is_the_reason():
    decoded = decode_lines([a_line(v=True, patron_type=5)], SOURCES[0], a_policy(), NOW)

    assert [error.reason for _, error in decoded.rejects] == [Reason.UNKNOWN_VERSION]


@pytest.mark.parametrize("version", [None, True, 1.0])
def test_without_a_known_kind_nothing_else_of_an_event_is_judged(version):
    lines = [json.dumps(an_event(v=one, kind="odd")).encode() for one in (2, version)]

    faults = [(error.reason, error.fields) for _, error in decode_lines(lines, SOURCES[0], a_policy(), NOW).rejects]

    assert faults == [(Reason.UNKNOWN_KIND, ("kind",))] * 2


@pytest.mark.parametrize(("size", "refused"), [(LIMIT, 0), (LIMIT + 1, 1)])
def test_a_message_may_have_sixty_four_kibibytes_and_not_one_byte_more(size, refused):
    message = a_line()[:-1].ljust(size - 1) + b"}"

    assert len(decode_lines([message], SOURCES[0], a_policy(), NOW).rejects) == refused


def test_the_span_reaches_over_accepted_events_only():
    lines = [
        a_line(arrived_at=NOW - 500, occurred_at=NOW - 900),
        a_line(arrived_at=NOW - 300, occurred_at=NOW - 400),
        a_line(arrived_at=NOW - 100, occurred_at=NOW - 100, branch="nowhere"),
        a_line(arrived_at=NOW - 50, occurred_at=NOW - 50, patron_kind="staff"),
    ]

    decoded = decode_lines(lines, SOURCES[0], a_policy(), NOW)

    assert decoded.span == ArrivalSpan("ils", NOW - 500, NOW - 300, NOW - 400)


def arrivals(*kinds):
    return [a_line(kind=kind, arrived_at=NOW - 500 + away, occurred_at=NOW - 600) for kind, away in kinds] + [b""]


@pytest.mark.parametrize(
    ("lines", "in_order"),
    [
        (arrivals(("patron", 0), ("patron", 0), ("circulation", 5)), True),
        (arrivals(("patron", 1), ("patron", 0)), False),
        (arrivals(("patron", 1), ("circulation", 0)), False),
    ],
)  # fmt: skip
def test_the_span_says_whether_arrivals_step_back(lines, in_order):
    assert decode_lines(lines, SOURCES[0], a_policy(), NOW).span.in_order == in_order


def test_without_accepted_events_no_clock_moves():
    assert decode_lines([a_line(patron_kind="staff"), b"{"], SOURCES[0], a_policy(), NOW).span is None
    assert decode_lines([], SOURCES[0], a_policy(), NOW).span is None


def test_a_chunk_that_breaks_off_is_one_more_reject():
    chunk = RawChunk("ils", b"", (a_line() + b"\n",), truncated=True)

    decoded = Decoder(SOURCES[0], a_policy(), Zone("UTC"), {}, NOW).decode(chunk)

    assert [(payload, error.reason) for payload, error in decoded.rejects] == [(b"", Reason.TRUNCATED)]
    assert decoded.counts["messages"] == 2
    assert decoded.counts["decoded"] == 1


OFFICER = bytes(range(1, 33))
RECIPIENT = X25519PrivateKey.from_private_bytes(OFFICER).public_key().public_bytes_raw()


def no_lookups(source):
    return {}


def decoding(policy):
    return Decoding(
        tenant="library",
        policy=policy,
        sources=SOURCES,
        keyring=KeysOfTests(),
        lookups=no_lookups,
        recipient=RECIPIENT,
        now=NOW,
    )


def run_decode(chunks):
    return run(DecodeEvents(decoding(a_policy())), chunks, RawChunk)


def chunk_of(source, *lines):
    return RawChunk(source, b"", (b"\n".join(lines),))


def test_nothing_in_nothing_out():
    made, counters = run_decode([])

    assert made == {"events": [], "rejects": [], "spans": []}
    assert not counters


@pytest.mark.parametrize("element", [bytes, PersonalBatch])
def test_a_graph_that_decodes_anything_but_raw_chunks_fails_while_it_is_built(element):
    with pytest.raises(TypeCheckError):
        run(DecodeEvents(decoding(a_policy())), [], element)


def test_every_message_ends_in_exactly_one_output():
    good = [a_line(event_id="a"), a_line(event_id="b", kind="patron")]
    chunks = [
        chunk_of("ils", *good, b"{", a_line(shoe=1)),
        chunk_of("bus", a_line(patron_kind="staff")),
        chunk_of("crm"),
    ]

    made, counters = run_decode(chunks)

    decoders = {rules.name: Decoder(rules, a_policy(), Zone("America/New_York"), {}, NOW) for rules in SOURCES}
    expected = [batch for chunk in chunks for batch in decoders[chunk.source].decode(chunk).batches]
    assert sorted(map(encoded, made["events"])) == sorted(map(encoded, expected))
    assert sorted(reject.reason for reject in made["rejects"]) == ["disallowed_field", "not_json"]
    assert made["spans"] == [ArrivalSpan("ils", NOW - HOUR, NOW - HOUR, NOW - HOUR)]
    assert counters["messages"] == 5
    assert counters["decoded"] == 3
    assert counters["filtered/not_a_patron"] == 1
    assert counters["rejected/not_json"] == counters["rejected/disallowed_field"] == 1


def test_a_reject_opens_for_the_officer_only_and_quotes_nothing_in_the_clear():
    message = a_line(shoe_size="46", patron_ref="21234000000018")

    made, _ = run_decode([chunk_of("ils", message)])

    reject = made["rejects"][0]
    assert json.loads(reject.clear) == {
        "v": 1,
        "tenant": "library",
        "source": "ils",
        "reason": "disallowed_field",
        "received_day": "2027-01-15",
        "size_class": "256B" if len(message) <= 256 else "1KiB",
        "policy_hash": a_policy().digest,
        "recipient": fingerprint(RECIPIENT),
        "fields": [],
        "unknown_fields": 1,
    }
    assert open_reject(OFFICER, reject.clear, reject.sealed) == message
    assert b"2123" not in reject.clear + reject.sealed
    assert b"shoe" not in reject.clear + reject.sealed


def test_a_repeated_reject_is_recognised_within_its_source_only():
    bad = a_line(shoe=1)

    made, _ = run_decode(
        [chunk_of("ils", bad), chunk_of("ils", bad), chunk_of("bus", bad), chunk_of("ils", bad + b" ")]
    )

    of_ils, of_bus = (
        [reject.seen for reject in made["rejects"] if reject.source == source] for source in ("ils", "bus")
    )
    assert len(of_ils) == 3
    assert len(set(of_ils)) == 2
    assert not set(of_ils) & set(of_bus)


def test_an_oversized_message_is_refused_and_not_kept():
    made, _ = run_decode([chunk_of("ils", a_line() + b" " * LIMIT)])

    reject = made["rejects"][0]
    assert (reject.reason, reject.sealed) == ("oversize", b"")
    assert json.loads(reject.clear)["size_class"] == "over"
