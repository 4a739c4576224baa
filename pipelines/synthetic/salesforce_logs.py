"""Salesforce change events in Avro containers, and the campaign and member exports that the lookups read."""

import csv
from itertools import groupby
from pathlib import Path
from typing import Any, Iterator, Optional

import fastavro

from pipelines.initialise import CAMPAIGNS
from pipelines.synthetic.world import Act, Person, World
from schemas.policy import OTHER

SOURCE = "salesforce"
_LISTED, _NAMELESS = 20, 41  # one contact in so many is told of; one campaign message in so many tells of no act
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


def contact_id(person: Person) -> str:
    """The record id of a contact."""
    return f"003CANARY777{person.number % 1000:03d}AAQ" if person.is_canary else f"003{person.number:012d}AAQ"


def campaign_id(campaign: str) -> str:
    """The record id of the campaign of one type; those of an unlisted type are another library's."""
    return f"701{(*CAMPAIGNS, OTHER).index(campaign):012d}AAB"


def _header(entity: str, ids: list[str], change: str, act: Act, *, key: str = "", **lists: list[str]) -> dict[str, Any]:
    return {
        "entityName": entity,
        "recordIds": ids,
        "changeType": change,
        "changeOrigin": "com/salesforce/api/soap/58.0;client=Sample",
        "transactionKey": key or act.transaction,
        "sequenceNumber": 1,
        "commitTimestamp": act.occurred,
        "commitNumber": act.occurred * 7,
        "commitUser": "005000000000001AAA",
        **{name: lists.get(name, []) for name in ("nulledFields", "diffFields", "changedFields")},
    }


def _member(header: dict[str, Any], status: Optional[str] = None, **more: str) -> dict[str, Any]:
    return {"ChangeEventHeader": header, **dict.fromkeys(_MEMBER), "Status": status, **more}


def _members(world: World) -> Iterator[dict[str, Any]]:
    """Changes of campaign members: made when sent to, updated by the answer, several in one message where merged."""
    for at, (_, group) in enumerate(groupby(world.told_by(SOURCE), lambda one: (one.arrived, one.act.transaction))):
        acts = [one.act for one in group]
        # An act that is told twice makes a second message.
        first = list({act.key: act for act in acts}.values())
        again = [act for place, act in enumerate(acts) if act in acts[:place]]
        for same in filter(None, (first, again)):
            yield _told(same)
        if at % _NAMELESS == 40:
            yield from _actless(acts[0])


def _told(acts: list[Act]) -> dict[str, Any]:
    """One message about members that had the same part in a campaign at the same time."""
    act, ids = acts[0], [member_id(act.member) for act in acts]
    assert act.person is not None  # noqa: S101 - members are contacts
    if act.part == "sent":
        header = _header("CampaignMember", ids, "CREATE", act)
        return _member(header, "Sent", ContactId=contact_id(act.person), CampaignId=campaign_id(act.campaign))
    # Status is the fifth field, counted from the header: bit 4 of the bitmap.
    changed = _header("CampaignMember", ids, "UPDATE", act, changedFields=["0x10"])
    if act.part != OTHER:
        return _member(changed, act.part.title())
    # A response that no policy lists: an unknown word, or one that was taken away.
    if act.member % 2:
        return _member(changed, "CANARYNOTE")
    return _member(_header("CampaignMember", ids, "UPDATE", act, changedFields=["0x10"], nulledFields=["0x10"]))


def _actless(act: Act) -> Iterator[dict[str, Any]]:
    """What is no act of a patron: changes that were lost, a lead, another field, the end of a membership."""
    ids = [member_id(act.member)]
    yield _member(_header("CampaignMember", ids, "GAP_UPDATE", act, key=f"{act.transaction}-gap"))
    lead = _header("CampaignMember", [member_id(10**9 + act.member)], "CREATE", act, key=f"{act.transaction}-lead")
    yield _member(lead, "Sent", LeadId=f"00Q{act.member:012d}AAD", CampaignId=campaign_id(act.campaign))
    moved = _header("CampaignMember", ids, "UPDATE", act, key=f"{act.transaction}-move", changedFields=["0x2"])
    yield _member(moved, CampaignId=campaign_id(act.campaign))
    yield _member(_header("CampaignMember", ids, "DELETE", act, key=f"{act.transaction}-end"))


def _contacts(world: World, *, odd: bool) -> Iterator[dict[str, Any]]:
    """Some contacts; the odd ones have a custom field that nobody declared."""
    sent = [one.act for one in world.told_by(SOURCE) if one.act.part == "sent"]
    chosen = sent[_LISTED // 2 :: _LISTED][:4] if odd else sent[::_LISTED]
    for act in chosen:
        assert act.person is not None  # noqa: S101 - members are contacts
        record = {
            "ChangeEventHeader": _header("Contact", [contact_id(act.person)], "CREATE", act, key=f"{act.key}-contact"),
            "LastName": "CANARYSMITH",
            "FirstName": f"Given{act.person.number}",
            "Email": f"contact{act.person.number}@canary.mail",
            "Phone": "555-0100",
            "Description": "CANARYNOTE",
        }
        yield record | ({"Shoe_Size__c": "CANARYNOTE 44"} if odd else {})


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
    campaigns = [(campaign_id(code), code.replace("-", " ").title()) for code in CAMPAIGNS]
    members = {
        one.act.member: (contact_id(one.act.person), campaign_id(one.act.campaign))
        for one in world.told_by(SOURCE)
        if one.act.person
    }
    rows = [(member_id(number), *pair) for number, pair in sorted(members.items())]
    for export, names, records_of in (
        ("campaigns", ("Id", "Type"), [*campaigns, (campaign_id(OTHER), "CANARYTITLE Gala")]),
        ("members", ("Id", "ContactId", "CampaignId"), rows),
    ):
        with (directory / "lookups" / f"{export}.csv").open("w", newline="") as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(names)
            writer.writerows(records_of)
