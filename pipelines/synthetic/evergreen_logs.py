"""Evergreen's action.circulation as COPY writes it, with the patron, address and copy exports."""

import datetime as dt
from pathlib import Path
from typing import Iterable, Mapping

from pipelines.synthetic.world import AUDIENCES, BRANCHES, PATRON_TYPES, ZONE, Act, World, item_codes

_CIRCULATION = [
    "id",
    "usr",
    "xact_start",
    "xact_finish",
    "unrecovered",
    "target_copy",
    "circ_lib",
    "circ_staff",
    "checkin_staff",
    "checkin_lib",
    "renewal_remaining",
    "grace_period",
    "due_date",
    "stop_fines_time",
    "checkin_time",
    "create_time",
    "duration",
    "fine_interval",
    "recurring_fine",
    "max_fine",
    "phone_renewal",
    "desk_renewal",
    "opac_renewal",
    "duration_rule",
    "recurring_fine_rule",
    "max_fine_rule",
    "stop_fines",
    "workstation",
    "checkin_workstation",
    "copy_location",
    "checkin_scan_time",
    "auto_renewal",
    "auto_renewal_remaining",
    "parent_circ",
]
_USER = [
    "id",
    "card",
    "profile",
    "usrname",
    "email",
    "passwd",
    "standing",
    "ident_type",
    "ident_value",
    "ident_type2",
    "ident_value2",
    "net_access_level",
    "photo_url",
    "prefix",
    "first_given_name",
    "second_given_name",
    "family_name",
    "suffix",
    "guardian",
    "pref_prefix",
    "pref_first_given_name",
    "pref_second_given_name",
    "pref_family_name",
    "pref_suffix",
    "name_keywords",
    "name_kw_tsvector",
    "alias",
    "day_phone",
    "evening_phone",
    "other_phone",
    "mailing_address",
    "billing_address",
    "home_ou",
    "dob",
    "active",
    "master_account",
    "super_user",
    "barred",
    "deleted",
    "juvenile",
    "usrgroup",
    "claims_returned_count",
    "credit_forward_balance",
    "last_xact_id",
    "create_date",
    "expire_date",
    "claims_never_checked_out_count",
    "last_update_time",
    "locale",
    "guardian_email",
]
_ADDRESS = [
    "id",
    "valid",
    "within_city_limits",
    "address_type",
    "usr",
    "street1",
    "street2",
    "city",
    "county",
    "state",
    "country",
    "post_code",
    "pending",
    "replaces",
]
_COPY = [
    "id",
    "circ_lib",
    "creator",
    "call_number",
    "editor",
    "create_date",
    "edit_date",
    "copy_number",
    "status",
    "location",
    "loan_duration",
    "fine_level",
    "age_protect",
    "circulate",
    "deposit",
    "ref",
    "holdable",
    "deposit_amount",
    "price",
    "barcode",
    "circ_modifier",
    "circ_as_type",
    "dummy_title",
    "dummy_author",
    "alert_message",
    "opac_visible",
    "deleted",
    "floating",
    "dummy_isbn",
    "status_changed_time",
    "active_date",
    "mint_condition",
    "cost",
]
_NOT_PATRON = {"staff": 90, "system": 90, "test": 91, "shadow": 91, "guest": 91}


def _time(instant: int, micros: int = 0) -> str:
    local = dt.datetime.fromtimestamp(instant / 1000, ZONE).replace(microsecond=micros)
    return local.strftime("%Y-%m-%d %H:%M:%S.%f") + local.strftime("%z")[:3]


def _table(path: Path, names: Iterable[str], rows: Iterable[Mapping[str, object]]) -> None:
    columns = tuple(names)
    with path.open("w") as stream:
        stream.write("\t".join(columns) + "\n")
        for row in rows:
            stream.write("\t".join(str(row.get(name, "\\N")) for name in columns) + "\n")


def _unit(branch: str) -> int:
    return 101 + BRANCHES.index(branch)


def _circulation(act: Act) -> dict[str, object]:
    assert act.person is not None  # noqa: S101 - circulations have patrons
    number = int(act.key)
    start = _time(act.occurred, number % 1_000_000)
    return {
        "id": number,
        "usr": act.person.ref,
        "xact_start": start,
        "target_copy": act.item,
        "circ_lib": _unit(act.branch),
        "circ_staff": 220,
        "renewal_remaining": 2,
        "grace_period": "1 day",
        "due_date": _time(act.occurred + 21 * 86_400_000),
        "create_time": start,
        "duration": "21 days",
        "fine_interval": "1 day",
        "recurring_fine": "0.10",
        "max_fine": "3.00",
        "phone_renewal": 0,
        "desk_renewal": 0,
        "opac_renewal": int(act.part == "renewal"),
        "duration_rule": "default",
        "recurring_fine_rule": "default",
        "max_fine_rule": "default",
        "copy_location": 100,
        "auto_renewal": 0,
        **({"parent_circ": 10_000_000 + number} if act.part == "renewal" else {}),
    }


def write(world: World, directory: Path) -> None:
    """Write the files of this source."""
    people = [person for person in world.people if person.source == "evergreen"]
    acts = (one.act for one in world.deliveries if one.act.source == "evergreen")
    _table(directory / "action.circulation.tsv", _CIRCULATION, map(_circulation, acts))
    lookups = directory / "lookups"
    users = (
        {
            "id": person.ref,
            "card": person.ref,
            "profile": _NOT_PATRON.get(person.kind, 1 + PATRON_TYPES.index(person.patron_type)),
            "usrname": f"8{person.number:013d}",
            "email": f"person{person.number}@canary.mail",
            "passwd": "0" * 32,
            "standing": 1,
            "ident_type": 1,
            "ident_value": "CANARYNOTE",
            "net_access_level": 1,
            "first_given_name": f"Given{person.number}",
            "family_name": "CANARYSMITH" if person.is_canary else f"Family{person.number}",
            "home_ou": _unit(person.home),
            "dob": person.born.isoformat(),
            "active": 1,
            "deleted": 0,
        }
        for person in people
    )
    _table(lookups / "actor.usr.tsv", _USER, users)
    addresses = (
        {
            "id": at,
            "valid": 1,
            "address_type": "MAILING",
            "usr": person.ref,
            "street1": "1 CANARYSMITH Way",
            "post_code": person.postal,
        }
        for at, person in enumerate(people, start=1)
    )
    _table(lookups / "actor.usr_address.tsv", _ADDRESS, addresses)
    copies = (
        {
            "id": item,
            "circ_lib": 101,
            "call_number": item,
            "status": 0,
            "location": 1 + AUDIENCES.index(item_codes(item)[1]),
            "barcode": f"CONC{item:08d}",
            "circ_modifier": item_codes(item)[0],
            "dummy_title": "CANARYTITLE",
            "deleted": 0,
        }
        for item in range(1, 20_000)
    )
    _table(lookups / "asset.copy.tsv", _COPY, copies)
