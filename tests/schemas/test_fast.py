"""The fast reader against the exact one, on JSON text as it may come: every token, name and order."""

import json

import annotated_types as at
import msgspec
import pytest
from contract_events import BASES, EVENTS, KNOWN
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from schemas import fast
from schemas.events import EARLIEST, LATEST, Event
from schemas.exact import read
from schemas.fast import READER, STRUCTS
from schemas.rejects import DecodeError, Reason
from schemas.wire.carrel_event import exactly
from schemas.wire.envelopes import open_json

FULL = {
    "v": 1, "op": "retract", "arrived_at": EARLIEST, "patron_ref": "21234000000018", "patron_kind": "staff",
    "patron_type": None, "home_branch": "B", "birth_date": "2000-02-29", "postal_code": "10001",
}  # fmt: skip
STARTS = [*BASES.values(), *(base | FULL for base in BASES.values())]

# JSON that is often taken for something else.
NUMBERS = [
    "0", "-0", "1", "1.0", "1e0", "2", "9" * 19, "9" * 20, "9" * 300, "-" + "9" * 20, f"{EARLIEST - 1}", f"{EARLIEST}",
    f"{EARLIEST}.0", f"{EARLIEST}.5", "7e11", f"{LATEST - 1}", f"{LATEST}", str(2**53 + 1), str(2**63), str(2**64),
]  # fmt: skip
STRINGS = [
    '""', '"e"', '"1"', f'"{EARLIEST}"', '"add"', '"Add"', '"retract"', '"checkout"', '"new"', '"patron"', '"circulation"',
    '"engagement"', '"staff"', '"2026-03-01"', '"2026-3-1"', '"2026-13-99"', '"2026-03-01T"', '"\\u0032026-03-01"',
    '"\\u0000"', '"a\\u0000b"', '"\\\\u0000"', '"\\ud83d\\ude00"', '"\x7f"', '"tab\\tline\\n"', '"%s"' % ("x" * 16),
    '"%s"' % ("x" * 17), '"%s"' % ("x" * 64), '"%s"' % ("x" * 65), '"%s"' % ("\\ud83d\\ude00" * 64),
    '"%s"' % ("\\ud83d\\ude00" * 65), '"%s"' % ("x" * 128), '"%s"' % ("x" * 129),
]  # fmt: skip
OTHERS = ["null", "true", "false", "[]", "{}", '["e"]', '{"e":1}', '{"kind":"patron"}', "[" * 60 + "]" * 60]
# Text that is no JSON, though some readers take it.
MALFORMED = [
    "01", "+1", "1.", "1e400", "NaN", "Infinity", "-Infinity", '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d"', '"\x01"',
    '"\\x41"', "'e'", '"e', "True", "None", "undefined", "", "1,", "1}", "\N{ZERO WIDTH NO-BREAK SPACE}1", "1/**/",
]  # fmt: skip
NAMES = [
    *map(json.dumps, KNOWN), '"shoe"', '"Kind"', '"kind "', '""', '"@key"', '"__class__"', '"\\u006bind"', '"\\u0076"',
    '"event_id\\u0000"',
]  # fmt: skip
JSON_PAIRS = st.tuples(st.sampled_from(NAMES), st.sampled_from(NUMBERS) | st.sampled_from(STRINGS + OTHERS))
MALFORMED_PAIRS = st.tuples(st.sampled_from([*NAMES, "v", '"\\ud800"']), st.sampled_from(MALFORMED))
FRAMES = [
    *[("{", "}")] * 6,
    ("{ ", "\r"),
    (" {", "\n}"),
    ("[{", "}]"),
    ("{", ""),
    ("{", "}}"),
    ("\ufeff{", "}"),
    ("{", "}\0"),
]


