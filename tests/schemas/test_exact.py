"""Why the exact reader refuses an event: one reason for each fault, the most telling one where there are several."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import EARLIEST, LATEST, Circulation, Engagement, Patron
from schemas.exact import read
from schemas.rejects import DecodeError, Reason

EVENT = {"kind": "circulation", "event_id": "e", "occurred_at": EARLIEST, "action": "checkout"}
LEFT_OUT = object()

# (field, what stands there instead, the reason); the order of the reasons is the order in which they tell.
FAULTS = [
    ("shoe", 43, Reason.DISALLOWED_FIELD),
    ("change", "new", Reason.DISALLOWED_FIELD),
    ("v", 2, Reason.UNKNOWN_VERSION),
    ("v", None, Reason.UNKNOWN_VERSION),
    ("v", 10**30, Reason.UNKNOWN_VERSION),
    ("v", {"v": 1}, Reason.UNKNOWN_VERSION),
    ("v", True, Reason.UNKNOWN_VERSION),
    ("v", 1.0, Reason.UNKNOWN_VERSION),
    ("event_id", LEFT_OUT, Reason.MISSING_FIELD),
    ("occurred_at", LEFT_OUT, Reason.MISSING_FIELD),
    ("action", LEFT_OUT, Reason.MISSING_FIELD),
    ("occurred_at", EARLIEST - 1, Reason.BAD_TIME),
    ("occurred_at", LATEST, Reason.BAD_TIME),
    ("occurred_at", "2026-03-01", Reason.BAD_TIME),
    ("occurred_at", True, Reason.BAD_TIME),
    ("arrived_at", float(EARLIEST), Reason.BAD_TIME),
    ("arrived_at", 10**30, Reason.BAD_TIME),
    ("event_id", 17, Reason.WRONG_TYPE),
    ("patron_ref", ["p"], Reason.WRONG_TYPE),
    ("patron_type", b"adult", Reason.WRONG_TYPE),
    ("branch", {"code": "B01"}, Reason.WRONG_TYPE),
    ("birth_date", 20000229, Reason.WRONG_TYPE),
    ("action", "borrowed", Reason.UNKNOWN_CODE),
    ("op", "Add", Reason.UNKNOWN_CODE),
    ("patron_kind", None, Reason.UNKNOWN_CODE),
    ("event_id", "", Reason.BAD_VALUE),
    ("material", "m" * 65, Reason.BAD_VALUE),
    ("patron_ref", "\ud800", Reason.BAD_VALUE),
    ("postal_code", "1" * 17, Reason.BAD_VALUE),
    ("birth_date", "2000-2-29", Reason.BAD_VALUE),
]
MOST_TELLING_FIRST = list(dict.fromkeys(reason for _, _, reason in FAULTS))


def with_faults(*faults):
    event = EVENT | {name: value for name, value, _ in faults}
    return {name: value for name, value in event.items() if value is not LEFT_OUT}


def refusal(value):
    with pytest.raises(DecodeError) as refused:
        read(value)
    return refused.value


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_its_reason_and_names_its_field_if_the_contract_does(fault):
    name, _, reason = fault
    error = refusal(with_faults(fault))

    assert error.reason is reason
    assert (error.fields, error.unknown) == (((), 1) if reason is Reason.DISALLOWED_FIELD else ((name,), 0))


@pytest.mark.parametrize("version", [True, 1.0, None, 2])
def test_another_version_tells_more_than_what_else_is_wrong_but_for_disallowed_fields_and_kinds(version):
    event = EVENT | {"v": version, "action": "borrowed"}

    assert (refusal(event).reason, refusal(event).fields) == (Reason.UNKNOWN_VERSION, ("action", "v"))
    assert refusal(event | {"shoe": 43}).reason is Reason.DISALLOWED_FIELD
    assert refusal(event | {"kind": "loan"}).reason is Reason.UNKNOWN_KIND


@given(st.lists(st.sampled_from(FAULTS), min_size=2, max_size=5, unique_by=lambda fault: fault[0]))
def test_of_several_faults_the_most_telling_one_is_the_reason(faults):
    error = refusal(with_faults(*faults))
    reasons = [reason for _, _, reason in faults]

    assert error.reason is min(reasons, key=MOST_TELLING_FIRST.index)
    assert error.unknown == reasons.count(Reason.DISALLOWED_FIELD)
    assert error.fields == (() if error.unknown else tuple(sorted(name for name, _, _ in faults)))


@pytest.mark.parametrize("kind", ["", "Circulation", "loan", 1, True, None, [], {"kind": "patron"}, "patron\0"])
def test_an_unknown_kind_is_refused_as_such_whatever_else_is_wrong(kind):
    error = refusal({"kind": kind, "shoe": 43})

    assert (error.reason, error.fields, error.unknown) == (Reason.UNKNOWN_KIND, ("kind",), 0)


def test_an_event_without_a_kind_lacks_its_kind():
    error = refusal({name: value for name, value in EVENT.items() if name != "kind"})

    assert (error.reason, error.fields) == (Reason.MISSING_FIELD, ("kind",))


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "event", [], [EVENT]])
def test_what_is_no_object_has_the_wrong_type(value):
    error = refusal(value)

    assert (error.reason, error.fields, error.unknown) == (Reason.WRONG_TYPE, (), 0)


def test_a_nul_byte_in_any_text_is_refused_and_its_fields_are_named():
    error = refusal(EVENT | {"material": "bo\0ok", "event_id": "\0", "branch": "B01"})

    assert (error.reason, error.fields) == (Reason.NUL_BYTE, ("event_id", "material"))


def test_a_refusal_holds_no_value_of_the_event():
    error = refusal(EVENT | {"patron_ref": ["21234000000018"], "21234000000018": "21234000000018"})

    assert "21234000000018" not in f"{error!r} {error} {error.__dict__} {error.__cause__!r}"
    assert error.__suppress_context__


@pytest.mark.parametrize(
    ("kind", "model", "further"),
    [
        ("circulation", Circulation, {"action": "renewal"}),
        ("patron", Patron, {"change": "new"}),
        ("engagement", Engagement, {}),
    ],
)
def test_what_is_left_out_has_its_default(kind, model, further):
    event = read({"kind": kind, "event_id": "e", "occurred_at": LATEST - 1} | further)

    assert type(event) is model
    assert (event.v, event.op, event.patron_kind) == (1, "add", "patron")
    assert (event.arrived_at, event.patron_ref, event.birth_date) == (None, None, None)
