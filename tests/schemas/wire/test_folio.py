"""FOLIO events become the acts that they stand for, and nothing that is not named passes."""

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import MODELS
from schemas.rejects import DecodeError, Reason
from schemas.wire import ADAPTERS
from schemas.wire.adapter import Context
from schemas.wire.envelopes import Delivered
from schemas.wire.folio_fields import FIELDS

SAMPLES = Path(__file__).parents[4] / "shared" / "data" / "samples" / "folio"
ARRIVED = 1_700_000_000_000
FOLIO = ADAPTERS["folio"]
USER = {
    "id": "u1",
    "active": True,
    "type": "patron",
    "patronGroup": "g1",
    "departments": ["d1", "d2"],
    "expirationDate": "2024-01-01",
    "personal": {
        "lastName": "N",
        "dateOfBirth": "1951-03-17T00:00:00.000+0000",
        "addresses": [{"postalCode": "10001", "city": "C"}, {"postalCode": "10002"}],
    },
    "metadata": {"createdDate": "2023-03-01T10:00:00Z", "updatedDate": "2023-04-01T10:00:00Z"},
    "customFields": {"any": {"thing": 1}},
}
LOAN = {
    "id": "l1",
    "userId": "u1",
    "itemId": "i1",
    "loanDate": "2023-03-01T10:00:00Z",
    "action": "checkedout",
    "checkoutServicePointId": "sp1",
    "patronGroupIdAtCheckout": "g9",
    "metadata": {"updatedDate": "2023-04-01T10:00:00Z", "createdByUserId": "s"},
}
REQUEST = {
    "id": "r1",
    "requesterId": "u1",
    "itemId": "i1",
    "requestDate": "2023-03-01T10:00:00Z",
    "status": "Open - Not yet filled",
    "pickupServicePointId": "sp2",
}
CHECK_IN = {"id": "c1", "itemId": "i1", "occurredDateTime": "2023-03-01T10:00:00Z", "servicePointId": "sp3"}
MARCH, APRIL = 1_677_664_800_000, 1_680_343_200_000
PATRON = {"patron_type": "g1", "home_branch": "d1", "birth_date": "1951-03-17", "postal_code": "10001"}
CONTEXT = Context(
    source="folio",
    lookups={
        "patrons": {"u1": {**PATRON, "patron_kind": "patron"}, "bare": {"patron_kind": "staff"}},
        "items": {"i1": {"material": "m1", "audience": "a1"}},
    },
)
TOPICS = {
    "loan": "folio.t1.circulation.loan",
    "request": "folio.t1.circulation.request",
    "check-in": "folio.t1.circulation.check-in",
    "users": "folio.t1.users.users",
}


def delivered(topic: str, kind: str, old: Any = None, new: Any = None, **more: Any) -> Delivered:
    value = {"id": "m", "type": kind, "tenant": "t", "timestamp": 1, "data": {}}
    for half, record in (("old", old), ("new", new)):
        if record is not None:
            value["data"][half] = record  # type: ignore[index]
    more = {"arrived_at": ARRIVED, "key": "k", "headers": (("X-Okapi-Url", "u"),), **more}
    return Delivered(value, topic=TOPICS.get(topic, topic), **more)


def acts(*args: Any, context: Context = CONTEXT, **more: Any) -> list[dict[str, Any]]:
    found = []
    for event in FOLIO.events(delivered(*args, **more), context):
        built = msgspec.to_builtins(event)
        MODELS[built["kind"]].model_validate(built)
        found.append({name: value for name, value in built.items() if value is not None and name != "v"})
    return found


def refused(*args: Any, context: Context = CONTEXT, **more: Any) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        FOLIO.events(delivered(*args, **more), context)
    names = {f.path.replace("[]", "") for table in FIELDS.values() for f in table.fields}
    parents = {name.rsplit(".", n)[0] for name in names for n in range(1, 5)}
    assert set(caught.value.fields) <= names | parents
    return caught.value


BASE = {"op": "add", "arrived_at": ARRIVED, "patron_ref": "u1", "patron_kind": "patron", **PATRON}
ITEM = {"material": "m1", "audience": "a1"}


