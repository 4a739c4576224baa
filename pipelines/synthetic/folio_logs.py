"""FOLIO domain events as `kcat -J` writes them, and the user and item exports that its lookups read."""

import datetime as dt
import json
import uuid
from pathlib import Path
from typing import Any, Iterator

from pipelines.initialise import example_uuid
from pipelines.synthetic.world import ZONE, Act, Delivery, Person, World, item_codes

_TENANT = "example"
_TOPICS = {
    "loan": "circulation.loan",
    "request": "circulation.request",
    "check-in": "circulation.check-in",
    "users": "users.users",
}
_STATUS = {
    "hold_filled": "Closed - Filled",
    "hold_cancelled": "Closed - Cancelled",
    "hold_expired": "Closed - Pickup expired",
}
_TYPES = {"guest": "dcb", "test": "shadow"}


def _id(what: str, key: object) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"carrel:sample:{what}:{key}"))


def _time(instant: int) -> str:
    return dt.datetime.fromtimestamp(instant / 1000, ZONE).isoformat(timespec="milliseconds")


def _meta(instant: int) -> dict[str, str]:
    staff = _id("staff", 1)
    return {
        "createdDate": _time(instant),
        "createdByUserId": staff,
        "updatedDate": _time(instant),
        "updatedByUserId": staff,
    }


def user(person: Person) -> dict[str, Any]:
    """A patron as mod-users stores it."""
    surname = "CANARYSMITH" if person.is_canary else f"Family{person.number}"
    return {
        "id": person.ref,
        "username": f"login{person.number}",
        "externalSystemId": f"ext{person.number}",
        "barcode": f"9{person.number:013d}",
        "active": True,
        "type": _TYPES.get(person.kind, person.kind),
        "patronGroup": example_uuid("patron-group", person.patron_type),
        "departments": [example_uuid("department", person.home)],
        "personal": {
            "lastName": surname,
            "firstName": f"Given{person.number}",
            "email": f"{surname.lower()}{person.number}@canary.mail",
            "phone": f"555-01{person.number:05d}",
            "dateOfBirth": person.born.isoformat(),
            "addresses": [
                {
                    "addressLine1": f"{person.number} {surname} Street",
                    "city": "Sample",
                    "region": "NY",
                    "postalCode": person.postal,
                    "countryId": "US",
                    "addressTypeId": _id("address-type", "home"),
                    "primaryAddress": True,
                }
            ],
            "preferredContactTypeId": "002",
        },
        "enrollmentDate": "2024-01-01T00:00:00.000+00:00",
        "expirationDate": "2026-12-31T00:00:00.000+00:00",
        "customFields": {"note": "CANARYNOTE"},
    }


def _loan(act: Act, *, renewed: bool) -> dict[str, Any]:
    person = act.person
    assert person is not None  # noqa: S101 - loans have patrons
    loaned = act.occurred - (14 * 86_400_000 if renewed else 0)
    return {
        "id": _id("loan", act.key),
        "userId": person.ref,
        "itemId": _id("item", act.item),
        "itemEffectiveLocationIdAtCheckOut": example_uuid("location", item_codes(act.item)[1]),
        "status": {"name": "Open"},
        "loanDate": _time(loaned),
        "dueDate": _time(act.occurred + 21 * 86_400_000),
        "action": "renewed" if renewed else "checkedout",
        "actionComment": "CANARYNOTE" if person.is_canary else "",
        "itemStatus": "Checked out",
        "renewalCount": 1 if renewed else 0,
        "loanPolicyId": _id("policy", "loan"),
        "checkoutServicePointId": example_uuid("service-point", act.branch),
        "patronGroupIdAtCheckout": example_uuid("patron-group", person.patron_type),
        "metadata": _meta(act.occurred),
    }


def _request(act: Act, status: str) -> dict[str, Any]:
    person = act.person
    assert person is not None  # noqa: S101 - requests have requesters
    return {
        "id": _id("request", act.key),
        "requestLevel": "Item",
        "requestType": "Hold",
        "status": status,
        "requestDate": _time(act.occurred),
        "requesterId": person.ref,
        "requester": {"lastName": "CANARYSMITH", "firstName": "Given", "barcode": f"9{person.number:013d}"},
        "patronComments": "CANARYNOTE",
        "instanceId": _id("instance", act.item),
        "instance": {"title": "CANARYTITLE", "identifiers": []},
        "itemId": _id("item", act.item),
        "item": {"barcode": f"3{act.item:013d}"},
        "fulfillmentPreference": "Hold Shelf",
        "pickupServicePointId": example_uuid("service-point", act.branch),
        "metadata": _meta(act.occurred),
    }


