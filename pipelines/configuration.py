"""`carrel.toml`: where things lie and what the sources mean. Every error is one line: what, where, what to do."""

import datetime as dt
import glob
import ipaddress
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Union

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.addresses import AddressError
from pipelines.counts_address import CountsAddress, counts_address
from pipelines.keyring_address import KeyringAddress, keyring_address
from pipelines.letters_address import LettersAddress, LettersFile, letters_address
from pipelines.work_address import WorkAddress, work_address
from schemas.policy_compiler import Capability
from schemas.wire import ADAPTERS
from transforms.privacy.times import zone_rules

_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$"
_SAID = {"extra_forbidden": "unknown key; remove it or check its spelling", "missing": "is missing; add it"}
_SAID |= dict.fromkeys(("model_type", "dict_type"), "need a table of keys and values")


class ConfigurationError(ValueError):
    """The configuration or the command is wrong; exit code 2."""


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


class _SourceFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    adapter: str
    kinds: Optional[List[str]] = None
    archive: Optional[str] = None
    bus: Optional[_BusFile] = None
    state_is_only_copy: bool = False
    namespace: Optional[str] = Field(default=None, pattern=_NAME)
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


class _MetricsFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    address: str
    beyond_loopback: bool = False


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    tenant: str = Field(pattern=_NAME)
    policy: str = "policy.toml"
    recipient: str = "recipient.pub"
    keyring: str
    work_store: str = "work.db"
    counts_store: str = "counts.db"
    dead_letters: Union[str, LettersFile] = "dead-letters"
    metrics: Optional[_MetricsFile] = None
    sources: Dict[str, _SourceFile] = Field(min_length=1)


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


@dataclass(frozen=True)
class ListensAt:
    """Where `carrel live` answers about itself: an IP address and a port."""

    host: str
    port: int


@dataclass(frozen=True)
class Deployment:
    """One library's deployment; all paths absolute but `file`, which is `carrel.toml` as it was named."""

    file: Path
    directory: Path
    tenant: str
    policy_text: str
    keyring: KeyringAddress
    recipient: Path
    work_store: WorkAddress
    counts_store: CountsAddress
    dead_letters: Path
    sources: tuple[SourceConfig, ...]
    metrics: Optional[ListensAt] = None  # nobody is answered
    letters_to: Optional[LettersAddress] = None  # written to `dead_letters`, a directory


def load(path: Path) -> Deployment:
    """Read `carrel.toml` and the text of its policy.

    Raises:
      ConfigurationError: missing, not TOML, unknown or wrong keys.
    """
    directory = path.resolve().parent
    written: Any = {}
    try:
        written = tomllib.loads(_text(path, "name it with -c or run `carrel init`"))
        file = _File.model_validate(written)
    except tomllib.TOMLDecodeError as error:
        message = f"{path.name}: is not TOML: {error}"
        raise ConfigurationError(message) from None
    except ValidationError as error:
        place, said = _first_fault(written, error)
        message = f"{path.name}: {place}: {said}"
        raise ConfigurationError(message) from None

    def at(name: str) -> Path:
        return _at(directory, name)

    return Deployment(
        file=path,
        directory=directory,
        tenant=file.tenant,
        policy_text=_text(at(file.policy), f"correct `policy` in {path.name}"),
        keyring=_keyring_at(file.keyring, at),
        recipient=at(file.recipient),
        work_store=_work_store_at(file.work_store, directory),
        counts_store=counts_store_at(file.counts_store, directory),
        dead_letters=at(file.dead_letters if isinstance(file.dead_letters, str) else file.dead_letters.directory),
        sources=tuple(_source(name, source, directory, file.sources) for name, source in file.sources.items()),
        metrics=_metrics(file.metrics),
        letters_to=_letters_to(file.dead_letters, at),
    )


def _at(directory: Path, name: str) -> Path:
    try:
        return (directory / Path(name).expanduser()).absolute()
    except RuntimeError:
        message = "carrel.toml: a path begins with ~ but there is no such home; write the path out"
        raise ConfigurationError(message) from None


def _letters_to(file: Union[str, LettersFile], at: Callable[[str], Path]) -> Optional[LettersAddress]:
    try:
        return None if isinstance(file, str) else letters_address(file, at)
    except AddressError as error:
        message = f"dead_letters: {error}"
        raise ConfigurationError(message) from None


def _keyring_at(text: str, at: Callable[[str], Path]) -> KeyringAddress:
    try:
        return keyring_address(text, at)
    except AddressError as error:
        message = f"keyring: {error}"
        raise ConfigurationError(message) from None


def _work_store_at(text: str, directory: Path) -> WorkAddress:
    try:
        return work_address(text, lambda name: _at(directory, name))
    except AddressError as error:
        message = f"work_store: {error}"
        raise ConfigurationError(message) from None


