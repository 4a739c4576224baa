"""What a configured source promises: how its messages are decoded and whom they name."""

from dataclasses import dataclass
from typing import Mapping, Optional, Tuple


@dataclass(frozen=True)
class SourceRules:
    """The part of a source's configuration that decides what an event means.

    Attributes:
      name: the source's name in `carrel.toml`.
      adapter: which module of `schemas.wire` reads it.
      kinds: event kinds that it feeds; others are filtered.
      namespace: patron ids are comparable within it.
      id_profile: how patron ids are normalised.
      time_zone: for sources that write times without a zone; None refuses such times.
      also_drop: further (field path, class) pairs of this system that are dropped.
      strip: unknown fields that are stripped instead of refused.
      no_patron_ids: ids that are not people (`0`, `guest`).
      codes: dimension -> wire code -> policy code.
      erases: other namespaces that its erasures reach, by a map of ids that travels apart.
    """

    name: str
    adapter: str
    kinds: Tuple[str, ...]
    namespace: str
    id_profile: str
    time_zone: Optional[str]
    also_drop: Tuple[Tuple[str, str], ...]
    strip: Tuple[str, ...]
    no_patron_ids: Tuple[str, ...]
    codes: Mapping[str, Mapping[str, str]]
    erases: Tuple[str, ...] = ()