def test_a_created_loan_is_a_checkout() -> None:
    assert acts("loan", "CREATED", None, LOAN) == [
        {**BASE, **ITEM, "kind": "circulation", "action": "checkout", "event_id": "l1:checkout",
         "occurred_at": MARCH, "branch": "sp1", "patron_type": "g9"}
    ]  # fmt: skip


def test_the_group_is_the_one_at_checkout_and_the_export_s_where_the_loan_says_none() -> None:
    (found,) = acts("loan", "CREATED", None, {**LOAN, "patronGroupIdAtCheckout": None})
    assert found["patron_type"] == "g1"
    (found,) = acts("loan", "CREATED", None, {**LOAN, "userId": "bare"})
    assert (found["patron_type"], found["patron_kind"]) == ("g9", "staff")
    (found,) = acts("loan", "CREATED", None, {**LOAN, "userId": None, "itemId": None})
    assert "patron_ref" not in found
    assert "material" not in found
    assert found["patron_kind"] == "patron"


def test_a_dcb_loan_is_no_patron_s() -> None:
    assert acts("loan", "CREATED", None, {**LOAN, "isDcb": True})[0]["patron_kind"] == "system"
    assert acts("loan", "CREATED", None, {**LOAN, "isDcb": False})[0]["patron_kind"] == "patron"
    assert acts("request", "CREATED", None, {**REQUEST, "isDcb": True})[0]["patron_kind"] == "system"


RENEWED = {**LOAN, "action": "renewed", "renewalCount": 2}


@pytest.mark.parametrize("action", ["renewed", "renewedThroughOverride", "renewedBySomeNewWay"])
def test_a_larger_renewal_count_is_a_renewal_whatever_the_action_is_called(action: str) -> None:
    new = {**RENEWED, "action": action}
    (found,) = acts("loan", "UPDATED", {**LOAN, "renewalCount": 1}, new)
    assert (found["event_id"], found["action"], found["occurred_at"]) == ("l1:renewal:2", "renewal", APRIL)
    assert acts("loan", "UPDATED", {**LOAN, "renewalCount": 2}, new) == []


def test_a_count_that_rose_by_more_than_one_is_as_many_renewals() -> None:
    found = acts("loan", "UPDATED", LOAN, {**RENEWED, "renewalCount": 3})
    assert [one["event_id"] for one in found] == ["l1:renewal:1", "l1:renewal:2", "l1:renewal:3"]
    assert {(one["action"], one["occurred_at"]) for one in found} == {("renewal", APRIL)}
    for count in (101, 10**12, -1):
        caught = refused("loan", "UPDATED", LOAN, {**RENEWED, "renewalCount": count})
        assert (caught.reason, caught.fields) == (Reason.BAD_VALUE, ("data.new.renewalCount",))
    caught = refused("loan", "UPDATED", {**LOAN, "renewalCount": -1}, RENEWED)
    assert (caught.reason, caught.fields) == (Reason.BAD_VALUE, ("data.old.renewalCount",))


def test_a_renewal_is_dated_by_the_record_s_change_else_by_its_arrival() -> None:
    (found,) = acts("loan", "UPDATED", {**LOAN, "renewalCount": 1}, {**RENEWED, "metadata": None})
    assert found["occurred_at"] == ARRIVED
    caught = refused("loan", "UPDATED", LOAN, {**RENEWED, "metadata": None}, arrived_at=None)
    assert caught.fields == ("data.new.metadata.updatedDate",)
    assert refused("loan", "UPDATED", None, RENEWED).reason is Reason.MISSING_FIELD


@pytest.mark.parametrize(
    "action", ["checkedin", "recallrequested", "dueDateChanged", "claimedReturned", "renewed", "feeBilledBySomeNewWay"]
)
def test_a_change_of_the_loan_that_is_no_renewal_is_no_act(action: str) -> None:
    assert acts("loan", "UPDATED", LOAN, {**LOAN, "action": action}) == []
    assert acts("loan", "UPDATED", RENEWED, {**RENEWED, "action": action}) == []


