"""The exact reader: says why an event is refused, in names from the contract's own dictionary only."""

from typing import Any, Sequence, Tuple

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
        found = error.errors(include_input=False, include_url=False, include_context=False)
        faults = [(item["type"], item["loc"]) for item in found]
        # Without a known kind there is no contract, and nothing else is judged: not the version either.
        is_of_a_kind = not any(fault.startswith("union_tag") for fault, _ in faults)
        raise _explained([*faults, _NO_VERSION] if is_of_a_kind and not _is_versioned(value) else faults) from None
    if not _is_versioned(value):
        raise _explained([_NO_VERSION])
    if nul := [name for name, given in event if isinstance(given, str) and "\0" in given]:
        raise DecodeError(Reason.NUL_BYTE, tuple(sorted(nul)))
    return event


def _is_versioned(value: Any) -> bool:
    """Whether the version is a whole number: True and 1.0 equal 1, and a contract's version is neither."""
    return not isinstance(value, dict) or type(value.get("v", 1)) is int


def _explained(faults: Sequence[Tuple[str, Tuple[Any, ...]]]) -> DecodeError:
    """The most telling reason of faults, each as pydantic's kind of fault and where it is."""
    reason = min((_reason(fault, loc) for fault, loc in faults), key=_MOST_TELLING.index)
    if reason is Reason.DISALLOWED_FIELD:
        return DecodeError(reason, (), sum(fault == "extra_forbidden" for fault, _ in faults))
    return DecodeError(reason, tuple(sorted({name for fault, loc in faults for name in _named(fault, loc)})))


_NO_VERSION = ("int_type", ("v",))
_MOST_TELLING = (
    Reason.DISALLOWED_FIELD,
    Reason.UNKNOWN_KIND,
    Reason.UNKNOWN_VERSION,
    Reason.MISSING_FIELD,
    Reason.BAD_TIME,
    Reason.WRONG_TYPE,
    Reason.UNKNOWN_CODE,
    Reason.BAD_VALUE,
)


def _named(fault: str, loc: Tuple[Any, ...]) -> Tuple[str, ...]:
    """The field of ours that a fault is at; none where it is the event as a whole."""
    return ("kind",) if fault.startswith("union_tag") else tuple(name for name in loc if name in _NAMES)


def _reason(fault: str, loc: Tuple[Any, ...]) -> Reason:
    last = loc[-1] if loc else ""
    if last == "v":
        return Reason.UNKNOWN_VERSION
    match fault:
        case "extra_forbidden":
            return Reason.DISALLOWED_FIELD
        case "union_tag_invalid":
            return Reason.UNKNOWN_KIND
        case "missing" | "union_tag_not_found":
            return Reason.MISSING_FIELD
        case "literal_error":
            return Reason.UNKNOWN_CODE
    if last in _TIMES:
        return Reason.BAD_TIME
    return Reason.WRONG_TYPE if fault.endswith("_type") else Reason.BAD_VALUE
