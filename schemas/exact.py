"""The exact reader: says why an event is refused, in names from the contract's own dictionary only."""

from typing import Any, Tuple

from pydantic import TypeAdapter, ValidationError

from schemas.events import ANY_EVENT, MODELS, Event
from schemas.rejects import DecodeError, Reason

_ADAPTER: "TypeAdapter[Any]" = TypeAdapter(ANY_EVENT)
_NAMES = frozenset(name for model in MODELS.values() for name in model.model_fields)
_TIMES = frozenset({"occurred_at", "arrived_at"})


def read(value: Any) -> Event:
    """Validate one parsed event exactly.

    Raises:
      DecodeError: with the reason and the known field names; never with a value.
    """
    try:
        event: Event = _ADAPTER.validate_python(value)
    except ValidationError as error:
        raise _explained(error) from None
    return event


def _explained(error: ValidationError) -> DecodeError:
    found = error.errors(include_input=False, include_url=False, include_context=False)
    fields = tuple(sorted({name for item in found for name in item["loc"] if name in _NAMES}))
    unknown = sum(item["type"] == "extra_forbidden" for item in found)
    reasons = {_reason(item["type"], item["loc"]) for item in found}
    for reason in _MOST_TELLING:
        if reason in reasons:
            named = () if reason is Reason.DISALLOWED_FIELD else tuple(str(name) for name in fields)
            return DecodeError(reason, named, unknown)
    return DecodeError(Reason.BAD_VALUE, tuple(str(name) for name in fields), unknown)


_MOST_TELLING = (
    Reason.DISALLOWED_FIELD,
    Reason.UNKNOWN_KIND,
    Reason.UNKNOWN_VERSION,
    Reason.MISSING_FIELD,
    Reason.BAD_TIME,
    Reason.WRONG_TYPE,
    Reason.UNKNOWN_CODE,
)


def _reason(kind: str, loc: Tuple[Any, ...]) -> Reason:
    last = loc[-1] if loc else ""
    match kind:
        case "extra_forbidden":
            return Reason.DISALLOWED_FIELD
        case "union_tag_invalid":
            return Reason.UNKNOWN_KIND
        case "missing" | "union_tag_not_found":
            return Reason.MISSING_FIELD
        case "literal_error":
            return Reason.UNKNOWN_VERSION if last == "v" else Reason.UNKNOWN_CODE
    if last in _TIMES:
        return Reason.BAD_TIME
    return Reason.WRONG_TYPE if kind.endswith("_type") else Reason.BAD_VALUE
