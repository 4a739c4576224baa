"""Change events become one act per record, or rejects; null is not a change."""

import contextlib
import io
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import MODELS
from schemas.rejects import DecodeError, Reason
from schemas.wire import ADAPTERS, envelopes
from schemas.wire.adapter import Context
from schemas.wire.envelopes import Delivered
from schemas.wire.salesforce import MOST_RECORDS, marked
from schemas.wire.salesforce_fields import CONTACT, MEMBER, MEMBER_USED

SAMPLE = Path(__file__).parents[4] / "shared/data/samples/salesforce/account_change_event.decoded.json"
SALESFORCE = ADAPTERS["salesforce"]
WHEN = 1_696_444_513_000
CONTEXT = Context(
    source="crm",
    lookups={
        "campaigns": {"701A": {"campaign_type": "newsletter"}},
        "members": {"00vA": {"ContactId": "003A", "CampaignId": "701A"}, "00vB": {"CampaignId": "701A"}},
    },
)
MEMBER_NAMES = ("ChangeEventHeader", *MEMBER_USED, *MEMBER)


def event(entity: str, change: str, ids: list[Any] | None = None, header: Any = None, **fields: Any) -> dict[str, Any]:
    names = CONTACT if entity == "Contact" else {**MEMBER_USED, **MEMBER}
    return {
        "ChangeEventHeader": {
            "entityName": entity,
            "recordIds": ["00vA"] if ids is None else ids,
            "changeType": change,
            "changeOrigin": "o",
            "transactionKey": "tx",
            "sequenceNumber": 1,
            "commitTimestamp": WHEN,
            "commitNumber": 5,
            "commitUser": "005",
            "nulledFields": [],
            "diffFields": [],
            "changedFields": [],
            **(header or {}),
        },
        **dict.fromkeys(names, None),
        **fields,
    }


def acts(record: Any, context: Context = CONTEXT) -> list[dict[str, Any]]:
    found = [msgspec.to_builtins(e) for e in SALESFORCE.events(Delivered(record), context)]
    for built in found:
        MODELS[built["kind"]].model_validate(built)
    return [{n: v for n, v in built.items() if v is not None and n not in {"v", "op"}} for built in found]


def refused(record: Any) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        SALESFORCE.events(Delivered(record), CONTEXT)
    return caught.value


@pytest.mark.parametrize(
    ("change", "becomes"),
    [("CREATE", "new"), ("UPDATE", "updated"), ("UNDELETE", "updated"), ("DELETE", "deleted")],
)
def test_a_contact_event_is_one_act_per_record(change: str, becomes: str) -> None:
    assert acts(event("Contact", change, ["003A", "003B", "003A"], LastName="Secret")) == [
        {"kind": "patron", "event_id": f"{ref}:tx:1", "occurred_at": WHEN, "patron_ref": ref,
         "patron_kind": "patron", "change": becomes}
        for ref in ("003A", "003B")
    ]  # fmt: skip


ENGAGED = {
    "kind": "engagement", "event_id": "00vA:tx:1", "occurred_at": WHEN, "patron_ref": "003A",
    "patron_kind": "patron", "campaign_type": "newsletter", "response": "Sent",
}  # fmt: skip


def test_a_created_member_is_an_engagement() -> None:
    assert acts(event("CampaignMember", "CREATE", ContactId="003A", CampaignId="701A", Status="Sent")) == [ENGAGED]
    (found,) = acts(event("CampaignMember", "CREATE", ContactId="003A", CampaignId="701Z"))
    assert "campaign_type" not in found
    assert "response" not in found


def test_an_update_takes_what_did_not_change_from_the_lookup() -> None:
    assert acts(event("CampaignMember", "UPDATE", Status="Sent")) == [ENGAGED]
    known = CONTEXT.lookups["members"] | {"00vC": {"ContactId": "003C", "CampaignId": "701A"}}  # type: ignore[operator]
    context = Context("crm", lookups={**CONTEXT.lookups, "members": known})
    several = acts(event("CampaignMember", "UPDATE", ["00vA", "00vC"], Status="Sent"), context)
    assert [found["patron_ref"] for found in several] == ["003A", "003C"]


