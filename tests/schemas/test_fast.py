"""What the fast reader accepts, the exact one accepts with equal values; what it refuses has a reason."""

import json

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.contract_files import avro_schema
from schemas.events import EARLIEST, LATEST, MODELS, Event
from schemas.exact import read
from schemas.fast import READER
from schemas.rejects import DecodeError, Reason, SealedReject

ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(), st.text(max_size=70), st.lists(st.integers(), max_size=2),
    st.sampled_from([EARLIEST - 1, EARLIEST, LATEST - 1, LATEST, "2026-03-01", "add", "B01", "checkout", "1"]),
)  # fmt: skip
NAMES = sorted({name for model in MODELS.values() for name in model.model_fields} | {"shoe"})
BASES = [
    {"kind": "circulation", "event_id": "e", "occurred_at": EARLIEST, "action": "checkout"},
    {"kind": "patron", "event_id": "e", "occurred_at": LATEST - 1, "change": "new"},
    {"kind": "engagement", "event_id": "e", "occurred_at": EARLIEST},
]


@given(st.sampled_from(BASES), st.dictionaries(st.sampled_from(NAMES), ODD, max_size=3))
def test_what_the_fast_reader_accepts_the_exact_one_accepts_with_equal_values(base, changes):
    message = json.dumps(base | changes).encode()
    try:
        fast = READER.decode(message)
    except msgspec.DecodeError:
        return

    exact = read(json.loads(message))

    assert exact.model_dump(exclude={"kind"}) == msgspec.structs.asdict(fast)


@given(st.sampled_from(BASES), st.dictionaries(st.sampled_from(NAMES), ODD, max_size=3))
def test_a_refusal_names_a_reason_and_only_known_fields(base, changes):
    try:
        read(base | changes)
    except DecodeError as error:
        assert error.reason in Reason
        assert set(error.fields) <= set(NAMES) - {"shoe"}
        assert str(error) == error.reason.value


def test_events_show_nothing_of_themselves():
    event = read(BASES[0] | {"patron_ref": "21234000000018"})

    assert isinstance(event, Event)
    assert "2123" not in repr(event) + str(event) + repr(READER.decode(json.dumps(BASES[0]).encode()))


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_the_avro_schema_is_one(kind):
    assert fastavro.parse_schema(avro_schema(kind, MODELS[kind]))


def test_a_sealed_reject_is_a_value():
    assert SealedReject("s", "empty", b"", b"", b"") == SealedReject("s", "empty", b"", b"", b"")
