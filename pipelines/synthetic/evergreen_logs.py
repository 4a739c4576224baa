"""Evergreen's action.circulation as COPY writes it, with the patron, address and copy exports."""

import gzip
from pathlib import Path
from typing import Iterable, Iterator, Mapping

from pipelines.initialise import AUDIENCES, BRANCHES, PATRON_TYPES
from pipelines.synthetic.world import Act, Person, World, local_time
from schemas.policy import OTHER

SOURCE = "evergreen"

_CIRCULATION = """
    id usr xact_start xact_finish unrecovered target_copy circ_lib circ_staff checkin_staff checkin_lib
    renewal_remaining grace_period due_date stop_fines_time checkin_time create_time duration fine_interval
    recurring_fine max_fine phone_renewal desk_renewal opac_renewal duration_rule recurring_fine_rule max_fine_rule
    stop_fines workstation checkin_workstation copy_location checkin_scan_time auto_renewal auto_renewal_remaining
    parent_circ
"""
_USER = """
    id card profile usrname email passwd standing ident_type ident_value ident_type2 ident_value2 net_access_level
    photo_url prefix first_given_name second_given_name family_name suffix guardian pref_prefix
    pref_first_given_name pref_second_given_name pref_family_name pref_suffix name_keywords name_kw_tsvector alias
    day_phone evening_phone other_phone mailing_address billing_address home_ou dob active master_account super_user
    barred deleted juvenile usrgroup claims_returned_count credit_forward_balance last_xact_id create_date
    expire_date claims_never_checked_out_count last_update_time locale guardian_email
"""
_ADDRESS = """
    id valid within_city_limits address_type usr street1 street2 city county state country post_code pending
    replaces
"""
_COPY = """
    id circ_lib creator call_number editor create_date edit_date copy_number status location loan_duration
    fine_level age_protect circulate deposit ref holdable deposit_amount price barcode circ_modifier circ_as_type
    dummy_title dummy_author alert_message opac_visible deleted floating dummy_isbn status_changed_time active_date
    mint_condition cost
"""
_NOT_PATRON = {"staff": 90, "system": 90, "test": 91, "shadow": 91, "guest": 91}
_NOWHERE = 177  # an org unit, profile and location that no code map names
_EXTRA = 500  # one row in so many is exported again with a column that nobody declared
_DAY = 86_400_000


def _time(instant: int, micros: int = 0) -> str:
    local = local_time(instant).replace(microsecond=micros)
    return local.strftime("%Y-%m-%d %H:%M:%S.%f") + local.strftime("%z")[:3]


def _lines(names: str, rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    columns = names.split()
    yield "\t".join(columns) + "\n"
    for row in rows:
        yield "\t".join(str(row.get(name, "\\N")) for name in columns) + "\n"


def _unit(branch: str) -> int:
    codes = tuple(BRANCHES)
    return 101 + codes.index(branch) if branch in codes else _NOWHERE


def _parent(act: Act) -> dict[str, object]:
    """A renewal points back at the circulation before it, which may be older than the export."""
    if act.part != "renewal":
        return {}
    return {"parent_circ": int(act.renewed.key) if act.renewed else 10_000_000 + int(act.key)}


def _circulation(act: Act) -> dict[str, object]:
    number = int(act.key)
    # The clock of the database counts microseconds; the act keeps its second.
    start = _time(act.occurred, number * 7919 % 1_000_000)
    return {
        "id": number,
        **({"usr": act.person.ref} if act.person else {}),
        "xact_start": start,
        "target_copy": act.item,
        "circ_lib": _unit(act.branch),
        "circ_staff": 220,
        "renewal_remaining": 2,
        "grace_period": "1 day",
        "due_date": _time(act.occurred + 21 * _DAY),
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
        **_parent(act),
    }


def _user(person: Person) -> dict[str, object]:
    profile = _NOWHERE if person.patron_type == OTHER else 1 + PATRON_TYPES.index(person.patron_type)
    return {
        "id": person.ref,
        "card": person.ref,
        "profile": _NOT_PATRON.get(person.kind, profile),
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
        **({"dob": person.born.isoformat()} if person.born else {}),
        "active": 1,
        "deleted": 0,
    }


def _address(number: int, person: Person) -> dict[str, object]:
    return {
        "id": number,
        "valid": 1,
        "address_type": "MAILING",
        "usr": person.ref,
        "street1": "1 CANARYSMITH Way",
        "post_code": person.postal,
    }


def _copy(number: int, world: World) -> dict[str, object]:
    item = world.items[number]
    modifier = item.material if item.material != OTHER else (None, "CANARYTITLE")[number % 2]
    return {
        "id": number,
        "circ_lib": 101,
        "call_number": number,
        "status": 0,
        "location": _NOWHERE if item.audience == OTHER else 1 + AUDIENCES.index(item.audience),
        "barcode": f"CONC{number:08d}",
        **({"circ_modifier": modifier} if modifier else {}),
        "dummy_title": "CANARYTITLE",
        "deleted": 0,
    }


def write(world: World, directory: Path) -> None:
    """Write the files of this source."""
    acts = [one.act for one in world.told_by(SOURCE)]
    with (directory / "action.circulation.tsv").open("w") as stream:
        stream.writelines(_lines(_CIRCULATION, map(_circulation, acts)))
    # An export with a column of the library's own making: every row is refused.
    noted: Iterable[dict[str, object]] = (
        _circulation(act) | {"patron_note": "CANARYNOTE\\tcalls daily"} for act in acts[9::_EXTRA]
    )
    name = "action.circulation-with-notes.tsv.gz"
    with (directory / name).open("wb") as packed, gzip.GzipFile("", "wb", 9, packed, mtime=0) as rows:
        rows.writelines(line.encode() for line in _lines(f"{_CIRCULATION} patron_note", noted))
    people = [person for person in world.people if person.source == SOURCE and person.is_listed]
    exports: dict[str, tuple[str, Iterable[Mapping[str, object]]]] = {
        "actor.usr": (_USER, map(_user, people)),
        "actor.usr_address": (_ADDRESS, (_address(at, one) for at, one in enumerate(people, start=1) if one.postal)),
        "asset.copy": (_COPY, (_copy(at, world) for at, item in enumerate(world.items) if item.is_listed)),
    }
    for table, (names, records) in exports.items():
        with (directory / "lookups" / f"{table}.tsv").open("w") as stream:
            stream.writelines(_lines(names, records))