def test_an_update_without_a_change_of_status_is_no_act() -> None:
    assert acts(event("CampaignMember", "UPDATE")) == []
    header = {"changedFields": ["LastModifiedDate"]}
    assert acts(event("CampaignMember", "UPDATE", header=header, Status="Sent")) == []
    header = {"changedFields": ["LastModifiedDate", "Status"]}
    assert acts(event("CampaignMember", "UPDATE", header=header, Status="Sent")) == [ENGAGED]


STATUS_BIT = f"0x{1 << MEMBER_NAMES.index('Status'):X}"


def test_a_status_set_to_null_is_an_act_without_response() -> None:
    for entry in ("Status", STATUS_BIT):
        (found,) = acts(event("CampaignMember", "UPDATE", header={"nulledFields": [entry]}))
        assert "response" not in found


@pytest.mark.parametrize("change", ["DELETE", "UNDELETE"])
def test_a_deleted_member_is_no_act(change: str) -> None:
    assert acts(event("CampaignMember", change)) == []


def test_a_member_that_nobody_knows_is_refused() -> None:
    found = refused(event("CampaignMember", "UPDATE", ["00vZ"], Status="Sent"))
    assert (found.reason, found.fields) == (Reason.MISSING_FIELD, ("ContactId",))
    found = refused(event("CampaignMember", "UPDATE", ["00vZ"], Status="Sent", ContactId="003A"))
    assert (found.reason, found.fields) == (Reason.MISSING_FIELD, ("CampaignId",))


def test_a_lead_that_only_the_export_knows_is_nobody_and_costs_nobody_else() -> None:
    members = {**CONTEXT.lookups["members"], "00vL": {"LeadId": "00Q", "CampaignId": "701A"}}
    context = Context("crm", lookups={**CONTEXT.lookups, "members": members})
    found = acts(event("CampaignMember", "UPDATE", ["00vL", "00vA"], Status="Sent"), context)
    assert [one.get("patron_ref") for one in found] == [None, "003A"]


def test_a_lead_is_nobody_who_is_counted() -> None:
    (found,) = acts(event("CampaignMember", "CREATE", ["00vB"], LeadId="00Q", Status="Sent"))
    assert "patron_ref" not in found
    header = {"nulledFields": ["ContactId"]}
    (found,) = acts(event("CampaignMember", "UPDATE", header=header, Status="Sent"))
    assert "patron_ref" not in found


@pytest.mark.parametrize("entity", ["Contact", "CampaignMember"])
@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"changeType": "GAP_UPDATE"}, Reason.GAP),
        ({"changeType": "GAP_OVERFLOW"}, Reason.GAP),
        ({"changeType": "MERGE"}, Reason.UNKNOWN_CODE),
        ({"changeType": None}, Reason.MISSING_FIELD),
        ({"recordIds": ["001*"]}, Reason.UNNAMED_ACT),
        ({"recordIds": []}, Reason.MISSING_FIELD),
        ({"recordIds": "003A"}, Reason.WRONG_TYPE),
        ({"recordIds": [5]}, Reason.WRONG_TYPE),
        ({"recordIds": [""]}, Reason.BAD_VALUE),
        ({"recordIds": ["x" * 33]}, Reason.BAD_VALUE),
        ({"recordIds": [str(n) for n in range(MOST_RECORDS + 1)]}, Reason.BAD_VALUE),
        ({"transactionKey": None}, Reason.MISSING_FIELD),
        ({"sequenceNumber": None}, Reason.MISSING_FIELD),
        ({"sequenceNumber": -1}, Reason.BAD_VALUE),
        ({"commitTimestamp": None}, Reason.MISSING_FIELD),
        ({"commitTimestamp": "x"}, Reason.WRONG_TYPE),
        ({"commitTimestamp": 5}, Reason.BAD_TIME),
        ({"more": 5}, Reason.DISALLOWED_FIELD),
        ({"entityName": "Account"}, Reason.UNKNOWN_KIND),
        ({"entityName": None}, Reason.MISSING_FIELD),
    ],
)
def test_a_bad_header_is_refused(entity: str, header: dict[str, Any], reason: Reason) -> None:
    assert refused(event(entity, "CREATE", ["00vA"], header)).reason is reason