def counts_store_at(text: str, directory: Path) -> CountsAddress:
    """What `counts_store` says in the deployment of a folder.

    Raises:
      ConfigurationError: no path and no address, or one with a password.
    """
    try:
        return counts_address(text, lambda name: _at(directory, name))
    except AddressError as error:
        message = f"counts_store: {error}"
        raise ConfigurationError(message) from None


def _first_fault(written: Any, error: ValidationError) -> tuple[str, str]:
    """The key path of the first fault, as it was written, and what is wrong there.

    Of a value that may be one of several things pydantic tells a fault for each of them: the one that is furthest in
    is of what was meant.
    """
    faults = [
        (_as_written(written, one["loc"], is_missing=one["type"] == "missing"), _SAID.get(one["type"], one["msg"]))
        for one in error.errors()
    ]
    first, _ = faults[0]
    path, said = max((fault for fault in faults if fault[0][: len(first)] == first), key=lambda fault: len(fault[0]))
    return " ".join(".".join(path).split()), said


def _as_written(value: Any, place: Sequence[Union[int, str]], *, is_missing: bool) -> tuple[str, ...]:
    """A place as pydantic names it, without its own names for the choices of a value."""
    path = []
    for step in place:
        if step in value if isinstance(value, dict) else isinstance(value, list) and isinstance(step, int):
            value = value[step]
            path.append(str(step))
    return (*path, str(place[-1])) if is_missing else tuple(path)


def _text(path: Path, advice: str) -> str:
    try:
        return path.read_text()
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); {advice}"
        raise ConfigurationError(message) from None
    except UnicodeDecodeError:
        message = f"{path}: is not UTF-8 text"
        raise ConfigurationError(message) from None


def _metrics(file: Optional[_MetricsFile]) -> Optional[ListensAt]:
    if file is None:
        return None
    host, colon, port = file.address.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        address = None
    if address is None or not colon or not re.fullmatch("[1-9][0-9]{0,4}", port) or int(port) > 65_535:
        message = "metrics.address: need an IP address and a port, such as 127.0.0.1:9464 or [::1]:9464"
        raise ConfigurationError(message)
    if not address.is_loopback and not file.beyond_loopback:
        message = (
            "metrics.address: others than this machine could ask there, unasked for who they are;"
            " take 127.0.0.1, or declare beyond_loopback = true"
        )
        raise ConfigurationError(message)
    return ListensAt(str(address), int(port))


def _check_words(name: str, file: _SourceFile) -> None:
    """Refuse words that only look right: names, zones and days that are none."""
    if not re.fullmatch(_NAME, name):
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
    settings = None if file.settings is None else _at(directory, file.settings)
    return BusConfig(file.kind, tuple(file.topics), settings, file.settings_environment, file.subscription)


def _erases(name: str, other: str, at: str, directory: Path, sources: Mapping[str, _SourceFile]) -> ErasesIn:
    theirs = sources.get(other)
    if theirs is None or (theirs.namespace or other) == (sources[name].namespace or name):
        message = f"sources.{name}.erases: need the name of another source whose namespace is another one, and a file"
        raise ConfigurationError(message)
    return ErasesIn(theirs.namespace or other, theirs.id_profile, _at(directory, at))


def _source(name: str, file: _SourceFile, directory: Path, sources: Mapping[str, _SourceFile]) -> SourceConfig:
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
        lookups[lookup] = tuple(_at(directory, one) for one in paths)
    archive = None if file.archive is None else f"{glob.escape(str(directory))}/{file.archive}"
    if file.archive is not None and (file.archive.startswith("~") or Path(file.archive).is_absolute()):
        archive = str(_at(directory, file.archive))
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


def feeding(deployment: Deployment, kind: str) -> list[SourceConfig]:
    """The sources that tables of an event kind wait for: those that give such events, or can erase who is in them."""
    sources = deployment.sources
    namespaces = {source.namespace for source in sources if kind in source.kinds}
    return [source for source in sources if kind in source.kinds or namespaces & _erased_by(source)]


def _erased_by(source: SourceConfig) -> set[str]:
    reached = {source.namespace, *(there.namespace for there in source.erases.values())}
    return reached if "patron" in source.kinds else set()


def capabilities(deployment: Deployment) -> list[Capability]:
    """What the configured sources can fill: a table that none of them can fill is refused."""
    return [
        Capability(
            source.name,
            frozenset(source.kinds),
            ADAPTERS[source.adapter].fills,
            {dimension: frozenset(codes.values()) for dimension, codes in source.codes.items()},
        )
        for source in deployment.sources
    ]


def labels(deployment: Deployment) -> Mapping[str, Mapping[str, Any]]:
    """Labels for people: dimension -> code -> label."""
    found: Mapping[str, Mapping[str, Any]] = tomllib.loads(deployment.policy_text).get("labels", {})
    return found
