"""`[sources.NAME]` in carrel.toml: what a source means, where it is read, how its codes are called."""

import datetime as dt
import glob
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Union

from pydantic import BaseModel, ConfigDict, Field

from pipelines.configuration_file import ConfigurationError, absolute
from schemas.wire import ADAPTERS
from transforms.privacy.times import zone_rules

_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$"


class _DropFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    field: str
    cls: str = Field(alias="class", pattern="^(D|Q|S|L|T|ok)$")


class _BusFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    kind: str = Field(pattern="^(kafka|pubsub)$")
    topics: List[str] = Field(default_factory=list)
    settings: Optional[str] = None
    settings_environment: Dict[str, str] = Field(default_factory=dict)
    subscription: Optional[str] = None


class SourceFile(BaseModel):
    """A source's block."""

    model_config = ConfigDict(extra="forbid", strict=True)
    adapter: str
    kinds: Optional[List[str]] = None
    archive: Optional[str] = None
    bus: Optional[_BusFile] = None
    state_is_only_copy: bool = False
    namespace: Optional[str] = Field(default=None, pattern=NAME)
    id_profile: str = Field(default="opaque", pattern="^(opaque|codabar14|int|email-like)$")
    time_zone: Optional[str] = None
    ended: bool = False
    ordered_by: Optional[str] = Field(default=None, pattern="^arrival$")
    complete_from: Optional[str] = Field(default=None, pattern=_DAY)
    also_drop: List[_DropFile] = Field(default_factory=list)
    strip: List[str] = Field(default_factory=list)
    no_patron_ids: List[str] = Field(default_factory=lambda: ["0", "guest"])
    lookups: Dict[str, Union[str, List[str]]] = Field(default_factory=dict)
    codes: Dict[str, Dict[str, str]] = Field(default_factory=dict)
    erases: Dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class BusConfig:
    """Where a source's messages are published.

    Attributes:
      kind: kafka or pubsub.
      topics: of Kafka; all partitions of each are read.
      settings: file of Kafka client settings, `name=value` a line.
      environment: setting -> environment variable that holds its value.
      subscription: of Pub/Sub, projects/P/subscriptions/S.
    """

    kind: str
    topics: tuple[str, ...]
    settings: Optional[Path]
    environment: Mapping[str, str]
    subscription: Optional[str]


@dataclass(frozen=True)
class ErasesIn:
    """Another source that a source's erasures reach.

    Attributes:
      namespace, id_profile: the other source's.
      path: the privacy officer's map of patron ids.
    """

    namespace: str
    id_profile: str
    path: Path


@dataclass(frozen=True)
class SourceConfig:
    """One `[sources.NAME]` block; see `schemas.source.SourceRules` for what travels with the graph.

    Attributes:
      archive: glob pattern of its archives, absolute; None when archives are always named.
      bus: where it publishes; None when it is read from archives only.
      state_is_only_copy: the operator's word that the work store is kept, although the bus forgets earlier.
      ended: it will never say more: it holds no table back.
      ordered_by_arrival: each of its files is in the order of arrival, so that its clock moves while they are read.
      complete_from: ISO day from which nothing is missing.
      lookups: lookup name -> export files.
      erases: other source -> how its erasures reach that one's patrons.
    """

    name: str
    adapter: str
    kinds: tuple[str, ...]
    archive: Optional[str]
    bus: Optional[BusConfig]
    state_is_only_copy: bool
    namespace: str
    id_profile: str
    time_zone: Optional[str]
    ended: bool
    ordered_by_arrival: bool
    complete_from: Optional[str]
    also_drop: tuple[tuple[str, str], ...]
    strip: tuple[str, ...]
    no_patron_ids: tuple[str, ...]
    lookups: Mapping[str, tuple[Path, ...]]
    codes: Mapping[str, Mapping[str, str]]
    erases: Mapping[str, ErasesIn]


