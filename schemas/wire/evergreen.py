"""Evergreen circulations: rows of `action.circulation` as PostgreSQL's COPY writes them.

Source: evergreen-library-system/Evergreen `Open-ILS/src/sql/Pg/090.schema.action.sql`. A renewal is a row of
its own whose `parent_circ` points back; every other row is a checkout.
"""

from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional, Tuple

from schemas.fast import Circulation
from schemas.rejects import DecodeError, Reason
from schemas.wire import fields as wire
from schemas.wire.adapter import Adapter, Context, Reduced, used
from schemas.wire.envelopes import Delivered
from schemas.wire.fields import Field, FieldTable
from schemas.wire.timestamps import day_part, parse

# All 34 columns, in the table's order.
_CIRCULATION: Tuple[Field, ...] = (
    Field("id", "used", "L", "identity of the act"),
    Field("usr", "used", "L", "the patron reference"),
    Field("xact_start", "used", "T", "time of the act"),
    Field("xact_finish", "dropped", "T"),
    Field("unrecovered", "dropped", "S"),
    Field("target_copy", "used", "L", "finds material and audience, then forgotten"),
    Field("circ_lib", "used", "ok", "branch"),
    Field("circ_staff", "dropped", "L"),
    Field("checkin_staff", "dropped", "L"),
    Field("checkin_lib", "dropped", "ok"),
    Field("renewal_remaining", "dropped", "ok"),
    Field("grace_period", "dropped", "ok"),
    Field("due_date", "dropped", "T"),
    Field("stop_fines_time", "dropped", "T"),
    Field("checkin_time", "dropped", "T"),
    Field("create_time", "dropped", "T"),
    Field("duration", "dropped", "ok"),
    Field("fine_interval", "dropped", "ok"),
    Field("recurring_fine", "dropped", "S"),
    Field("max_fine", "dropped", "S"),
    Field("phone_renewal", "dropped", "ok"),
    Field("desk_renewal", "dropped", "ok"),
    Field("opac_renewal", "dropped", "ok"),
    Field("duration_rule", "dropped", "ok"),
    Field("recurring_fine_rule", "dropped", "ok"),
    Field("max_fine_rule", "dropped", "ok"),
    Field("stop_fines", "dropped", "S"),
    Field("workstation", "dropped", "L"),
    Field("checkin_workstation", "dropped", "L"),
    Field("copy_location", "dropped", "ok"),
    Field("checkin_scan_time", "dropped", "T"),
    Field("auto_renewal", "dropped", "ok"),
    Field("auto_renewal_remaining", "dropped", "ok"),
    Field("parent_circ", "used", "L", "set: a renewal"),
)
COLUMNS: Tuple[str, ...] = tuple(field.path for field in _CIRCULATION)
FIELDS: Mapping[str, FieldTable] = {"circulation": FieldTable(_CIRCULATION)}
_NEEDED = tuple(field.path for field in _CIRCULATION if field.use == "used")
FILLS: Mapping[str, FrozenSet[str]] = {
    "circulation": frozenset(
        ("branch", "material", "audience", "patron_type", "home_branch", "birth_date", "postal_code", "home_zone")
    )
}


def _row(message: Delivered, context: Context) -> Dict[str, Optional[str]]:
    """The used cells of one row, under their column names."""
    columns = context.columns or COLUMNS
    if not isinstance(message.value, list) or len(message.value) != len(columns):
        raise DecodeError(Reason.NOT_TSV)
    named = Delivered(dict(zip(columns, message.value, strict=True)), message.key, message.headers)
    row = used(FIELDS["circulation"], named, context)
    # Without `parent_circ`, say, every renewal would pass for a checkout.
    missing = tuple(name for name in _NEEDED if name not in row)
    if missing:
        raise DecodeError(Reason.MISSING_FIELD, missing)
    return row


