"""FOLIO storage events on Kafka: loans, requests, check-ins and users, told apart by their topic.

Source: folio-org/mod-circulation-storage (`DomainEvent`, `ramls/*.json`) and folio-org/mod-users
(`ramls/userdata.json`). An UPDATED event holds the whole record before and after; what happened is the
difference of the two.
"""

from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional

from schemas.fast import Circulation, Patron
from schemas.rejects import DecodeError, Reason
from schemas.wire import fields as wire
from schemas.wire.adapter import Adapter, Context, used
from schemas.wire.envelopes import Delivered
from schemas.wire.folio_codes import patron_codes, reduce_item, reduce_patron
from schemas.wire.folio_fields import FIELDS
from schemas.wire.timestamps import day_part, parse, utc_day

TYPES = frozenset(("CREATED", "UPDATED", "DELETED", "ALL_DELETED"))
# Request status -> what it is the outcome of; None for the open ones.
STATUSES: Mapping[str, Optional[str]] = {
    "Open - Not yet filled": None,
    "Open - Awaiting pickup": None,
    "Open - In transit": None,
    "Open - Awaiting delivery": None,
    "Closed - Filled": "filled",
    "Closed - Cancelled": "cancelled",
    "Closed - Unfilled": "expired",
    "Closed - Pickup expired": "expired",
}
MOST_RENEWALS = 1_000_000_000
MOST_AT_ONCE = 100  # renewals that one message may stand for; more is no library's rule but a broken count
_PATRON_COLUMNS = frozenset(("patron_type", "home_branch", "birth_date", "postal_code", "home_zone"))
FILLS: Mapping[str, FrozenSet[str]] = {
    "circulation": _PATRON_COLUMNS | {"branch", "material", "audience"},
    "patron": _PATRON_COLUMNS,
}


def _code(record: Any, path: str, codes: Mapping[str, Optional[str]]) -> Optional[str]:
    """A value of a closed list, as it is; UNKNOWN_CODE outside of it."""
    value = wire.text(record, path)
    if value is not None and value not in codes:
        raise DecodeError(Reason.UNKNOWN_CODE, (path,))
    return value


def _arrival(message: Delivered, instead_of: str) -> int:
    if message.arrived_at is None:
        raise DecodeError(Reason.MISSING_FIELD, (instead_of,))
    return message.arrived_at


def _stamp(record: Any, path: str, message: Delivered, context: Context) -> int:
    """A time of the record's metadata, else the arrival."""
    value = wire.pick(record, path)
    return _arrival(message, path) if value is None else parse(value, path, context.zone)


def _instant(record: Any, path: str, context: Context) -> int:
    value = wire.pick(record, path)
    if value is None:
        raise DecodeError(Reason.MISSING_FIELD, (path,))
    return parse(value, path, context.zone)


def _half(record: Any, half: str) -> None:
    if wire.pick(record, half) is None:
        raise DecodeError(Reason.MISSING_FIELD, (half,))


def _named(record: Any) -> None:
    """A deletion has to say what was deleted."""
    if wire.text(record, "data.old.id") is None:
        raise DecodeError(Reason.UNNAMED_ACT)


def _circulation(message: Delivered, context: Context, patron: Optional[str], **act: Any) -> Any:
    item = context.codes("items", act.pop("item"))
    known = dict(context.codes("patrons", patron))
    # The event says what was true then, the export what is true now: a lookup fills only what the event lacks.
    known |= {name: given for name in ("patron_type", "patron_kind") if (given := act.pop(name, None)) is not None}
    return Circulation(
        arrived_at=message.arrived_at,
        patron_ref=patron,
        material=item.get("material"),
        audience=item.get("audience"),
        **known,
        **act,
    )


def _loan(record: Any, kind: str, message: Delivered, context: Context) -> List[Any]:
    half = "data.old" if kind == "DELETED" else "data.new"
    if kind == "DELETED":
        _named(record)
    _half(record, half)
    loan = wire.required_text(record, f"{half}.id")
    # An open list: what happened is told by the halves, not by the word for it.
    wire.required_text(record, f"{half}.action")
    count = _renewal_count(record, half)
    if kind == "UPDATED":
        _half(record, "data.old")
        before = _renewal_count(record, "data.old")
        if count - before > MOST_AT_ONCE:
            raise DecodeError(Reason.BAD_VALUE, ("data.new.renewalCount",))
        if count <= before:
            return []
        when = _stamp(record, "data.new.metadata.updatedDate", message, context)
        named = [(f"{loan}:renewal:{number}", "renewal") for number in range(before + 1, count + 1)]
    else:
        # A deleted loan tells how often it was renewed, but not when: its renewals stay (docs/decisions/0004).
        when = _instant(record, f"{half}.loanDate", context)
        named = [(f"{loan}:checkout", "checkout")]
    return [
        _circulation(
            message,
            context,
            wire.text(record, f"{half}.userId"),
            event_id=event_id,
            action=action,
            occurred_at=when,
            op="retract" if kind == "DELETED" else "add",
            branch=wire.text(record, f"{half}.checkoutServicePointId"),
            item=wire.text(record, f"{half}.itemId"),
            patron_type=wire.text(record, f"{half}.patronGroupIdAtCheckout"),
            patron_kind=_pseudo(record, half),
        )
        for event_id, action in named
    ]


