"""FOLIO domain events as `kcat -J` writes them, and the user and item exports that its lookups read."""

import uuid
from functools import cache
from pathlib import Path
from typing import Any, Iterator

import msgspec

from pipelines.initialise import example_uuid
from pipelines.synthetic.world import Act, Delivery, Person, World, local_time

SOURCE = "folio"
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
_EXTRA = 400  # one message of a topic in so many comes again with what nobody declared
_DAY = 86_400_000
_encode = msgspec.json.Encoder().encode


def _id(what: str, key: object) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"carrel:sample:{what}:{key}"))


@cache
def _item_id(number: int) -> str:
    return _id("item", number)


@cache
def _code(what: str, code: str) -> str:
    """The id under which the library knows a code; `other` has one that no code map names."""
    return example_uuid(what, code)


def _time(instant: int) -> str:
    return local_time(instant).isoformat(timespec="milliseconds")


def _meta(created: int, updated: int) -> dict[str, str]:
    staff = _code("staff", "1")
    return {
        "createdDate": _time(created),
        "createdByUserId": staff,
        "updatedDate": _time(updated),
        "updatedByUserId": staff,
    }


def user(person: Person) -> dict[str, Any]:
    """A patron as mod-users stores it."""
    surname = "CANARYSMITH" if person.is_canary else f"Family{person.number}"
    address = {
        "addressLine1": f"{person.number} {surname} Street",
        "city": "Sample",
        "region": "NY",
        "postalCode": person.postal,
        "countryId": "US",
        "addressTypeId": _code("address-type", "home"),
        "primaryAddress": True,
    }
    return {
        "id": person.ref,
        "username": f"login{person.number}",
        "externalSystemId": f"ext{person.number}",
        "barcode": f"9{person.number:013d}",
        "active": True,
        "type": _TYPES.get(person.kind, person.kind),
        "patronGroup": _code("patron-group", person.patron_type),
        "departments": [_code("department", person.home)],
        "personal": {
            "lastName": surname,
            "firstName": f"Given{person.number}",
            "email": f"{surname.lower()}{person.number}@canary.mail",
            "phone": f"555-01{person.number:05d}",
            **({"dateOfBirth": person.born.isoformat()} if person.born else {}),
            "addresses": [address] if person.postal else [],
            "preferredContactTypeId": "002",
        },
        "enrollmentDate": "2024-01-01T00:00:00.000+00:00",
        "expirationDate": "2026-12-31T00:00:00.000+00:00",
        "customFields": {"note": "CANARYNOTE"},
    }


def _item(number: int, world: World) -> dict[str, Any]:
    return {
        "id": _item_id(number),
        "barcode": f"3{number:013d}",
        "status": {"name": "Available"},
        "materialTypeId": _code("material-type", world.items[number].material),
        "permanentLoanTypeId": _code("loan-type", "normal"),
        "effectiveLocationId": _code("location", world.items[number].audience),
        "title": "CANARYTITLE",
    }


def _loan(act: Act, world: World) -> dict[str, Any]:
    """The record of the loan that a checkout begins or a renewal prolongs."""
    person, renewed = act.person, act.part == "renewal"
    begun = act.renewed.occurred if act.renewed else act.occurred - (14 * _DAY if renewed else 0)
    whose = (
        {"userId": person.ref, "patronGroupIdAtCheckout": _code("patron-group", person.patron_type)} if person else {}
    )
    return {
        "id": _id("loan", act.renewed.key if act.renewed else act.key),
        **whose,
        "itemId": _item_id(act.item),
        "itemEffectiveLocationIdAtCheckOut": _code("location", world.items[act.item].audience),
        "status": {"name": "Open"},
        "loanDate": _time(begun),
        "dueDate": _time(act.occurred + 21 * _DAY),
        "action": "renewed" if renewed else "checkedout",
        "actionComment": "CANARYNOTE" if person and person.is_canary else "",
        "itemStatus": "Checked out",
        "renewalCount": (act.count or 1) if renewed else 0,
        "loanPolicyId": _code("policy", "loan"),
        "checkoutServicePointId": _code("service-point", act.branch),
        "metadata": _meta(begun, act.occurred),
    }