@st.composite
def messages(draw, malformed=False):
    """An event as text, with one name left out, up to three replaced, added or given twice, in any order."""
    pairs = [(json.dumps(name), json.dumps(value)) for name, value in draw(st.sampled_from(STARTS)).items()]
    dropped = draw(st.integers(-30, len(pairs) - 1))
    added = draw(st.lists(JSON_PAIRS, max_size=3))
    added += draw(st.lists(MALFORMED_PAIRS, min_size=1, max_size=1)) if malformed else []
    kept = [pair for at, pair in enumerate(pairs) if at != dropped]
    if draw(st.booleans()):
        kept = [pair for pair in kept if pair[0] not in {name for name, _ in added}]
    opening, closing = draw(st.sampled_from(FRAMES)) if malformed else ("{", "}")
    body = ",".join(f"{name}:{value}" for name, value in draw(st.permutations(kept + added)))
    return f"{opening}{body}{closing}".encode(errors="surrogatepass")


TEXTS = st.one_of(messages(), messages(), messages(), messages(malformed=True))


def typed(values):
    """Values that differ also where Python calls them equal: 1, True and 1.0."""
    return {name: (type(value), value) for name, value in values.items()}


def typed_event(struct):
    return typed({"kind": struct.__struct_config__.tag} | msgspec.structs.asdict(struct))


def accepted(message):
    try:
        return READER.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


@given(TEXTS)
@settings(max_examples=600)
def test_what_the_fast_reader_accepts_the_exact_one_accepts_with_equal_values(message):
    event = accepted(message)
    if event is not None:
        assert typed(read(json.loads(message)).model_dump()) == typed_event(event)
        assert typed_event(exactly(open_json(message).value)) == typed_event(event)


@given(TEXTS)
@settings(max_examples=600)
def test_what_the_exact_reader_refuses_the_fast_one_refuses_and_the_reason_quotes_nothing(message):
    try:
        exactly(open_json(message).value)
    except DecodeError as error:
        assert accepted(message) is None
        assert error.reason in Reason
        assert set(error.fields) <= set(KNOWN)
        assert str(error) == error.reason.value
        assert error.__cause__ is None
        assert error.__suppress_context__ or error.__context__ is None


@given(EVENTS, st.booleans(), st.randoms(use_true_random=False))
def test_every_event_of_the_contract_is_accepted_by_both_with_its_values_in_any_order(event, ascii_only, chance):
    pairs = list(event.items())
    chance.shuffle(pairs)
    message = json.dumps(dict(pairs), ensure_ascii=ascii_only).encode()
    found = READER.decode(message)

    assert typed_event(found) == typed(read(event).model_dump()) == typed_event(exactly(event))
    assert typed(event).items() <= typed_event(found).items()


@given(st.lists(EVENTS, min_size=1, max_size=5))
def test_lines_are_read_as_they_are_read_one_by_one(events):
    lines = [json.dumps(event).encode() for event in events]

    assert READER.decode_lines(b"\n".join(lines) + b"\n") == [READER.decode(line) for line in lines]


def test_events_of_all_kinds_may_follow_each_other_line_by_line():
    lines = [json.dumps(base).encode() for base in BASES.values()]

    assert READER.decode_lines(b"\n".join(lines)) == [READER.decode(line) for line in lines]


@pytest.mark.parametrize("kind", sorted(BASES))
@pytest.mark.parametrize("name", ["shoe", "Kind", "", "event_id ", "__class__"])
@pytest.mark.parametrize("place", [0, 1, -1])
def test_a_field_that_the_contract_does_not_name_is_refused_wherever_it_stands(kind, name, place):
    pairs = list(BASES[kind].items())
    pairs.insert(place, (name, 1))

    assert accepted(json.dumps(dict(pairs)).encode()) is None


@pytest.mark.parametrize(
    "token", ["true", "1.0", "1e0", '"1"', "null", "2", "0", "9" * 30, "NaN", "1e400", "[1]"]
)  # fmt: skip
def test_version_one_is_written_as_the_whole_number_one(token):
    message = b'{"v":' + token.encode() + b"," + json.dumps(BASES["engagement"]).encode()[1:]

    assert accepted(message) is None
    with pytest.raises(DecodeError) as refused:
        read(json.loads(message))
    assert refused.value.reason is Reason.UNKNOWN_VERSION
    assert refused.value.fields == ("v",)


