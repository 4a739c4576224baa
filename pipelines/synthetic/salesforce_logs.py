"""Salesforce change events in Avro containers, and the campaign and member exports that the lookups read."""

import csv
from pathlib import Path
from typing import Any, Iterator

import fastavro

from pipelines.synthetic.world import CAMPAIGNS, World

_TEXTS: Any = ["null", "string"]
_HEADER = {
    "type": "record",
    "name": "ChangeEventHeader",
    "fields": [
        {"name": "entityName", "type": "string"},
        {"name": "recordIds", "type": {"type": "array", "items": "string"}},
        {"name": "changeType", "type": "string"},
        {"name": "changeOrigin", "type": "string"},
        {"name": "transactionKey", "type": "string"},
        {"name": "sequenceNumber", "type": "int"},
        {"name": "commitTimestamp", "type": "long"},
        {"name": "commitNumber", "type": "long"},
        {"name": "commitUser", "type": "string"},
        {"name": "nulledFields", "type": {"type": "array", "items": "string"}},
        {"name": "diffFields", "type": {"type": "array", "items": "string"}},
        {"name": "changedFields", "type": {"type": "array", "items": "string"}},
    ],
}
_MEMBER = ("CampaignId", "LeadId", "ContactId", "Status")
_CONTACT = ("LastName", "FirstName", "Email", "Phone", "Description")


def _schema(name: str, fields: tuple[str, ...]) -> Any:
    texts = [{"name": field, "type": _TEXTS, "default": None} for field in fields]
    header = {"name": "ChangeEventHeader", "type": _HEADER}
    return fastavro.parse_schema(
        {"type": "record", "name": name, "namespace": "com.sforce.eventbus", "fields": [header, *texts]}
    )


def member_id(number: int) -> str:
    """The record id of a campaign member."""
    return f"00v{number:012d}AAA"


def contact_id(number: int) -> str:
    """The record id of a contact."""
    return f"003{number:012d}AAQ"


def campaign_id(campaign: str) -> str:
    """The record id of a campaign."""
    return f"701{CAMPAIGNS.index(campaign):012d}AAB"


def _header(entity: str, ids: list[str], change: str, at: int, changed: str, key: str) -> dict[str, Any]:
    return {
        "entityName": entity,
        "recordIds": ids,
        "changeType": change,
        "changeOrigin": "com/salesforce/api/soap/58.0;client=Sample",
        "transactionKey": key,
        "sequenceNumber": 1,
        "commitTimestamp": at,
        "commitNumber": at * 7,
        "commitUser": "005000000000001AAA",
        "nulledFields": [],
        "diffFields": [],
        "changedFields": [changed] if changed else [],
    }


def _members(world: World) -> Iterator[dict[str, Any]]:
    deliveries = [one for one in world.deliveries if one.act.source == "salesforce"]
    done: set[str] = set()
    for at, delivery in enumerate(deliveries):
        act = delivery.act
        assert act.person is not None  # noqa: S101 - members are contacts
        key = f"{act.occurred:012d}-{act.part}"
        if act.part == "sent":
            ids = [member_id(act.members[0])]
            header = _header("CampaignMember", ids, "CREATE", act.occurred, "", key)
            contact, campaign = contact_id(act.person.number), campaign_id(act.campaign)
            yield {
                "ChangeEventHeader": header,
                "CampaignId": campaign,
                "LeadId": None,
                "ContactId": contact,
                "Status": "Sent",
            }
        else:
            group = [
                one.act.members[0]
                for one in deliveries[at : at + 8]
                if (one.act.occurred, one.act.part) == (act.occurred, act.part)
            ]
            ids = (
                [member_id(number) for number in dict.fromkeys(group)]
                if key not in done
                else [member_id(act.members[0])]
            )
            done.add(key)
            # Status is the fifth field, counted from the header: bit 4 of the bitmap.
            header = _header("CampaignMember", ids, "UPDATE", act.occurred, "0x10", key)
            yield {
                "ChangeEventHeader": header,
                "CampaignId": None,
                "LeadId": None,
                "ContactId": None,
                "Status": act.part.title(),
            }
        if at == 40:
            header = _header("CampaignMember", [member_id(1)], "GAP_UPDATE", act.occurred, "", key + "-gap")
            yield {"ChangeEventHeader": header, "CampaignId": None, "LeadId": None, "ContactId": None, "Status": None}


def _contacts(world: World, *, odd: bool) -> Iterator[dict[str, Any]]:
    for at, delivery in enumerate(one for one in world.deliveries if one.act.source == "salesforce"):
        act = delivery.act
        assert act.person is not None  # noqa: S101 - members are contacts
        if at % 20 != (10 if odd else 0):
            continue
        header = _header("Contact", [contact_id(act.person.number)], "CREATE", act.occurred, "", f"{act.key}-contact")
        record = {
            "ChangeEventHeader": header,
            "LastName": "CANARYSMITH",
            "FirstName": f"Given{act.person.number}",
            "Email": f"contact{act.person.number}@canary.mail",
            "Phone": "555-0100",
            "Description": "CANARYNOTE",
        }
        yield record | ({"Shoe_Size__c": "CANARYNOTE 44"} if odd else {})
        if odd and at > 60:
            return


def write(world: World, directory: Path) -> None:
    """Write the files of this source."""
    for name, fields, records in (
        ("CampaignMemberChangeEvent", _MEMBER, _members(world)),
        ("ContactChangeEvent", _CONTACT, _contacts(world, odd=False)),
        ("ContactChangeEvent-2", (*_CONTACT, "Shoe_Size__c"), _contacts(world, odd=True)),
    ):
        with (directory / f"{name}.avro").open("wb") as stream:
            schema = _schema(name.partition("-")[0], fields)
            fastavro.writer(stream, schema, records, codec="deflate", sync_marker=b"carrel-sample-02")
    with (directory / "lookups" / "campaigns.csv").open("w", newline="") as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("Id", "Type"))
        rows.writerows((campaign_id(code), code.replace("-", " ").title()) for code in CAMPAIGNS)
    members = {
        one.act.members[0]: (contact_id(one.act.person.number), campaign_id(one.act.campaign))
        for one in world.deliveries
        if one.act.source == "salesforce" and one.act.person
    }
    with (directory / "lookups" / "members.csv").open("w", newline="") as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("Id", "ContactId", "CampaignId"))
        rows.writerows((member_id(number), *pair) for number, pair in sorted(members.items()))