def _request(act: Act) -> dict[str, Any]:
    person = act.person
    assert person is not None  # noqa: S101 - requests have requesters
    return {
        "id": _id("request", act.key),
        "requestLevel": "Item",
        "requestType": "Hold",
        "status": "Open - Not yet filled",
        "requestDate": _time(act.occurred),
        "requesterId": person.ref,
        "requester": {"lastName": "CANARYSMITH", "firstName": "Given", "barcode": f"9{person.number:013d}"},
        "patronComments": "CANARYNOTE",
        "instanceId": _id("instance", act.item),
        "instance": {"title": "CANARYTITLE", "identifiers": []},
        "itemId": _item_id(act.item),
        "item": {"barcode": f"3{act.item:013d}"},
        "fulfillmentPreference": "Hold Shelf",
        "pickupServicePointId": _code("service-point", act.branch),
        "metadata": _meta(act.occurred, act.occurred),
    }


def _check_in(act: Act, world: World) -> dict[str, Any]:
    return {
        "id": _id("check-in", act.key),
        "occurredDateTime": _time(act.occurred),
        "itemId": _item_id(act.item),
        "itemStatusPriorToCheckIn": "Checked out",
        "itemLocationId": _code("location", world.items[act.item].audience),
        "requestQueueSize": 0,
        "servicePointId": _code("service-point", act.branch),
        "performedByUserId": _code("staff", "1"),
    }


def _payload(delivery: Delivery, world: World) -> tuple[str, str, dict[str, Any]]:
    """Topic, event type and data (old and new halves) of one delivery."""
    act, part = delivery.act, delivery.act.part
    if part in ("checkout", "renewal"):
        loan = _loan(act, world)
        before = loan | {"action": "checkedout", "renewalCount": loan["renewalCount"] - 1}
        return ("loan", *_halves(delivery, loan, before if part == "renewal" else None))
    if part == "return":
        return ("check-in", *_halves(delivery, _check_in(act, world), None))
    if act.kind == "circulation":
        waiting = _request(act)
        if part == "hold_placed":
            return ("request", *_halves(delivery, waiting, None))
        return ("request", *_halves(delivery, waiting | {"status": _STATUS[part]}, waiting))
    assert act.person is not None  # noqa: S101 - registrations have patrons
    account = user(act.person) | {"metadata": _meta(act.occurred, act.occurred)}
    later: dict[str, dict[str, Any]] = {
        "renewed": {"expirationDate": "2028-12-31T00:00:00.000+00:00"},
        "expired": {"active": False},
    }
    return ("users", *_halves(delivery, account | later.get(part, {}), account if part in later else None))


def _halves(delivery: Delivery, now: dict[str, Any], before: dict[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """A record that is made, changed, or deleted again."""
    if delivery.op == "retract":
        return "DELETED", {"old": now}
    return ("UPDATED", {"old": before, "new": now}) if before else ("CREATED", {"new": now})


def _lines(world: World) -> Iterator[tuple[str, bytes]]:
    offsets: dict[str, int] = {}
    told: dict[tuple[str, str], int] = {}
    for delivery in world.told_by(SOURCE):
        topic, change, data = _payload(delivery, world)
        half = "old" if "old" in data else "new"
        seen = told[topic, change] = told.get((topic, change), -1) + 1
        for odd in (None, "field", "header") if seen % _EXTRA == 9 else (None,):
            offset = offsets[topic] = offsets.get(topic, -1) + 1
            payload = {
                "id": _id("event", f"{delivery.act.key}{delivery.op}{odd}"),
                "type": change,
                "tenant": _TENANT,
                "timestamp": delivery.arrived,
                "data": data if odd != "field" else data | {half: data[half] | {"shoeSize": "CANARYNOTE"}},
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
                "key": data[half]["id"],
                "payload": _encode(payload).decode(),
            }
            yield topic, _encode(record) + b"\n"


def write(world: World, directory: Path) -> None:
    """Write the files of this source."""
    streams = {topic: (directory / f"{topic}.jsonl").open("wb") for topic in _TOPICS}
    for topic, line in _lines(world):
        streams[topic].write(line)
    for stream in streams.values():
        stream.close()
    people = (user(one) for one in world.people if one.source == SOURCE and one.is_listed)
    items = (_item(number, world) for number, item in enumerate(world.items) if item.is_listed)
    for name, records in (("users", people), ("items", items)):
        with (directory / "lookups" / f"{name}.jsonl").open("wb") as stream:
            stream.writelines(_encode(record) + b"\n" for record in records)