def events(message: Delivered, context: Context) -> List[Any]:
    """The checkout or renewal that one row is.

    Raises:
      DecodeError: NOT_TSV when the row has not one cell per column, DISALLOWED_FIELD for an unknown column,
        MISSING_FIELD, WRONG_TYPE, BAD_VALUE, BAD_TIME.
    """
    row = _row(message, context)
    act = wire.required_text(row, "id")
    start = wire.required_text(row, "xact_start")
    patron = wire.text(row, "usr")
    # The database knows no circulation without one; a row that lost it would count everywhere but at a branch.
    branch = wire.required_text(row, "circ_lib")
    item = context.codes("items", wire.text(row, "target_copy"))
    return [
        Circulation(
            event_id=act,
            action="checkout" if wire.text(row, "parent_circ") is None else "renewal",
            occurred_at=parse(start, "xact_start", context.zone),
            arrived_at=message.arrived_at,
            patron_ref=patron,
            branch=branch,
            material=item.get("material"),
            audience=item.get("audience"),
            **_patron(context.codes("patrons", patron)),
        )
    ]


def _patron(known: Mapping[str, str]) -> Dict[str, str]:
    """What the lookups say of a patron; of several addresses the mailing address counts, else the oldest."""
    found = {name: value for name, value in known.items() if name != _MAILING and not name.startswith(_ADDRESS)}
    addresses = [name for name in known if name.startswith(_ADDRESS)]
    if addresses:
        mailing = _ADDRESS + known.get(_MAILING, "")
        oldest = min(addresses, key=lambda name: (len(name), name))
        found["postal_code"] = known[mailing if mailing in known else oldest]
    return found


def _born(row: Mapping[str, Any]) -> Optional[str]:
    """A date that cannot be read is missing, and the rest of the row stands: else staff would be taken for a patron."""
    born = wire.text(row, "dob")
    try:
        return None if born is None else day_part(born, "dob")
    except DecodeError:
        return None


# Beside the codes a lookup holds, until an event asks where its patron lives, which address is the mailing
# address, and the postal code of each.
_MAILING, _ADDRESS = "mailing_address", "address/"
_OF_PATRON: Mapping[str, Callable[[Mapping[str, Any]], Optional[str]]] = {
    "patron_type": lambda row: wire.text(row, "profile"),
    "home_branch": lambda row: wire.text(row, "home_ou"),
    "birth_date": _born,
    _MAILING: lambda row: wire.text(row, "mailing_address"),
}


def reduce_patron(record: Mapping[str, Any]) -> Reduced:
    """One row of `actor.usr` or `actor.usr_address`: patron id -> what it says of the patron."""
    if "post_code" in record:
        return _address(record)
    key = wire.text(record, "id")
    found: Dict[str, str] = {}
    for column, read in _OF_PATRON.items():
        value = read(record)
        if value is not None:
            found[column] = value
    return None if key is None else (key, found)


def _address(row: Mapping[str, Any]) -> Reduced:
    # A pending address is a patron's own entry that no librarian has accepted yet.
    if wire.text(row, "pending") in {"t", "1"}:
        return None
    key, number = wire.text(row, "usr"), wire.text(row, "id")
    code = wire.text(row, "post_code", limit=16)
    if key is None:
        return None
    return key, {} if code is None else {"postal_code" if number is None else _ADDRESS + number: code}


def reduce_item(record: Mapping[str, Any]) -> Reduced:
    """One row of `asset.copy`: copy id -> circulation modifier and, as audience, its location."""
    key = wire.text(record, "id")
    if key is None:
        return None
    found = {"material": wire.text(record, "circ_modifier"), "audience": wire.text(record, "location")}
    return key, {name: code for name, code in found.items() if code is not None}


ADAPTER = Adapter(
    name="evergreen",
    envelope="tsv",
    fields=FIELDS,
    fills=FILLS,
    lookups={"patrons": reduce_patron, "items": reduce_item},
    events=events,
)
