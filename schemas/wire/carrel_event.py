"""Canonical events as they are: JSON lines, Avro containers, kcat records or Pub/Sub pulls of `schemas.events`."""

import datetime as dt
from typing import Any, Dict, List

import msgspec

from schemas.events import CODED, MODELS
from schemas.fast import STRUCTS
from schemas.rejects import DecodeError, Reason
from schemas.wire.adapter import Adapter, Context
from schemas.wire.envelopes import Delivered
from schemas.wire.fields import Field, FieldTable

_TIMES = ("occurred_at", "arrived_at")
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
    del context
    if delivered.headers:
        raise DecodeError(Reason.DISALLOWED_FIELD, ("headers",), len(delivered.headers))
    value = delivered.value
    if not isinstance(value, dict):
        raise DecodeError(Reason.WRONG_TYPE)
    if any(isinstance(value.get(name), dt.datetime) for name in _TIMES):
        value = {**value, **{name: _millis(value.get(name)) for name in _TIMES if name in value}}
    return [exactly(value)]


def _millis(instant: Any) -> Any:
    """Avro's timestamp-millis arrives as a datetime; anything else is left for the contract to judge."""
    return round(instant.timestamp() * 1000) if isinstance(instant, dt.datetime) else instant


def _fields() -> Dict[str, FieldTable]:
    return {
        kind: FieldTable(
            tuple(
                Field(name, "used", _CLASSES.get(name, "ok"), field.description or "")
                for name, field in model.model_fields.items()
            )
        )
        for kind, model in MODELS.items()
    }


_COLUMNS = frozenset({"birth_date", "postal_code", "patron_kind"})
ADAPTER = Adapter(
    name="carrel-event",
    envelope="json",
    fields=_fields(),
    fills={kind: frozenset(CODED[kind]) | _COLUMNS for kind in MODELS},
    lookups={},
    events=_events,
)