def test_a_deletion_takes_the_act_out_again() -> None:
    (made,) = acts("loan", "CREATED", None, LOAN)
    assert acts("loan", "DELETED", LOAN) == [{**made, "op": "retract"}]
    (made,) = acts("request", "CREATED", None, REQUEST)
    assert acts("request", "DELETED", REQUEST) == [{**made, "op": "retract"}]
    (made,) = acts("check-in", "CREATED", None, CHECK_IN)
    assert acts("check-in", "DELETED", CHECK_IN) == [{**made, "op": "retract"}]


def test_a_deleted_loan_or_request_takes_out_only_the_act_whose_time_it_still_tells() -> None:
    (loan,) = acts("loan", "DELETED", RENEWED)
    assert (loan["event_id"], loan["op"], loan["occurred_at"]) == ("l1:checkout", "retract", MARCH)
    (request,) = acts("request", "DELETED", {**REQUEST, "status": "Closed - Filled"})
    assert (request["event_id"], request["op"], request["occurred_at"]) == ("r1:placed", "retract", MARCH)


@pytest.mark.parametrize("topic", list(TOPICS))
def test_a_deletion_that_names_nothing_is_refused(topic: str) -> None:
    for args in (("DELETED",), ("DELETED", {"id": None}), ("ALL_DELETED",)):
        assert refused(topic, *args).reason is Reason.UNNAMED_ACT


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("Closed - Filled", "filled"),
        ("Closed - Cancelled", "cancelled"),
        ("Closed - Unfilled", "expired"),
        ("Closed - Pickup expired", "expired"),
    ],
)
def test_a_request_is_placed_and_then_has_one_outcome(status: str, outcome: str) -> None:
    (placed,) = acts("request", "CREATED", None, REQUEST)
    assert placed == {**BASE, **ITEM, "kind": "circulation", "action": "hold_placed", "event_id": "r1:placed",
                      "occurred_at": MARCH, "branch": "sp2"}  # fmt: skip
    (closed,) = acts("request", "UPDATED", REQUEST, {**REQUEST, "status": status})
    assert (closed["action"], closed["event_id"]) == (f"hold_{outcome}", f"r1:{outcome}")
    assert closed["occurred_at"] == ARRIVED
    assert acts("request", "UPDATED", {**REQUEST, "status": status}, {**REQUEST, "status": status}) == []
    assert acts("request", "UPDATED", REQUEST, {**REQUEST, "status": None}) == []
    assert acts("request", "UPDATED", REQUEST, {**REQUEST, "status": "Open - In transit"}) == []
    assert refused("request", "UPDATED", REQUEST, {**REQUEST, "status": "Lost"}).reason is Reason.UNKNOWN_CODE


def test_a_check_in_is_a_return_without_patron() -> None:
    assert acts("check-in", "CREATED", None, CHECK_IN) == [
        {"kind": "circulation", "action": "return", "event_id": "c1", "occurred_at": MARCH, "op": "add",
         "arrived_at": ARRIVED, "branch": "sp3", "patron_kind": "patron", **ITEM}
    ]  # fmt: skip
    assert acts("check-in", "UPDATED", CHECK_IN, CHECK_IN) == []


def change(old: Any, new: Any, kind: str = "UPDATED", **more: Any) -> tuple[str, str, int]:
    (found,) = acts("users", kind, old, new, **more)
    assert {**found, **BASE} == found
    return found["change"], found["event_id"], found["occurred_at"]


def test_a_user_is_new_renewed_expired_updated_or_deleted() -> None:
    assert change(None, USER, "CREATED") == ("new", "u1:new", MARCH)
    later = {**USER, "expirationDate": "2025-01-01T00:00:00Z"}
    assert change(USER, later) == ("renewed", "u1:renewed:2025-01-01", APRIL)
    assert change(later, USER)[0] == "updated"
    assert change({**USER, "expirationDate": None}, USER)[0] == "updated"
    assert change({**USER, "expirationDate": ""}, USER)[0] == "updated"
    assert change(USER, {**USER, "active": False}) == ("expired", "u1:expired:2023-04-01", APRIL)
    assert change(USER, USER) == ("updated", f"u1:updated:{APRIL}", APRIL)
    assert change(USER, None, "DELETED") == ("deleted", "u1:deleted", ARRIVED)
    assert refused("users", "DELETED", USER, arrived_at=None).reason is Reason.MISSING_FIELD


