"""What every wire adapter offers: its field tables, what it can fill, its lookups and its decoder."""

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional, Tuple

from schemas.rejects import DecodeError, Reason
from schemas.wire.envelopes import Delivered
from schemas.wire.fields import FieldTable

# A lookup: wire id -> canonical column -> source code.
Lookup = Mapping[str, Mapping[str, str]]
# One record of an export, reduced to its id and codes; None when the record says nothing of use.
Reduced = Optional[Tuple[str, Dict[str, str]]]
Reduce = Callable[[Mapping[str, Any]], Reduced]


@dataclass(frozen=True)
class Context:
    """What an adapter may know besides the message.

    Attributes:
      source: the configured source's name.
      lookups: lookup name -> wire id -> canonical column -> source code.
      also_drop: further (path, class) pairs of this system that are dropped.
      strip: paths of unknown fields that are left out instead of refused.
      zone: turns a local time without a zone ("2026-03-01T10:00:00.123") into ms since 1970 UTC; raises
        ValueError for times that do not exist. None refuses such times.
      columns: the header of a TSV archive; empty for the table's own order.
    """

    source: str
    lookups: Mapping[str, Lookup] = field(default_factory=dict)
    also_drop: Tuple[Tuple[str, str], ...] = ()
    strip: Tuple[str, ...] = ()
    zone: Optional[Callable[[str], int]] = None
    columns: Tuple[str, ...] = ()

    def codes(self, lookup: str, key: Optional[str]) -> Mapping[str, str]:
        """What a lookup says of an id; empty where it says nothing."""
        if key is None:
            return {}
        return self.lookups.get(lookup, {}).get(key, {})


@dataclass(frozen=True)
class Adapter:
    """One source system's wire format.

    Attributes:
      name: as in `carrel.toml`.
      envelope: "json", "kcat", "tsv" or "avro".
      fields: message type -> its field table.
      fills: event kind -> canonical columns that this source can fill, its lookups included; `home_zone` beside
        `postal_code`, which it is drawn from.
      lookups: lookup name -> how one record of an export is reduced.
      events: the decoder; returns structs of `schemas.fast`, none when the message is no act, or raises
        DecodeError.
    """

    name: str
    envelope: str
    fields: Mapping[str, FieldTable]
    fills: Mapping[str, FrozenSet[str]]
    lookups: Mapping[str, Reduce]
    events: Callable[[Delivered, Context], List[Any]]

    @property
    def columns(self) -> FrozenSet[str]:
        """The names of all fields: what the header of a table may name."""
        return frozenset(one.path for table in self.fields.values() for one in table.fields)


def used(table: FieldTable, message: Delivered, context: Context) -> Dict[str, Any]:
    """The used fields of a message, its key and headers checked with it.

    Raises:
      DecodeError: WRONG_TYPE when the message is no object, else as `FieldTable.check`.
    """
    value = message.value
    if not isinstance(value, dict):
        raise DecodeError(Reason.WRONG_TYPE)
    # These two names stand for the envelope's parts; a body that has them is not of any known form.
    if unknown := ("@key" in value) + ("@headers" in value):
        raise DecodeError(Reason.DISALLOWED_FIELD, unknown=unknown)
    return table.check({**value, **message.wrapped()}, context.also_drop, context.strip)
