"""What FOLIO's user and item records say of a patron and an item: codes, a birth date, a postal code."""

from typing import Any, Dict, Mapping, Optional

from schemas.rejects import DecodeError, Reason
from schemas.wire import fields as wire
from schemas.wire.adapter import Reduced
from schemas.wire.timestamps import day_part

PATRON_KINDS: Mapping[str, str] = {
    "patron": "patron",
    "staff": "staff",
    "shadow": "shadow",
    "system": "system",
    "dcb": "system",
}


def _first(items: Any, path: str) -> Any:
    if items is None:
        return None
    if not isinstance(items, list):
        raise DecodeError(Reason.WRONG_TYPE, (path,))
    return items[0] if items else None


def patron_codes(user: Any, at: str) -> Dict[str, str]:
    """What a user record says of the patron, by canonical column; `at` completes the names for rejects."""

    def named(path: str, value: Any, limit: int = 64) -> Optional[str]:
        # One value under its full name, so that a reject points into the field table.
        return wire.text({"value": value}, "value", limit=limit, shown=f"{at}{path}")

    born = wire.pick(user, "personal.dateOfBirth", shown=f"{at}personal")
    address = _first(wire.pick(user, "personal.addresses", shown=f"{at}personal"), f"{at}personal.addresses")
    postal = wire.pick(address, "postalCode", shown=f"{at}personal.addresses")
    kind = named("type", wire.pick(user, "type"))
    if kind is not None and kind not in PATRON_KINDS:
        raise DecodeError(Reason.UNKNOWN_CODE, (f"{at}type",))
    found = {
        "patron_kind": PATRON_KINDS[kind or "patron"],
        "patron_type": named("patronGroup", wire.pick(user, "patronGroup")),
        "home_branch": named("departments", _first(wire.pick(user, "departments"), f"{at}departments")),
        "birth_date": None if born is None else day_part(born, f"{at}personal.dateOfBirth"),
        "postal_code": named("personal.addresses.postalCode", postal, 16),
    }
    return {column: value for column, value in found.items() if value is not None}


def reduce_patron(user: Mapping[str, Any]) -> Reduced:
    """One user of an export: id -> patron group, home department, birth date, postal code, kind."""
    key = wire.text(user, "id")
    return None if key is None else (key, patron_codes(user, ""))


def reduce_item(item: Mapping[str, Any]) -> Reduced:
    """One item of an export: id -> material type and, as audience, its location."""
    key = wire.text(item, "id")
    found = {
        "material": wire.text(item, "materialTypeId"),
        "audience": wire.text(item, "effectiveLocationId"),
    }
    return None if key is None else (key, {name: code for name, code in found.items() if code is not None})