@pytest.mark.parametrize(
    ("wire", "kind"),
    [("staff", "staff"), ("shadow", "shadow"), ("system", "system"), ("dcb", "system"), (None, "patron")],
)
def test_users_that_are_no_patrons_say_so(wire: str | None, kind: str) -> None:
    assert acts("users", "CREATED", None, {**USER, "type": wire})[0]["patron_kind"] == kind


def test_a_sparse_user_has_no_codes() -> None:
    (found,) = acts("users", "CREATED", None, {"id": "u", "departments": [], "personal": {"addresses": []}})
    assert set(found) == {"kind", "change", "event_id", "op", "occurred_at", "arrived_at", "patron_ref", "patron_kind"}


@pytest.mark.parametrize(
    ("topic", "new", "reason"),
    [
        ("users", {**USER, "type": "robot"}, Reason.UNKNOWN_CODE),
        ("users", {**USER, "departments": "d"}, Reason.WRONG_TYPE),
        ("users", {**USER, "departments": [5]}, Reason.WRONG_TYPE),
        ("users", {**USER, "personal": {"dateOfBirth": "1951"}}, Reason.BAD_VALUE),
        ("users", {**USER, "personal": {"addresses": [{"postalCode": "1" * 17}]}}, Reason.BAD_VALUE),
        ("users", {**USER, "personal": {"shoeSize": 5}}, Reason.DISALLOWED_FIELD),
        ("loan", {**LOAN, "loanDate": None}, Reason.MISSING_FIELD),
        ("loan", {**LOAN, "loanDate": "2023-03-01T10:00:00"}, Reason.BAD_TIME),
        ("loan", {**LOAN, "action": None}, Reason.MISSING_FIELD),
        ("loan", {**LOAN, "action": ""}, Reason.MISSING_FIELD),
        ("loan", {**LOAN, "id": 5}, Reason.WRONG_TYPE),
        ("loan", {**LOAN, "renewalCount": "1"}, Reason.WRONG_TYPE),
        ("loan", {**LOAN, "isDcb": "yes"}, Reason.WRONG_TYPE),
        ("loan", {**LOAN, "borrowerNote": "x"}, Reason.DISALLOWED_FIELD),
        ("loan", None, Reason.MISSING_FIELD),
        ("request", {**REQUEST, "requester": {"nickname": "x"}}, Reason.DISALLOWED_FIELD),
        ("elsewhere", LOAN, Reason.UNKNOWN_KIND),
    ],
)
def test_a_bad_record_is_refused(topic: str, new: Any, reason: Reason) -> None:
    assert refused(topic, "CREATED", None, new).reason is reason


def test_unknown_fields_in_the_old_half_and_the_headers_are_refused() -> None:
    found = refused("loan", "UPDATED", {**LOAN, "x": 1}, {**LOAN, "y": 1}, headers=(("z", "1"),))
    assert (found.reason, found.unknown) == (Reason.DISALLOWED_FIELD, 3)
    assert found.fields == ("@headers", "data.new", "data.old")


def test_a_body_cannot_pose_as_its_own_envelope() -> None:
    message = Delivered({"@key": {"secret": 1}, "type": "CREATED"}, topic=TOPICS["loan"])
    for value in (message, Delivered([1], topic=TOPICS["loan"])):
        with pytest.raises(DecodeError) as caught:
            FOLIO.events(value, CONTEXT)
        assert caught.value.reason in {Reason.DISALLOWED_FIELD, Reason.WRONG_TYPE}


def test_a_message_type_outside_the_closed_list_is_refused() -> None:
    assert refused("loan", "MERGED", None, LOAN).reason is Reason.UNKNOWN_CODE


def test_a_zone_less_loan_date_uses_the_configured_zone() -> None:
    context = Context(source="folio", zone=lambda _: MARCH)
    (found,) = acts("loan", "CREATED", None, {**LOAN, "loanDate": "2023-03-01T10:00:00"}, context=context)
    assert found["occurred_at"] == MARCH


