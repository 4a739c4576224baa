"""Every field of FOLIO's loan, request, check-in and user events, named as used or dropped."""

from typing import Dict, List, Mapping, Tuple

from schemas.wire.fields import Field, FieldTable

# What FOLIO producers put in record headers: addresses, tenant, tokens and the acting user.
HEADERS = (
    ("x-okapi-url", "ok"),
    ("x-okapi-tenant", "ok"),
    ("x-okapi-request-id", "L"),
    ("x-okapi-user-id", "L"),
    ("x-okapi-token", "D"),
    ("x-okapi-module-id", "ok"),
    ("folio.tenantid", "ok"),
)
_ENVELOPE: Tuple[Field, ...] = (
    Field("id", "dropped", "L", "id of the message, not of the act"),
    Field("type", "used", "ok", "CREATED, UPDATED, DELETED, ALL_DELETED"),
    Field("tenant", "dropped", "ok"),
    Field("timestamp", "dropped", "T", "producer's clock, not the time of the act"),
    Field("@key", "dropped", "L", "id of the loan, request or user"),
    *(Field(f"@headers.{name}", "dropped", cls) for name, cls in HEADERS),
)

Named = Mapping[str, Tuple[str, str]]
USED: Dict[str, Dict[str, str]] = {
    "loan": {
        "id": "L",
        "userId": "L",
        "itemId": "L",
        "loanDate": "T",
        "action": "ok",
        "renewalCount": "ok",
        "checkoutServicePointId": "ok",
        "patronGroupIdAtCheckout": "Q",
        "isDcb": "ok",
        "metadata.updatedDate": "T",
    },
    "request": {
        "id": "L",
        "requesterId": "L",
        "itemId": "L",
        "requestDate": "T",
        "status": "ok",
        "pickupServicePointId": "ok",
        "isDcb": "ok",
        "metadata.updatedDate": "T",
    },
    "check-in": {"id": "L", "itemId": "L", "occurredDateTime": "T", "servicePointId": "ok"},
    "users": {
        "id": "L",
        "active": "ok",
        "type": "ok",
        "patronGroup": "Q",
        "departments[]": "Q",
        "expirationDate": "T",
        "personal.dateOfBirth": "Q",
        "personal.addresses[].postalCode": "Q",
        "metadata.createdDate": "T",
        "metadata.updatedDate": "T",
    },
}
# What becomes of a used field that its name does not tell; what `carrel.toml` maps is named by its section.
NOTES: Dict[str, Dict[str, str]] = {
    "loan": {
        "userId": "the patron reference",
        "itemId": "finds material and audience, then forgotten",
        "loanDate": "time of a checkout",
        "action": "an open list; never counted by",
        "renewalCount": "what it rose by from old to new is that many renewals",
        "checkoutServicePointId": "codes.branch",
        "patronGroupIdAtCheckout": "codes.patron_type; else the user's patronGroup",
        "isDcb": "such a loan is no patron's",
        "metadata.updatedDate": "time of a renewal; else the arrival",
    },
    "request": {
        "requesterId": "the patron reference",
        "itemId": "finds material and audience, then forgotten",
        "requestDate": "time of a placed hold",
        "status": "how the hold ended, when it changed from old to new",
        "pickupServicePointId": "codes.branch",
        "isDcb": "such a request is no patron's",
        "metadata.updatedDate": "time of an outcome; else the arrival",
    },
    "check-in": {
        "itemId": "finds material and audience, then forgotten",
        "occurredDateTime": "time of a return",
        "servicePointId": "codes.branch",
    },
    "users": {
        "id": "the patron reference",
        "active": "from true to false is expired",
        "type": "only patron is counted",
        "patronGroup": "codes.patron_type",
        "departments[]": "the first: codes.home_branch",
        "expirationDate": "later than before is renewed",
        "personal.dateOfBirth": "becomes an age band",
        "personal.addresses[].postalCode": "the first: becomes a library-drawn service zone",
        "metadata.createdDate": "time of a registration; else the arrival",
        "metadata.updatedDate": "time of a change; else the arrival",
    },
}
_METADATA: Dict[str, str] = {
    "metadata.createdDate": "T",
    "metadata.createdByUserId": "L",
    "metadata.createdByUsername": "D",
    "metadata.updatedByUserId": "L",
    "metadata.updatedByUsername": "D",
}
_PERSON = ("firstName", "lastName", "middleName", "preferredFirstName", "barcode")
DROPPED: Dict[str, Dict[str, str]] = {
    "loan": {
        "proxyUserId": "L",
        "itemEffectiveLocationIdAtCheckOut": "ok",
        "itemLocationId": "ok",
        "status": "ok",
        "forUseAtLocation": "T",
        "dueDate": "T",
        "returnDate": "T",
        "systemReturnDate": "T",
        "actionComment": "S",
        "itemStatus": "ok",
        "loanPolicyId": "ok",
        "overdueFinePolicyId": "ok",
        "lostItemPolicyId": "ok",
        "checkinServicePointId": "ok",
        "dueDateChangedByRecall": "ok",
        "declaredLostDate": "T",
        "claimedReturnedDate": "T",
        "agedToLostDelayedBilling": "S",
        "agedToLostDate": "T",
        "reminders": "S",
        **_METADATA,
    },
    "request": {
        "requestLevel": "ok",
        "requestType": "ok",
        "ecsRequestPhase": "ok",
        "requestExpirationDate": "T",
        "patronComments": "S",
        **{f"requester.{name}": "D" for name in _PERSON},
        "requester.patronGroup": "Q",
        "requester.patronGroupId": "Q",
        "requester.type": "ok",
        "proxyUserId": "L",
        **{f"proxy.{name}": "D" for name in _PERSON},
        "proxy.patronGroup": "Q",
        "proxy.patronGroupId": "Q",
        "instanceId": "S",
        "instance": "S",
        "holdingsRecordId": "S",
        "item": "S",
        "cancellationReasonId": "ok",
        "cancelledByUserId": "L",
        "cancellationAdditionalInformation": "S",
        "cancelledDate": "T",
        "position": "ok",
        "fulfillmentPreference": "ok",
        "fulfilmentPreference": "ok",
        "deliveryAddressTypeId": "ok",
        "holdShelfExpirationDate": "T",
        "awaitingPickupRequestClosedDate": "T",
        "itemLocationCode": "ok",
        "tags": "S",
        "searchIndex": "S",
        "printDetails": "L",
        **_METADATA,
    },
    "check-in": {
        "itemStatusPriorToCheckIn": "ok",
        "itemLocationId": "ok",
        "requestQueueSize": "ok",
        "performedByUserId": "L",
        "isDcb": "ok",
        **_METADATA,
        "metadata.updatedDate": "T",
    },
    "users": {
        "username": "D",
        "externalSystemId": "D",
        "barcode": "D",
        "meta": "S",
        "proxyFor": "L",
        **{
            f"personal.{name}": "D"
            for name in (
                "lastName",
                "firstName",
                "middleName",
                "preferredFirstName",
                "email",
                "phone",
                "mobilePhone",
                "profilePictureLink",
            )
        },
        "personal.pronouns": "S",
        "personal.preferredContactTypeId": "ok",
        "personal.preferredContactTypeIds": "ok",
        **{
            f"personal.addresses[].{name}": cls
            for name, cls in {
                "id": "L",
                "addressLine1": "D",
                "addressLine2": "D",
                "city": "Q",
                "region": "Q",
                "countryId": "Q",
                "addressTypeId": "ok",
                "primaryAddress": "ok",
            }.items()
        },
        "enrollmentDate": "T",
        "createdDate": "T",
        "updatedDate": "T",
        "preferredEmailCommunication": "ok",
        "tags": "S",
        "customFields": "S",
        "minor": "Q",
        "status": "Q",
        **{name: cls for name, cls in _METADATA.items() if name != "metadata.createdDate"},
    },
}


def _table(kind: str) -> FieldTable:
    fields: List[Field] = list(_ENVELOPE)
    for half in ("data.old", "data.new"):
        fields += (Field(f"{half}.{name}", "used", cls, NOTES[kind].get(name, "")) for name, cls in USED[kind].items())
        fields += (Field(f"{half}.{name}", "dropped", cls) for name, cls in DROPPED[kind].items())
    return FieldTable(fields)


FIELDS: Dict[str, FieldTable] = {kind: _table(kind) for kind in USED}
