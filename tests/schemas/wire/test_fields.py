"""Every field is named; anything else is refused, and only used fields come out."""

import copy
import pickle

import pytest

from schemas.rejects import DecodeError, Reason
from schemas.wire import fields as wire
from schemas.wire.fields import Field, FieldTable

TABLE = FieldTable(
    (
        Field("id", "used", "L"),
        Field("person.name", "dropped", "D"),
        Field("person.codes[]", "used", "ok"),
        Field("person.homes[].postal", "used", "Q"),
        Field("person.homes[].street", "dropped", "D"),
        Field("custom", "dropped", "S"),
        Field("@headers.folio.tenantid", "dropped", "ok"),
    )
)


def refused(record: object, **more: object) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        TABLE.check(record, **more)  # type: ignore[arg-type]
    return caught.value


def test_only_used_fields_come_out() -> None:
    record = {
        "id": "a",
        "person": {"name": "N", "codes": ["x"], "homes": [{"postal": "1", "street": "S"}, None]},
        "custom": {"any": {"thing": [1]}},
        "@headers": {"folio.tenantid": "t"},
    }
    assert TABLE.check(record) == {
        "id": "a",
        "person": {"codes": ["x"], "homes": [{"postal": "1"}, None]},
        "@headers": {},
    }


def test_unknown_fields_are_counted_at_any_depth_and_never_named() -> None:
    secret = "ann@example.org"
    found = refused(
        {"id": "a", secret: 1, "person": {secret: 1, "homes": [{secret: 1}, {secret: 2}]}, "@headers": {"x": 1}}
    )
    assert found.reason is Reason.DISALLOWED_FIELD
    assert found.unknown == 5
    assert found.fields == ("@headers", "person", "person.homes")
    assert secret not in repr(found) + str(found)


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"id": {}}, "id"),
        ({"id": []}, "id"),
        ({"person": "x"}, "person"),
        ({"person": []}, "person"),
        ({"person": {"codes": "x"}}, "person.codes"),
        ({"person": {"codes": [["x"]]}}, "person.codes"),
        ({"person": {"homes": {}}}, "person.homes"),
        ({"person": {"homes": ["x"]}}, "person.homes"),
    ],
)
def test_a_value_of_another_shape_is_a_wrong_type(record: object, name: str) -> None:
    found = refused(record)
    assert (found.reason, found.fields) == (Reason.WRONG_TYPE, (name,))


def test_a_message_that_is_no_object_is_a_wrong_type() -> None:
    assert refused([1]).reason is Reason.WRONG_TYPE


def test_null_is_kept_as_null() -> None:
    assert TABLE.check({"id": None, "person": {"homes": None}}) == {"id": None, "person": {"homes": None}}


def test_a_source_may_drop_and_strip_fields_of_its_own_system() -> None:
    record = {"id": "a", "own": {"x": 1}, "person": {"extra": 1, "codes": None}}
    kept = TABLE.check(record, (("own", "S"),), ("person.extra",))
    assert kept == {"id": "a", "person": {"codes": None}}
    assert TABLE.check(record, (("own", "S"),), ("person.extra",)) == kept
    assert refused({**record, "more": 1}, also_drop=(("own", "S"),), strip=("person.extra",)).unknown == 1


def test_a_drop_beats_a_use_and_a_strip_never_does() -> None:
    assert TABLE.check({"id": "a"}, (("id", "L"),)) == {}
    assert TABLE.check({"id": "a"}, (), ("id", "person")) == {"id": "a"}
    assert TABLE.check({"new": {"deep": 1}, "id": "a"}, (("new.deep", "S"),)) == {"new": {}, "id": "a"}


@pytest.mark.parametrize(
    "entries",
    [
        [Field("a", "used", "X")],
        [Field("a", "kept", "L")],
        [Field("a", "used", "L"), Field("a", "dropped", "L")],
    ],
)
def test_a_table_with_a_bad_entry_cannot_be_made(entries: list[Field]) -> None:
    with pytest.raises(ValueError, match="field table"):
        FieldTable(entries)


def test_a_table_survives_pickling() -> None:
    for again in (pickle.loads(pickle.dumps(TABLE)), copy.deepcopy(TABLE)):
        assert again.fields == TABLE.fields
        assert again.check({"id": "a"}) == {"id": "a"}


def test_readers_tell_absent_from_wrong() -> None:
    record = {"a": {"s": "x", "e": "", "n": 1, "b": True}, "none": None}
    assert wire.pick(record, "none.deeper") is None
    assert (wire.text(record, "a.s"), wire.text(record, "a.e"), wire.text(record, "a.z")) == ("x", None, None)
    assert (wire.flag(record, "a.b"), wire.flag(record, "a.z")) == (True, None)
    assert (wire.whole(record, "a.n"), wire.whole(record, "a.z")) == (1, None)
    assert wire.required_text(record, "a.s") == "x"
    for call, reason in (
        (lambda: wire.text(record, "a.n"), Reason.WRONG_TYPE),
        (lambda: wire.text(record, "a.s", limit=0), Reason.BAD_VALUE),
        (lambda: wire.flag(record, "a.n"), Reason.WRONG_TYPE),
        (lambda: wire.whole(record, "a.b"), Reason.WRONG_TYPE),
        (lambda: wire.whole(record, "a.s"), Reason.WRONG_TYPE),
        (lambda: wire.pick(record, "a.s.t"), Reason.WRONG_TYPE),
        (lambda: wire.required_text(record, "a.e"), Reason.MISSING_FIELD),
    ):
        with pytest.raises(DecodeError) as caught:
            call()
        assert caught.value.reason is reason
