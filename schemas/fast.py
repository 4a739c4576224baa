"""The fast reader: msgspec structs generated from the exact models of `schemas.events`.

What it accepts, the exact reader accepts with equal values; a property test holds it to that. Of a name
that is given twice the last value counts, here as there.
"""

import types
from typing import Annotated, Any, Union, get_args, get_origin

import annotated_types as at
import msgspec
from pydantic import Strict
from pydantic.fields import FieldInfo

from schemas.events import MODELS, Event


def _constraint(metadata: Any) -> dict[str, Any]:
    match metadata:
        case at.Ge(ge):
            return {"ge": ge}
        case at.Lt(lt):
            return {"lt": lt}
        case at.MinLen(length):
            return {"min_length": length}
        case at.MaxLen(length):
            return {"max_length": length}
        case Strict():
            return {}  # msgspec converts nothing
    message = f"fast reader: cannot hold {type(metadata).__name__}; teach it, or it accepts what the contract refuses"
    raise TypeError(message)


def _constrained(annotation: Any, metadata: tuple[Any, ...]) -> Any:
    """The same type with msgspec's constraints in place of pydantic's."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        flat = [m for item in more for m in (item.metadata if isinstance(item, FieldInfo) else [item])]
        return _constrained(inner, (*flat, *metadata))
    if origin in (Union, types.UnionType):
        return Union[tuple(_constrained(arm, metadata) for arm in get_args(annotation))]
    if annotation is type(None) or not metadata:
        return annotation
    found: dict[str, Any] = {}
    for item in metadata:
        found.update(_constraint(item))
    return Annotated[annotation, msgspec.Meta(**found)]


def _struct(kind: str, model: type[Event]) -> type[msgspec.Struct]:
    required, optional = [], []
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        annotation = _constrained(field.annotation, tuple(field.metadata))
        if field.is_required():
            required.append((name, annotation))
        else:
            optional.append((name, annotation, field.default))
    return msgspec.defstruct(
        model.__name__,
        [*required, *optional],
        tag=kind,
        tag_field="kind",
        forbid_unknown_fields=True,
        kw_only=True,
        module=__name__,
        gc=False,
        namespace={"__repr__": lambda self: f"{type(self).__name__}(<redacted>)"},
    )


STRUCTS: dict[str, Any] = {kind: _struct(kind, model) for kind, model in MODELS.items()}
Circulation: Any = STRUCTS["circulation"]
Patron: Any = STRUCTS["patron"]
Engagement: Any = STRUCTS["engagement"]
_DECODER: "msgspec.json.Decoder[Any]" = msgspec.json.Decoder(Union[Circulation, Patron, Engagement])


class _Reader:
    """Canonical events from JSON. What it refuses is left for the exact reader to judge.

    Raises, whatever is read: msgspec.DecodeError, UnicodeDecodeError or RecursionError.
    """

    def decode(self, message: bytes) -> Any:
        """The event of one message."""
        _refuse_nul(message)
        return _DECODER.decode(message)

    def decode_lines(self, lines: bytes) -> list[Any]:
        """The events of many lines. Where a line ends is not looked at: one may hold two events, or half of one."""
        _refuse_nul(lines)
        return _DECODER.decode_lines(lines)


def _refuse_nul(text: bytes) -> None:
    """In JSON a NUL can only stand as an escape; backslashes are rare, so looking for one first is cheap."""
    if b"\\" in text and b"\\u0000" in text:
        raise msgspec.DecodeError


READER = _Reader()
