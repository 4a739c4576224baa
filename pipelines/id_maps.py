"""Whose card is whose: maps of ids that the privacy officer supplies, so that an erasure reaches another system.

A map is a CSV, TSV or JSON lines file with a column for each of the two sources, under their names; one person may
have several lines. In memory only, never written.
"""

import zlib
from typing import Any, Mapping

from pipelines.configuration import ErasesIn, SourceConfig
from pipelines.lookups import Lookups, LookupsError, add_export, read
from schemas.rejects import DecodeError, Reason
from schemas.wire import ADAPTERS
from transforms.erasure import id_map_name
from transforms.privacy.tokens import IdRefused, normalize


def lookups_of(source: SourceConfig) -> Lookups:
    """All that a decoder of this source looks up: its exports, and its maps under `id_map_name`.

    A map: its own patron id -> the other source's ids, all normalised.

    Raises:
      LookupsError: as `pipelines.lookups.read`; a map that is missing or unreadable, or has a line without two ids:
        an erasure would get lost.
    """
    found = read(ADAPTERS[source.adapter], source)
    maps = {id_map_name(there.namespace): _read(source, other, there) for other, there in source.erases.items()}
    return Lookups({**found.tables, **maps}, found.skipped)


def _read(source: SourceConfig, other: str, there: ErasesIn) -> Mapping[str, Mapping[str, str]]:
    table: dict[str, dict[str, str]] = {}

    def reduced(record: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
        theirs = _id(record.get(other), there.id_profile)
        return _id(record.get(source.name), source.id_profile), {theirs: theirs}

    try:
        broken = add_export(table, there.path, reduced)
    except (OSError, EOFError, zlib.error, DecodeError) as fault:
        what = "is missing" if isinstance(fault, FileNotFoundError) else "cannot be read"
        raise _refused(source, other, there, f"{what}; each line needs an id of {source.name} and of {other}") from None
    if broken:
        what = f"{broken} of its lines have no two ids; each needs one of {source.name} and one of {other}"
        raise _refused(source, other, there, what)
    return table


def _id(written: Any, profile: str) -> str:
    try:
        return normalize(written if isinstance(written, str) else "", profile)
    except IdRefused:
        raise DecodeError(Reason.BAD_PATRON_ID) from None


def _refused(source: SourceConfig, other: str, there: ErasesIn, what: str) -> LookupsError:
    return LookupsError(f"sources.{source.name}.erases.{other}: {there.path}: {what}")
