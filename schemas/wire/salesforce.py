"""Salesforce change events of contacts and campaign members, as records of Avro containers.

Source: forcedotcom/pub-sub-api (`pubsub_api.proto`, `ChangeEventHeaderUtility.py`). One event may stand for
several records. Null means "not changed" unless `nulledFields` names the field; over gRPC the lists of fields
are hex bitmaps of positions in the Avro schema, lowest bit first, which is the order of the record's names.
"""

import re
import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, FrozenSet, List, Mapping, Optional, Set, Tuple

from schemas.fast import Engagement, Patron
from schemas.rejects import DecodeError, Reason
from schemas.wire import fields as wire
from schemas.wire.adapter import Adapter, Context, Reduced, used
from schemas.wire.envelopes import Delivered
from schemas.wire.salesforce_fields import FIELDS
from schemas.wire.timestamps import checked

CHANGES: Mapping[str, str] = {
    "CREATE": "new",
    "UPDATE": "updated",
    "UNDELETE": "updated",
    "DELETE": "deleted",
}
GAPS = frozenset(("GAP_CREATE", "GAP_UPDATE", "GAP_DELETE", "GAP_UNDELETE", "GAP_OVERFLOW"))
FILLS: Mapping[str, FrozenSet[str]] = {
    "patron": frozenset(),
    "engagement": frozenset(("campaign_type", "response")),
}
_HEADER = "ChangeEventHeader"
_BITMAP = re.compile(r"0[xX]([0-9A-Fa-f]{1,1024})")
_NESTED = re.compile(r"[0-9]{1,4}-0[xX][0-9A-Fa-f]{1,1024}")
MOST_RECORDS = 10_000
# How a subscriber keeps an event with what came around it; the payload is the event.
_WRAPPING = frozenset(("id", "schemaId", "replayId", "payload"))
_MEMBER = ("ContactId", "LeadId", "CampaignId")
_SHORT_ID = 15
_CHECK = string.ascii_uppercase + "012345"
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def marked(entries: Any, names: Tuple[str, ...], path: str) -> Set[str]:
    """The top-level fields that a list of the header names.

    Args:
      entries: field names, dotted ones for parts of compound fields, or hex bitmaps; null is none.
      names: the record's field names in the order of its schema.
      path: the list's name, for rejects.

    Raises:
      DecodeError: WRONG_TYPE when an entry is no string, BAD_VALUE when a bitmap marks positions that the
        record has not, or is neither a bitmap nor a name.
    """
    found: Set[str] = set()
    for entry in entries or ():
        if not isinstance(entry, str):
            raise DecodeError(Reason.WRONG_TYPE, (path,))
        bitmap = _BITMAP.fullmatch(entry)
        if bitmap is None:
            # Parts of a compound field ("21-0x08", "MailingAddress.City"): all compound fields are dropped.
            if _NESTED.fullmatch(entry) is None:
                found.add(entry)
            continue
        bits = int(bitmap[1], 16)
        if bits >> len(names):
            raise DecodeError(Reason.BAD_VALUE, (path,))
        found.update(name for position, name in enumerate(names) if bits >> position & 1)
    return found


def long_id(record_id: str) -> str:
    """A record id in its form of 18 characters: events write it so, report exports the 15 that it begins with.

    The three characters more say which of each five letters are capitals, the first as the lowest bit.

    Example:
      >>> long_id("001A0000006Vm9r")
      '001A0000006Vm9rIAC'
    """
    if len(record_id) != _SHORT_ID:
        return record_id
    parts = (record_id[at : at + 5] for at in range(0, _SHORT_ID, 5))
    return record_id + "".join(_CHECK[sum(("A" <= x <= "Z") << bit for bit, x in enumerate(part))] for part in parts)


def _id(record: Any, path: str) -> Optional[str]:
    found = wire.text(record, path)
    return None if found is None else long_id(found)


def _record_ids(record: Any) -> List[str]:
    path = f"{_HEADER}.recordIds"
    ids = wire.pick(record, path)
    if not ids:
        raise DecodeError(Reason.MISSING_FIELD, (path,))
    for entry in ids:
        if not isinstance(entry, str):
            raise DecodeError(Reason.WRONG_TYPE, (path,))
        if "*" in entry:
            raise DecodeError(Reason.UNNAMED_ACT)
        if not 0 < len(entry) <= 32:  # Salesforce ids have 15 or 18 characters
            raise DecodeError(Reason.BAD_VALUE, (path,))
    if len(ids) > MOST_RECORDS:
        raise DecodeError(Reason.BAD_VALUE, (path,))
    return list(dict.fromkeys(map(long_id, ids)))


def _unwrapped(message: Delivered) -> Delivered:
    value = message.value
    if isinstance(value, dict) and "payload" in value and value.keys() <= _WRAPPING:
        return replace(message, value=value["payload"])
    return message