def _payload(delivery: Delivery) -> tuple[str, str, str, dict[str, Any]]:
    """Topic, entity id, event type and data of one delivery."""
    act = delivery.act
    if act.part in ("checkout", "renewal"):
        loan = _loan(act, renewed=act.part == "renewal")
        if delivery.op == "retract":
            return "loan", loan["id"], "DELETED", {"old": loan}
        if act.part == "checkout":
            return "loan", loan["id"], "CREATED", {"new": loan}
        before = loan | {"action": "checkedout", "renewalCount": 0}
        return "loan", loan["id"], "UPDATED", {"old": before, "new": loan}
    if act.part == "return":
        record: dict[str, Any] = {
            "id": _id("check-in", act.key),
            "occurredDateTime": _time(act.occurred),
            "itemId": _id("item", act.item),
            "itemStatusPriorToCheckIn": "Checked out",
            "itemLocationId": example_uuid("location", item_codes(act.item)[1]),
            "requestQueueSize": 0,
            "servicePointId": example_uuid("service-point", act.branch),
            "performedByUserId": _id("staff", 1),
        }
        return "check-in", record["id"], "CREATED", {"new": record}
    if act.kind == "circulation":
        waiting = _request(act, "Open - Not yet filled")
        if act.part == "hold_placed":
            return "request", waiting["id"], "CREATED", {"new": waiting}
        return "request", waiting["id"], "UPDATED", {"old": waiting, "new": waiting | {"status": _STATUS[act.part]}}
    assert act.person is not None  # noqa: S101 - registrations have patrons
    known: dict[str, Any] = user(act.person) | {"metadata": _meta(act.occurred)}
    if act.part == "new":
        return "users", known["id"], "CREATED", {"new": known}
    later = {"expirationDate": "2028-12-31T00:00:00.000+00:00"} if act.part == "renewed" else {"active": False}
    return "users", known["id"], "UPDATED", {"old": known, "new": known | later}


def _lines(world: World) -> Iterator[tuple[str, str]]:
    offsets: dict[str, int] = {}
    for at, delivery in enumerate(one for one in world.deliveries if one.act.source == "folio"):
        topic, key, kind, data = _payload(delivery)
        for odd in (None, "field", "header") if at % 900 == 450 else (None,):
            offset = offsets[topic] = offsets.get(topic, -1) + 1
            half = "old" if "old" in data else "new"
            sent = data if odd != "field" else data | {half: data[half] | {"shoeSize": "CANARYNOTE"}}
            payload = {
                "id": _id("event", f"{delivery.act.key}{delivery.op}{odd}"),
                "type": kind,
                "tenant": _TENANT,
                "timestamp": delivery.arrived,
                "data": sent,
            }
            headers = ["X-Okapi-Tenant", _TENANT, "X-Okapi-Url", "okapi"]
            record = {
                "topic": f"folio.{_TENANT}.{_TOPICS[topic]}",
                "partition": 0,
                "offset": offset,
                "tstype": "create",
                "ts": delivery.arrived,
                "broker": 1,
                "headers": [*headers, "X-Patron", "CANARYSMITH"] if odd == "header" else headers,
                "key": key,
                "payload": json.dumps(payload, separators=(",", ":")),
            }
            yield topic, json.dumps(record, separators=(",", ":"))


def write(world: World, directory: Path) -> None:
    """Write the files of this source."""
    streams = {topic: (directory / f"{topic}.jsonl").open("w") for topic in _TOPICS}
    for topic, line in _lines(world):
        streams[topic].write(line + "\n")
    for stream in streams.values():
        stream.close()
    with (directory / "lookups" / "users.jsonl").open("w") as stream:
        for person in world.people:
            if person.source == "folio":
                stream.write(json.dumps(user(person), separators=(",", ":")) + "\n")
    with (directory / "lookups" / "items.jsonl").open("w") as stream:
        for item in range(1, 20_000):
            material, audience = item_codes(item)
            record = {
                "id": _id("item", item),
                "barcode": f"3{item:013d}",
                "status": {"name": "Available"},
                "materialTypeId": example_uuid("material-type", material),
                "permanentLoanTypeId": _id("loan-type", "normal"),
                "effectiveLocationId": example_uuid("location", audience),
                "title": "CANARYTITLE",
            }
            stream.write(json.dumps(record, separators=(",", ":")) + "\n")