@pytest.mark.parametrize("token", ["true", f"{EARLIEST}.0", "7e11", f'"{EARLIEST}"', "9" * 30, "-0", "NaN"])
@pytest.mark.parametrize("name", ["occurred_at", "arrived_at"])
def test_an_instant_is_a_whole_number_in_range(name, token):
    message = json.dumps(BASES["engagement"] | {name: "?"}).replace('"?"', token).encode()

    assert accepted(message) is None
    with pytest.raises(DecodeError) as refused:
        read(json.loads(message))
    assert refused.value.reason is Reason.BAD_TIME
    assert refused.value.fields == (name,)


@pytest.mark.parametrize("name", ["event_id", "patron_ref", "branch"])
def test_an_escaped_nul_byte_is_refused_by_both_and_an_escaped_backslash_is_not(name):
    nul, backslash = (json.dumps(BASES["circulation"] | {name: value}).encode() for value in ("a\0b", "a\\u0000b"))

    assert accepted(nul) is None
    with pytest.raises(msgspec.DecodeError):
        READER.decode_lines(json.dumps(BASES["patron"]).encode() + b"\n" + nul)
    with pytest.raises(DecodeError) as refused:
        read(json.loads(nul))
    assert refused.value.reason is Reason.NUL_BYTE
    assert refused.value.fields == (name,)
    assert getattr(exactly(open_json(backslash).value), name) == "a\\u0000b"


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc00\\ud800", "\\ud83d", "a\\udfff"])
def test_half_characters_are_refused_by_both(escape):
    message = json.dumps(BASES["circulation"] | {"patron_ref": "?"}).replace("?", escape).encode()

    assert accepted(message) is None
    with pytest.raises(DecodeError):
        read(json.loads(message))


@pytest.mark.parametrize("name", KNOWN)
def test_of_a_name_given_twice_the_last_value_counts_for_both(name):
    values = {"kind": "circulation", "occurred_at": LATEST - 1, "arrived_at": EARLIEST, "v": 1, "op": "retract"}
    values |= {"action": "renewal", "patron_kind": "staff", "birth_date": "2000-02-29"}
    last = json.dumps({name: values.get(name, "z")})[1:]
    first = json.dumps(BASES["circulation"] | {"op": "add"})[:-1]
    message = f"{first},{last}".encode()
    found = accepted(message)

    assert (found is None) == (name in {"change", "campaign_type", "response"})
    if found is not None:
        assert typed_event(found)[name] == typed({name: values.get(name, "z")})[name]
        assert typed_event(found) == typed_event(exactly(open_json(message).value))


@pytest.mark.parametrize("message", ["{}", "[]", "1", "null", '"e"', '{"v":1}', '{"kind":null}', '{"kind":["patron"]}'])
def test_what_names_no_kind_is_refused_by_both(message):
    assert accepted(message.encode()) is None
    with pytest.raises(DecodeError):
        read(json.loads(message))


def test_deep_nesting_costs_the_message_and_nothing_else():
    message = b'{"kind":"patron","x":' + b"[" * 50_000 + b"]" * 50_000 + b"}"

    assert accepted(message) is None
    with pytest.raises(DecodeError) as refused:
        open_json(message)
    assert refused.value.reason is Reason.TOO_DEEP


@pytest.mark.parametrize("constraint", [at.Gt(1), at.MultipleOf(2), *FieldInfo(pattern="^a$").metadata])
def test_a_constraint_that_the_fast_reader_cannot_hold_stops_the_program(constraint):
    with pytest.raises(TypeError, match="fast reader: cannot hold"):
        fast._constraint(constraint)


@pytest.mark.parametrize("kind", sorted(BASES))
def test_events_show_nothing_of_themselves(kind):
    given = BASES[kind] | {"patron_ref": "21234000000018"}
    event, struct = read(given), READER.decode(json.dumps(given).encode())

    assert isinstance(event, Event)
    assert type(struct) is STRUCTS[kind]
    assert repr(event) == str(event) == repr(struct) == f"{kind.capitalize()}(<redacted>)"