def _instant(value: Any) -> int:
    """The commit time: milliseconds, or what an Avro reader makes of milliseconds that are marked as a time."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = (value - _UNIX_EPOCH) // timedelta(milliseconds=1)
    return checked(value, f"{_HEADER}.commitTimestamp")


def _entity(value: Any) -> str:
    """Which record changed, needed before anything else can be checked."""
    if not isinstance(value, dict):
        raise DecodeError(Reason.WRONG_TYPE)
    entity = wire.required_text(value, f"{_HEADER}.entityName", limit=255)
    if entity not in FIELDS:
        raise DecodeError(Reason.UNKNOWN_KIND)
    return entity


def _members(record: Any, change: str, names: Tuple[str, ...], ids: List[str], context: Context) -> List[Any]:
    """What each campaign member's change is: (record id, engagement columns), none without a response."""
    if change in {"DELETE", "UNDELETE"}:
        return []
    nulled = marked(wire.pick(record, f"{_HEADER}.nulledFields"), names, f"{_HEADER}.nulledFields")
    changed = marked(wire.pick(record, f"{_HEADER}.changedFields"), names, f"{_HEADER}.changedFields")
    status = wire.text(record, "Status")
    if change == "UPDATE":
        if status is None and "Status" not in nulled:
            return []
        # An enriched event also carries fields that did not change.
        if status is not None and changed and "Status" not in changed:
            return []
    found = []
    for record_id in ids:
        known = context.codes("members", record_id)
        parts = {name: _id(record, name) or (None if name in nulled else known.get(name)) for name in _MEMBER}
        # A member may be a lead instead of a contact: nobody we can count, but nothing is missing.
        if parts["ContactId"] is None and parts["LeadId"] is None and "ContactId" not in nulled:
            raise DecodeError(Reason.MISSING_FIELD, ("ContactId",))
        if parts["CampaignId"] is None:
            raise DecodeError(Reason.MISSING_FIELD, ("CampaignId",))
        campaign = context.codes("campaigns", parts["CampaignId"])
        found.append((record_id, parts["ContactId"], campaign.get("campaign_type"), status))
    return found


def events(message: Delivered, context: Context) -> List[Any]:
    """The acts that one change event stands for: one for each of its records, or none.

    Raises:
      DecodeError: UNKNOWN_KIND for another entity, GAP for an event that only says that changes were lost,
        UNNAMED_ACT for wildcard record ids, UNKNOWN_CODE for an unknown change type, DISALLOWED_FIELD for any
        field that the tables do not name, MISSING_FIELD, WRONG_TYPE, BAD_VALUE, BAD_TIME.
    """
    message = _unwrapped(message)
    entity = _entity(message.value)
    record = used(FIELDS[entity], message, context)
    change = wire.required_text(record, f"{_HEADER}.changeType")
    if change in GAPS:
        raise DecodeError(Reason.GAP)
    if change not in CHANGES:
        raise DecodeError(Reason.UNKNOWN_CODE, (f"{_HEADER}.changeType",))
    ids = _record_ids(record)
    transaction = wire.required_text(record, f"{_HEADER}.transactionKey")
    sequence = wire.whole(record, f"{_HEADER}.sequenceNumber")
    when = wire.pick(record, f"{_HEADER}.commitTimestamp")
    if sequence is None or when is None:
        missing = "sequenceNumber" if sequence is None else "commitTimestamp"
        raise DecodeError(Reason.MISSING_FIELD, (f"{_HEADER}.{missing}",))
    if not 0 <= sequence < 2**31:
        raise DecodeError(Reason.BAD_VALUE, (f"{_HEADER}.sequenceNumber",))
    when = _instant(when)
    act = f"{transaction}:{sequence}"
    if entity == "Contact":
        return [
            Patron(
                event_id=f"{record_id}:{act}",
                occurred_at=when,
                arrived_at=message.arrived_at,
                patron_ref=record_id,
                change=CHANGES[change],
            )
            for record_id in ids
        ]
    return [
        Engagement(
            event_id=f"{record_id}:{act}",
            occurred_at=when,
            arrived_at=message.arrived_at,
            patron_ref=contact,
            campaign_type=campaign_type,
            response=response,
        )
        for record_id, contact, campaign_type, response in _members(record, change, tuple(message.value), ids, context)
    ]


def reduce_campaign(row: Mapping[str, Any]) -> Reduced:
    """One row of a campaign export: id -> campaign type."""
    key, code = _id(row, "Id"), wire.text(row, "Type")
    return None if key is None else (key, {} if code is None else {"campaign_type": code})


def reduce_member(row: Mapping[str, Any]) -> Reduced:
    """One row of a campaign member export: id -> its contact or lead, and its campaign."""
    key = _id(row, "Id")
    if key is None:
        return None
    parts = {name: _id(row, name) for name in _MEMBER}
    return key, {name: value for name, value in parts.items() if value is not None}


ADAPTER = Adapter(
    name="salesforce",
    envelope="avro",
    fields=FIELDS,
    fills=FILLS,
    lookups={"campaigns": reduce_campaign, "members": reduce_member},
    events=events,
)
