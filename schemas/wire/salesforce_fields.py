"""Every field of Salesforce's Contact and CampaignMember change events, named as used or dropped."""

from typing import Dict, Tuple

from schemas.wire.fields import Field, FieldTable

_HEADER: Tuple[Field, ...] = tuple(
    Field(f"ChangeEventHeader.{name}", use, cls)
    for name, use, cls in (
        ("entityName", "used", "ok"),
        ("recordIds[]", "used", "L"),
        ("changeType", "used", "ok"),
        ("changeOrigin", "dropped", "L"),
        ("transactionKey", "used", "L"),
        ("sequenceNumber", "used", "ok"),
        ("commitTimestamp", "used", "T"),
        ("commitUser", "dropped", "L"),
        ("commitNumber", "dropped", "L"),
        ("nulledFields[]", "used", "ok"),
        ("diffFields", "dropped", "ok"),
        ("changedFields[]", "used", "ok"),
    )
)
_RECORD: Dict[str, str] = {
    "OwnerId": "L",
    "CreatedById": "L",
    "CreatedDate": "T",
    "LastModifiedById": "L",
    "LastModifiedDate": "T",
    "SystemModstamp": "T",
    "IsDeleted": "ok",
    "CurrencyIsoCode": "ok",
    "RecordTypeId": "ok",
}
# Compound fields are dropped whole: the position of a house comes with an address nobody located.
CONTACT: Dict[str, str] = {
    **_RECORD,
    "AccountId": "L",
    "MasterRecordId": "L",
    "IndividualId": "L",
    "ReportsToId": "L",
    "Name": "D",
    "LastName": "D",
    "FirstName": "D",
    "MiddleName": "D",
    "Suffix": "D",
    "Salutation": "D",
    "Pronouns": "S",
    "GenderIdentity": "S",
    "Title": "Q",
    "Department": "Q",
    "DepartmentGroup": "Q",
    "TitleType": "Q",
    "BuyerAttributes": "S",
    "ContactSource": "ok",
    "Birthdate": "Q",
    "Email": "D",
    "EmailBouncedReason": "S",
    "EmailBouncedDate": "T",
    "IsEmailBounced": "ok",
    "HasOptedOutOfEmail": "ok",
    "HasOptedOutOfFax": "ok",
    "DoNotCall": "ok",
    "Phone": "D",
    "HomePhone": "D",
    "MobilePhone": "D",
    "OtherPhone": "D",
    "AssistantPhone": "D",
    "AssistantName": "D",
    "Fax": "D",
    "PhotoUrl": "D",
    "MailingAddress": "D",
    "OtherAddress": "D",
    "LeadSource": "ok",
    "Description": "S",
    "Languages": "Q",
    "Level": "Q",
    "Jigsaw": "L",
    "JigsawContactId": "L",
    "CleanStatus": "ok",
    "LastActivityDate": "T",
    "LastCURequestDate": "T",
    "LastCUUpdateDate": "T",
    "LastViewedDate": "T",
    "LastReferencedDate": "T",
    "FirstCallDateTime": "T",
    "FirstEmailDateTime": "T",
    "ActivityMetricId": "L",
    "ActivityMetricRollupId": "L",
    "IsPersonAccount": "ok",
    "IsPriorityRecord": "ok",
    "CanAllowPortalSelfReg": "ok",
    **{
        f"{kind}{part}": cls
        for kind in ("Mailing", "Other")
        for part, cls in {
            "Street": "D",
            "City": "Q",
            "State": "Q",
            "StateCode": "Q",
            "PostalCode": "Q",
            "Country": "Q",
            "CountryCode": "Q",
            "Latitude": "D",
            "Longitude": "D",
            "GeocodeAccuracy": "ok",
        }.items()
    },
}
MEMBER_USED: Dict[str, str] = {"CampaignId": "L", "ContactId": "L", "LeadId": "L", "Status": "ok"}
# What becomes of them; what `carrel.toml` maps is named by its section.
NOTES: Dict[str, str] = {
    "CampaignId": "finds the campaign's Type: codes.campaign_type",
    "ContactId": "the patron reference; else by the lookup of members",
    "LeadId": "a lead is nobody who is counted",
    "Status": "codes.response",
}
MEMBER: Dict[str, str] = {
    **{name: cls for name, cls in _RECORD.items() if name != "OwnerId"},
    "LeadOrContactId": "L",
    "LeadOrContactOwnerId": "L",
    "AccountId": "L",
    "HasResponded": "ok",
    "FirstRespondedDate": "T",
    "Name": "D",
    "Salutation": "D",
    "FirstName": "D",
    "LastName": "D",
    "Title": "Q",
    "CompanyOrAccount": "Q",
    "Street": "D",
    "City": "Q",
    "State": "Q",
    "PostalCode": "Q",
    "Country": "Q",
    "Email": "D",
    "Phone": "D",
    "MobilePhone": "D",
    "Fax": "D",
    "Description": "S",
    "DoNotCall": "ok",
    "HasOptedOutOfEmail": "ok",
    "HasOptedOutOfFax": "ok",
    "LeadSource": "ok",
    "Type": "ok",
}
FIELDS: Dict[str, FieldTable] = {
    "Contact": FieldTable((*_HEADER, *(Field(name, "dropped", cls) for name, cls in CONTACT.items()))),
    "CampaignMember": FieldTable(
        (
            *_HEADER,
            *(Field(name, "used", cls, NOTES[name]) for name, cls in MEMBER_USED.items()),
            *(Field(name, "dropped", cls) for name, cls in MEMBER.items()),
        )
    ),
}