def test_a_custom_field_is_refused_the_day_it_appears() -> None:
    found = refused(event("Contact", "UPDATE", LibraryCard__c="1234"))
    assert (found.reason, found.unknown) == (Reason.DISALLOWED_FIELD, 1)
    context = Context("crm", also_drop=(("LibraryCard__c", "D"),))
    assert acts(event("Contact", "UPDATE", LibraryCard__c="1234"), context)


@pytest.mark.parametrize("record", [None, [], {}, {"ChangeEventHeader": None}, {"ChangeEventHeader": 5}])
def test_a_record_without_header_is_refused(record: Any) -> None:
    assert refused(record).reason in {Reason.WRONG_TYPE, Reason.MISSING_FIELD}


def test_lists_of_fields_are_read_as_names_or_bitmaps() -> None:
    names = ("ChangeEventHeader", "A", "B", "C")
    assert marked(["0x0A"], names, "p") == {"A", "C"}
    assert marked(["0x02", "2-0x08", "C", "D.E"], names, "p") == {"A", "C", "D.E"}
    assert marked(None, names, "p") == set()
    for entry, reason in (("0x10", Reason.BAD_VALUE), (5, Reason.WRONG_TYPE), (None, Reason.WRONG_TYPE)):
        with pytest.raises(DecodeError) as caught:
            marked([entry], names, "p")
        assert caught.value.reason is reason


def test_ids_of_a_report_meet_the_longer_ones_of_events() -> None:
    campaign, member = SALESFORCE.lookups["campaigns"], SALESFORCE.lookups["members"]
    short = {"Id": "00vA0000006Vm9r", "ContactId": "003A0000006Vm9r", "CampaignId": "701A0000006Vm9r"}
    long = {name: value + "IAC" for name, value in short.items()}
    assert member(short) == member(long)
    assert campaign({"Id": short["CampaignId"], "Type": "E"}) == (long["CampaignId"], {"campaign_type": "E"})
    for ids in (short, long):
        (found,) = acts(event("CampaignMember", "CREATE", [ids["Id"]], ContactId=ids["ContactId"], CampaignId="701A"))
        assert (found["event_id"], found["patron_ref"]) == (f"{long['Id']}:tx:1", long["ContactId"])


def test_lookups_reduce_rows_to_codes() -> None:
    campaign, member = SALESFORCE.lookups["campaigns"], SALESFORCE.lookups["members"]
    assert campaign({"Id": "701A", "Type": "Email", "Name": "n"}) == ("701A", {"campaign_type": "Email"})
    assert campaign({"Id": "701A", "Type": ""}) == ("701A", {})
    assert campaign({"Id": ""}) is None
    assert member({"Id": "00v", "ContactId": "", "CampaignId": "701"}) == ("00v", {"CampaignId": "701"})
    assert member({"Id": "00v", "LeadId": "00Q", "CampaignId": "7"}) == ("00v", {"LeadId": "00Q", "CampaignId": "7"})
    assert member({"Id": ""}) is None