def _check_words(name: str, file: SourceFile) -> None:
    """Refuse words that only look right: names, zones and days that are none."""
    if not re.fullmatch(NAME, name):
        message = "sources: a source's name is letters, digits, _ and -, at most 41; rename it"
        raise ConfigurationError(message)
    if file.time_zone is not None:
        try:
            zone_rules(file.time_zone)
        except ValueError:
            message = f"sources.{name}.time_zone: not an IANA zone; give one such as America/New_York"
            raise ConfigurationError(message) from None
    if file.complete_from is not None:
        try:
            dt.date.fromisoformat(file.complete_from)
        except ValueError:
            message = f"sources.{name}.complete_from: no such day; write YYYY-MM-DD"
            raise ConfigurationError(message) from None


def _bus(name: str, file: Optional[_BusFile], directory: Path) -> Optional[BusConfig]:
    if file is None:
        return None
    if (file.kind == "kafka") != bool(file.topics) or (file.kind == "pubsub") != (file.subscription is not None):
        message = f"sources.{name}.bus: kafka needs topics, pubsub needs a subscription, and neither the other's"
        raise ConfigurationError(message)
    settings = None if file.settings is None else absolute(directory, file.settings)
    return BusConfig(file.kind, tuple(file.topics), settings, file.settings_environment, file.subscription)


def _erases(name: str, other: str, at: str, directory: Path, sources: Mapping[str, SourceFile]) -> ErasesIn:
    theirs = sources.get(other)
    if theirs is None or (theirs.namespace or other) == (sources[name].namespace or name):
        message = f"sources.{name}.erases: need the name of another source whose namespace is another one, and a file"
        raise ConfigurationError(message)
    return ErasesIn(theirs.namespace or other, theirs.id_profile, absolute(directory, at))


def source_config(name: str, directory: Path, sources: Mapping[str, SourceFile]) -> SourceConfig:
    """Read the block of one source.

    Args:
      directory: of carrel.toml.
      sources: the blocks of all.

    Raises:
      ConfigurationError: what is wrong, and under which key.
    """
    file = sources[name]
    _check_words(name, file)
    if file.adapter not in ADAPTERS:
        message = f"sources.{name}.adapter: is not known; there are {', '.join(ADAPTERS)}"
        raise ConfigurationError(message)
    adapter = ADAPTERS[file.adapter]
    kinds = tuple(adapter.fills) if file.kinds is None else tuple(file.kinds)
    if set(kinds) - set(adapter.fills):
        message = f"sources.{name}.kinds: {file.adapter} gives {', '.join(sorted(adapter.fills))} only"
        raise ConfigurationError(message)
    if set(file.lookups) - set(adapter.lookups):
        message = f"sources.{name}.lookups: {file.adapter} knows {', '.join(sorted(adapter.lookups)) or 'none'}"
        raise ConfigurationError(message)
    lookups = {}
    for lookup, given in file.lookups.items():
        paths = [given] if isinstance(given, str) else given
        lookups[lookup] = tuple(absolute(directory, one) for one in paths)
    archive = None if file.archive is None else f"{glob.escape(str(directory))}/{file.archive}"
    if file.archive is not None and (file.archive.startswith("~") or Path(file.archive).is_absolute()):
        archive = str(absolute(directory, file.archive))
    return SourceConfig(
        name=name,
        adapter=file.adapter,
        kinds=kinds,
        archive=archive,
        bus=_bus(name, file.bus, directory),
        state_is_only_copy=file.state_is_only_copy,
        namespace=file.namespace or name,
        id_profile=file.id_profile,
        time_zone=file.time_zone,
        ended=file.ended,
        ordered_by_arrival=file.ordered_by == "arrival",
        complete_from=file.complete_from,
        also_drop=tuple((one.field, one.cls) for one in file.also_drop),
        strip=tuple(file.strip),
        no_patron_ids=tuple(file.no_patron_ids),
        lookups=lookups,
        codes=file.codes,
        erases={other: _erases(name, other, at, directory, sources) for other, at in file.erases.items()},
    )
