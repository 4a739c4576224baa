"""What FOLIO's user and item records say of a patron and an item: codes, a birth date, a postal code."""

from typing import Any, Callable, Dict, Mapping, Optional

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


def _text(value: Any, shown: str, limit: int = 64) -> Optional[str]:
    """One value under its full name, so that a reject points into the field table."""
    return wire.text({"value": value}, "value", limit=limit, shown=shown)


def _kind(user: Any, at: str) -> Optional[str]:
    kind = _text(wire.pick(user, "type"), f"{at}type")
    if kind is not None and kind not in PATRON_KINDS:
        raise DecodeError(Reason.UNKNOWN_CODE, (f"{at}type",))
    return PATRON_KINDS[kind or "patron"]


def _group(user: Any, at: str) -> Optional[str]:
    return _text(wire.pick(user, "patronGroup"), f"{at}patronGroup")


def _home(user: Any, at: str) -> Optional[str]:
    path = f"{at}departments"
    return _text(_first(wire.pick(user, "departments"), path), path)


def _born(user: Any, at: str) -> Optional[str]:
    path = f"{at}personal.dateOfBirth"
    born = _text(wire.pick(user, "personal.dateOfBirth", shown=f"{at}personal"), path)
    return None if born is None else day_part(born, path)


def _postal(user: Any, at: str) -> Optional[str]:
    path = f"{at}personal.addresses"
    address = _first(wire.pick(user, "personal.addresses", shown=f"{at}personal"), path)
    return _text(wire.pick(address, "postalCode", shown=path), f"{path}.postalCode", 16)


# Canonical column -> how a user record says it; `at` completes the names for rejects.
_COLUMNS: Mapping[str, Callable[[Any, str], Optional[str]]] = {
    "patron_kind": _kind,
    "patron_type": _group,
    "home_branch": _home,
    "birth_date": _born,
    "postal_code": _postal,
}


def patron_codes(user: Any, at: str) -> Dict[str, str]:
    """What a user record says of the patron, by canonical column; `at` completes the names for rejects."""
    found = {column: read(user, at) for column, read in _COLUMNS.items()}
    return {column: value for column, value in found.items() if value is not None}


def reduce_patron(user: Mapping[str, Any]) -> Reduced:
    """One user of an export: id -> patron group, home department, birth date, postal code, kind.

    What cannot be read of a user is missing, and the rest stands: a bad birth date must not turn a staff
    account into an unknown one, which would count. A type that cannot be read is no patron's.
    """
    key = wire.text(user, "id")
    if key is None:
        return None
    found: Dict[str, str] = {}
    for column, read in _COLUMNS.items():
        try:
            value = read(user, "")
        except DecodeError:
            value = "system" if column == "patron_kind" else None
        if value is not None:
            found[column] = value
    return key, found


def reduce_item(item: Mapping[str, Any]) -> Reduced:
    """One item of an export, in storage or inventory form: id -> material type and, as audience, its location."""
    key = wire.text(item, "id")
    found = {
        "material": wire.text(item, "materialTypeId") or wire.text(item, "materialType.id"),
        "audience": wire.text(item, "effectiveLocationId") or wire.text(item, "effectiveLocation.id"),
    }
    return None if key is None else (key, {name: code for name, code in found.items() if code is not None})