def test_an_avro_record_as_fastavro_decodes_it_is_read() -> None:
    nullable = ["null", "string"]
    header = [
        ("entityName", "string"), ("recordIds", {"type": "array", "items": "string"}), ("changeType", "string"),
        ("changeOrigin", "string"), ("transactionKey", "string"), ("sequenceNumber", "int"),
        ("commitTimestamp", "long"), ("commitNumber", "long"), ("commitUser", "string"),
        ("nulledFields", {"type": "array", "items": "string"}),
        ("diffFields", {"type": "array", "items": "string"}),
        ("changedFields", {"type": "array", "items": "string"}),
    ]  # fmt: skip
    inner = {"type": "record", "name": "H", "fields": [{"name": n, "type": t} for n, t in header]}
    fields: list[dict[str, Any]] = [{"name": "ChangeEventHeader", "type": inner}]
    fields += [{"name": n, "type": nullable, "default": None} for n in MEMBER_NAMES[1:]]
    schema = {"type": "record", "name": "CampaignMemberChangeEvent", "fields": fields}
    stream = io.BytesIO()
    bits = f"0x{1 << MEMBER_NAMES.index('Status'):08X}"
    fastavro.writer(stream, schema, [event("CampaignMember", "UPDATE", header={"nulledFields": [bits]})])
    stream.seek(0)
    (record,) = fastavro.reader(stream)
    (found,) = SALESFORCE.events(envelopes.open_avro(record), CONTEXT)
    assert found.response is None


def test_a_commit_time_that_the_schema_marks_as_a_time_is_the_same_instant() -> None:
    marked_time = datetime.fromtimestamp(WHEN // 1000, UTC).replace(microsecond=WHEN % 1000 * 1000)
    (found,) = acts(event("Contact", "UPDATE", header={"commitTimestamp": marked_time}))
    assert found["occurred_at"] == WHEN
    local = {"commitTimestamp": marked_time.replace(tzinfo=None)}
    assert refused(event("Contact", "UPDATE", header=local)).reason is Reason.WRONG_TYPE


def test_an_event_is_read_out_of_what_a_subscriber_wraps_it_in() -> None:
    record = event("CampaignMember", "UPDATE", header={"nulledFields": [STATUS_BIT]})
    wrapped = {"id": "9b77", "schemaId": "a01V", "replayId": 18098167, "payload": record}
    assert acts(wrapped) == acts(record)
    assert refused({**wrapped, "more": 1}).reason is Reason.MISSING_FIELD
    assert refused({**wrapped, "payload": b"Avro without its schema"}).reason is Reason.WRONG_TYPE


def test_the_real_account_event_is_of_another_kind() -> None:
    if not SAMPLE.exists():
        assert os.environ.get("CI") != "true", "the samples are missing"
        pytest.skip("the samples are not here")
    wrapped = json.loads(SAMPLE.read_text(encoding="utf-8"))
    assert refused(wrapped).reason is Reason.UNKNOWN_KIND
    payload = wrapped["payload"]
    # Its header, with names in place of bitmaps, is the header that the tables know.
    payload = {"ChangeEventHeader": {**payload["ChangeEventHeader"], "entityName": "Contact"}}
    (found,) = acts(payload)
    assert found["event_id"] == "0014H00002LbR7QQAV:000046c7-a642-11e2-c29b-229c6786473e:1"


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=70) | st.sampled_from(["0x02", "1-0x1", "Status"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["Contact", "CampaignMember"]),
    st.sampled_from(["CREATE", "UPDATE", "DELETE"]),
    st.dictionaries(st.sampled_from(["recordIds", "transactionKey", "sequenceNumber", "commitTimestamp",
                                     "nulledFields", "changedFields", "changeType", "entityName"]), JUNK, max_size=2),
    st.dictionaries(st.sampled_from(["Status", "ContactId", "CampaignId", "LeadId", "Email"]), JUNK, max_size=2),
)  # fmt: skip
def test_mutated_records_make_valid_events_or_rejects(
    entity: str, change: str, header: dict[str, Any], fields: dict[str, Any]
) -> None:
    with contextlib.suppress(DecodeError):
        acts(event(entity, change, ["00vA"], header, **fields))