def _renewal_count(record: Any, half: str) -> int:
    """How often the loan was renewed so far; a count that is not there is none."""
    count = wire.whole(record, f"{half}.renewalCount") or 0
    if not 0 <= count < MOST_RENEWALS:
        raise DecodeError(Reason.BAD_VALUE, (f"{half}.renewalCount",))
    return count


def _pseudo(record: Any, half: str) -> Optional[str]:
    """What a record of direct consortial borrowing says of its patron: a stand-in for another system's."""
    return "system" if wire.flag(record, f"{half}.isDcb") else None


def _request(record: Any, kind: str, message: Delivered, context: Context) -> List[Any]:
    half = "data.old" if kind == "DELETED" else "data.new"
    if kind == "DELETED":
        _named(record)
    _half(record, half)
    request = wire.required_text(record, f"{half}.id")
    status = _code(record, f"{half}.status", STATUSES)
    outcome = "placed"
    if kind == "UPDATED":
        _half(record, "data.old")
        changed = None if status == _code(record, "data.old.status", STATUSES) else STATUSES.get(status or "")
        if changed is None:
            return []
        outcome = changed
        when = _stamp(record, "data.new.metadata.updatedDate", message, context)
    else:
        when = _instant(record, f"{half}.requestDate", context)
    return [
        _circulation(
            message,
            context,
            wire.text(record, f"{half}.requesterId"),
            event_id=f"{request}:{outcome}",
            action=f"hold_{outcome}",
            occurred_at=when,
            op="retract" if kind == "DELETED" else "add",
            branch=wire.text(record, f"{half}.pickupServicePointId"),
            item=wire.text(record, f"{half}.itemId"),
            patron_kind=_pseudo(record, half),
        )
    ]


def _check_in(record: Any, kind: str, message: Delivered, context: Context) -> List[Any]:
    if kind == "UPDATED":
        return []
    half = "data.old" if kind == "DELETED" else "data.new"
    if kind == "DELETED":
        _named(record)
    _half(record, half)
    return [
        _circulation(
            message,
            context,
            None,
            event_id=wire.required_text(record, f"{half}.id"),
            action="return",
            occurred_at=_instant(record, f"{half}.occurredDateTime", context),
            op="retract" if kind == "DELETED" else "add",
            branch=wire.text(record, f"{half}.servicePointId"),
            item=wire.text(record, f"{half}.itemId"),
        )
    ]


def _user(record: Any, kind: str, message: Delivered, context: Context) -> List[Any]:
    half = "data.old" if kind == "DELETED" else "data.new"
    if kind == "DELETED":
        _named(record)
    _half(record, half)
    user = wire.required_text(record, f"{half}.id")
    if kind == "CREATED":
        change, suffix = "new", "new"
        when = _stamp(record, "data.new.metadata.createdDate", message, context)
    elif kind == "DELETED":
        change, suffix = "deleted", "deleted"
        when = _arrival(message, "data.old.metadata.updatedDate")
    else:
        _half(record, "data.old")
        when = _stamp(record, "data.new.metadata.updatedDate", message, context)
        renewed = _later_expiration(record)
        if renewed is not None:
            change, suffix = "renewed", f"renewed:{renewed}"
        elif wire.flag(record, "data.old.active") and wire.flag(record, "data.new.active") is False:
            change, suffix = "expired", f"expired:{utc_day(when)}"
        else:
            change, suffix = "updated", f"updated:{when}"
    return [
        Patron(
            event_id=f"{user}:{suffix}",
            occurred_at=when,
            arrived_at=message.arrived_at,
            patron_ref=user,
            change=change,
            **patron_codes(wire.pick(record, half), f"{half}."),
        )
    ]


def _later_expiration(record: Any) -> Optional[str]:
    """The new expiration date, when it is later than the old one."""
    days = []
    for path in ("data.old.expirationDate", "data.new.expirationDate"):
        value = wire.text(record, path)
        days.append(None if value is None else day_part(value, path))
    old, new = days
    return new if old is not None and new is not None and new > old else None


_READERS: Dict[str, Callable[[Any, str, Delivered, Context], List[Any]]] = {
    "loan": _loan,
    "request": _request,
    "check-in": _check_in,
    "users": _user,
}
_TOPICS = {"loan": ".circulation.loan", "request": ".circulation.request"} | {
    "check-in": ".circulation.check-in",
    "users": ".users.users",
}


def events(message: Delivered, context: Context) -> List[Any]:
    """The acts that one domain event stands for: none, one, or the renewals between its two counts.

    Raises:
      DecodeError: UNKNOWN_KIND for another topic, UNKNOWN_CODE for a type or status outside the closed
        lists, UNNAMED_ACT for ALL_DELETED and for deletions without id, DISALLOWED_FIELD for any field
        that the tables do not name, MISSING_FIELD, WRONG_TYPE, BAD_VALUE, BAD_TIME.
    """
    topic = f".{message.topic}"
    kind = next((name for name, suffix in _TOPICS.items() if topic.endswith(suffix)), None)
    if kind is None:
        raise DecodeError(Reason.UNKNOWN_KIND)
    record = used(FIELDS[kind], message, context)
    change = wire.required_text(record, "type")
    if change not in TYPES:
        raise DecodeError(Reason.UNKNOWN_CODE, ("type",))
    if change == "ALL_DELETED":
        raise DecodeError(Reason.UNNAMED_ACT)
    return _READERS[kind](record, change, message, context)


ADAPTER = Adapter(
    name="folio",
    envelope="kcat",
    fields=FIELDS,
    fills=FILLS,
    lookups={"patrons": reduce_patron, "items": reduce_item},
    events=events,
)
