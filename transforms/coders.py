"""Registers one coder for every type that crosses an edge: columns as bytes, never a pickle."""

import dataclasses
from typing import Any

import apache_beam as beam
import msgspec
import numpy as np
from apache_beam.coders.typecoders import registry

from schemas.chunks import ArrivalSpan, RawChunk, Wrapping
from schemas.counts import ReleasedRow, ReleasedTable, SealedTally, Tally, WindowKey
from schemas.gate import Delivered, Passage, VoidWindow, Waiting
from schemas.generalized import CellBatch
from schemas.personal import PersonalBatch
from schemas.pseudonymized import PseudonymizedBatch
from schemas.rejects import SealedReject

_CLASSES: dict[str, Any] = {
    one.__name__: one
    for one in (
        ArrivalSpan, CellBatch, Delivered, Passage, PersonalBatch, PseudonymizedBatch, RawChunk, ReleasedRow,
        ReleasedTable, SealedReject, SealedTally, Tally, VoidWindow, Waiting, WindowKey, Wrapping,
    )
}  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        flat = np.ascontiguousarray(value)
        return {"array": flat.dtype.str, "shape": list(flat.shape), "data": flat.tobytes()}
    if type(value).__name__ in _CLASSES:
        return {"class": type(value).__name__, "fields": _fields(value)}
    if isinstance(value, tuple):
        return {"tuple": [_plain(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": {name: _plain(item) for name, item in sorted(value.items())}}
    return value


def _fields(value: Any) -> list[Any]:
    return [_plain(getattr(value, field.name)) for field in dataclasses.fields(value)]


def _size(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    return len(value) if isinstance(value, (bytes, str, tuple, dict)) else 8


def _rich(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return np.frombuffer(value["data"], np.dtype(value["array"])).reshape(value["shape"])
    if "class" in value:
        return _CLASSES[value["class"]](*(_rich(item) for item in value["fields"]))
    if "tuple" in value:
        return tuple(_rich(item) for item in value["tuple"])
    return {name: _rich(item) for name, item in value["dict"].items()}


class ColumnsCoder(beam.coders.Coder):
    """Deterministic MessagePack of a frozen batch; the class is named, not pickled."""

    def __init__(self, name: str) -> None:
        self.name = name

    def encode(self, value: Any) -> bytes:
        """One element as bytes."""
        return msgspec.msgpack.encode([1, type(value).__name__, _fields(value)])

    def decode(self, encoded: bytes) -> Any:
        """The inverse; ValueError for another version."""
        version, name, fields = msgspec.msgpack.decode(encoded)
        if version != 1:
            message = "coder: unknown version; drain the older release first"
            raise ValueError(message)
        return _CLASSES[name](*(_rich(field) for field in fields))

    def estimate_size(self, value: Any) -> int:
        """Bytes of the arrays and texts: Beam asks this of whole batches for its metrics, so nothing is encoded."""
        return sum(_size(getattr(value, field.name)) for field in dataclasses.fields(value))

    def is_deterministic(self) -> bool:
        """Keys are sorted, arrays contiguous."""
        return True

    def to_type_hint(self) -> Any:
        """The class this coder is for."""
        return _CLASSES[self.name]

    @classmethod
    def from_type_hint(cls, typehint: Any, registry: Any) -> Any:
        """Beam asks for the coder of a registered class."""
        del registry
        return cls(typehint.__name__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ColumnsCoder) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


for _class in _CLASSES.values():
    registry.register_coder(_class, ColumnsCoder)
