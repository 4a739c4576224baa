"""Canonical events as they are: JSON lines, Avro containers, kcat records or Pub/Sub pulls of `schemas.events`."""

import datetime as dt
from typing import Any, Dict, List

import msgspec

from schemas.events import CODED, MODELS
from schemas.fast import STRUCTS
from schemas.rejects import DecodeError, Reason
from schemas.wire.adapter import Adapter, Context, used
from schemas.wire.envelopes import Delivered
from schemas.wire.fields import Field, FieldTable

_TIMES = ("occurred_at", "arrived_at")
_EPOCH, _MILLISECOND = dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.timedelta(milliseconds=1)
_CLASSES = {
    "event_id": "L",
    "patron_ref": "D",
    "patron_kind": "Q",
    "patron_type": "Q",
    "home_branch": "Q",
    "birth_date": "Q",
    "postal_code": "Q",
    "occurred_at": "T",
    "arrived_at": "T",
}


def exactly(value: Any) -> Any:
    """Read one parsed event by the exact contract, as a struct of `schemas.fast`.

    Raises:
      DecodeError: with the reason, in names from the contract only.
    """
    # Pydantic is needed for bad lines only: it is imported when the first one comes.
    from schemas.exact import read  # noqa: PLC0415

    event = read(value).model_dump()
    return msgspec.convert(event, STRUCTS[event["kind"]])


def _events(delivered: Delivered, context: Context) -> List[Any]:
    value = delivered.value
    if not isinstance(value, dict):
        raise DecodeError(Reason.WRONG_TYPE)
    kind = value.get("kind")
    if isinstance(kind, str) and kind in FIELDS and (delivered.wrapped() or context.also_drop or context.strip):
        # The contract has no headers: those that are dropped leave an empty object behind.
        value = {name: kept for name, kept in used(FIELDS[kind], delivered, context).items() if name != "@headers"}
    if any(isinstance(value.get(name), dt.datetime) for name in _TIMES):
        value = {**value, **{name: _millis(value.get(name)) for name in _TIMES if name in value}}
    return [exactly(value)]


def _millis(instant: Any) -> Any:
    """Avro's timestamps arrive as datetimes, cut to milliseconds; anything else is left for the contract to judge.

    One without a zone (`local-timestamp-millis`) says no instant: this machine's zone must not lend it one.
    """
    is_instant = isinstance(instant, dt.datetime) and instant.tzinfo is not None
    return (instant - _EPOCH) // _MILLISECOND if is_instant else instant


def _fields() -> Dict[str, FieldTable]:
    return {
        kind: FieldTable(
            (
                *(
                    Field(name, "used", _CLASSES.get(name, "ok"), field.description or "")
                    for name, field in model.model_fields.items()
                ),
                Field("@key", "dropped", "L", "key of the bus's record"),
            )
        )
        for kind, model in MODELS.items()
    }


FIELDS = _fields()
_COLUMNS = frozenset({"birth_date", "postal_code", "patron_kind"})
ADAPTER = Adapter(
    name="carrel-event",
    envelope="json",
    fields=FIELDS,
    fills={kind: frozenset(CODED[kind]) | _COLUMNS for kind in MODELS},
    lookups={},
    events=_events,
)