def test_lookups_reduce_records_to_codes() -> None:
    patron, item = FOLIO.lookups["patrons"], FOLIO.lookups["items"]
    assert patron(USER) == ("u1", {**PATRON, "patron_kind": "patron"})
    assert patron({**USER, "id": None}) is None
    assert item({"id": "i", "materialTypeId": "m", "effectiveLocationId": "a", "barcode": "b"}) == (
        "i", {"material": "m", "audience": "a"}
    )  # fmt: skip
    assert item({"id": "i"}) == ("i", {})
    assert item({}) is None
    assert item({"id": "i", "materialType": {"id": "m", "name": "x"}, "effectiveLocation": {"id": "a"}}) == (
        "i", {"material": "m", "audience": "a"}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("broken", "lost"),
    [
        ({"personal": 5}, {"birth_date", "postal_code"}),
        ({"personal": {**USER["personal"], "dateOfBirth": "unknown"}}, {"birth_date"}),  # type: ignore[dict-item]
        ({"personal": {**USER["personal"], "dateOfBirth": ""}}, {"birth_date"}),  # type: ignore[dict-item]
        ({"personal": {**USER["personal"], "addresses": [5]}}, {"postal_code"}),  # type: ignore[dict-item]
        ({"departments": 5}, {"home_branch"}),
        ({"patronGroup": 5}, {"patron_type"}),
    ],
)
def test_what_cannot_be_read_of_an_exported_user_is_missing_and_the_rest_stands(
    broken: dict[str, Any], lost: set[str]
) -> None:
    rest = {column: code for column, code in PATRON.items() if column not in lost}
    assert FOLIO.lookups["patrons"]({**USER, "type": "staff", **broken}) == ("u1", {**rest, "patron_kind": "staff"})


@pytest.mark.parametrize("kind", ["robot", "Patron?", 5, {"name": "patron"}])
def test_an_exported_user_of_a_type_that_nobody_knows_does_not_count(kind: Any) -> None:
    assert FOLIO.lookups["patrons"]({**USER, "type": kind}) == ("u1", {**PATRON, "patron_kind": "system"})


def sample(name: str) -> str:
    path = SAMPLES / name
    if not path.exists():
        assert os.environ.get("CI") != "true", "the samples are missing"
        pytest.skip("the samples are not here")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("topic", "action"), [("loan", "checkout"), ("request", "hold_placed"), ("check-in", "return")]
)
def test_the_real_records_decode(topic: str, action: str) -> None:
    (found,) = acts(topic, "CREATED", None, json.loads(sample(f"records/{topic}.json")), context=Context("f"))
    assert found["action"] == action


def test_all_real_users_decode() -> None:
    users = [json.loads(line) for line in sample("sample-users.jsonl").splitlines()]
    assert len(users) > 100
    for user in users:
        (found,) = acts("users", "CREATED", None, user)
        assert (found["change"], found["patron_ref"]) == ("new", user["id"])
        assert found["postal_code"] == user["personal"]["addresses"][0]["postalCode"]
        assert FOLIO.lookups["patrons"](user) is not None


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80) | st.sampled_from(
        ["renewed", "Closed - Filled", "2024-01-01", "2024-01-01T00:00:00Z", "dcb"]
    ),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["id", "name", "postalCode"]), inner),
    max_leaves=4,
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_mutated_messages_make_valid_events_or_rejects(data: st.DataObject) -> None:
    topic, whole = data.draw(
        st.sampled_from([("loan", LOAN), ("request", REQUEST), ("check-in", CHECK_IN), ("users", USER)])
    )
    message = delivered(topic, data.draw(st.sampled_from(["CREATED", "UPDATED", "DELETED"])), whole, whole)
    value = json.loads(json.dumps(message.value))
    spots: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        item = waiting.pop()
        pairs = list(item.items() if isinstance(item, dict) else enumerate(item))
        spots += [(item, key) for key, _ in pairs]
        waiting += [child for _, child in pairs if isinstance(child, (dict, list))]
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(spots))
        holder[key] = data.draw(JUNK)
    try:
        found = FOLIO.events(Delivered(value, topic=message.topic, arrived_at=ARRIVED), CONTEXT)
    except DecodeError:
        return
    for event in found:
        built = msgspec.to_builtins(event)
        MODELS[built["kind"]].model_validate(built)
