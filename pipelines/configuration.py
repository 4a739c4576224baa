"""`carrel.toml`: where things lie and what the sources mean. Every error is one line: what, where, what to do."""

import tomllib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, TypeVar, Union

from pydantic import BaseModel, ConfigDict, Field

from pipelines.addresses import AddressError
from pipelines.configuration_file import ConfigurationError, absolute, read_toml, text_of
from pipelines.counts_address import CountsAddress, counts_address
from pipelines.keyring_address import KeyringAddress, keyring_address
from pipelines.letters_address import LettersAddress, LettersFile, letters_address
from pipelines.metrics_address import ListensAt, MetricsFile, metrics_address
from pipelines.source_configuration import NAME, BusConfig, ErasesIn, SourceConfig, SourceFile, source_config
from pipelines.work_address import WorkAddress, work_address
from schemas.policy_compiler import Capability
from schemas.wire import ADAPTERS

__all__ = [  # what a deployment says, whichever part of the file it is read from
    "BusConfig",
    "ConfigurationError",
    "Deployment",
    "ErasesIn",
    "ListensAt",
    "SourceConfig",
    "capabilities",
    "counts_store_at",
    "feeding",
    "labels",
    "load",
]

_T = TypeVar("_T")


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    tenant: str = Field(pattern=NAME)
    policy: str = "policy.toml"
    recipient: str = "recipient.pub"
    keyring: str
    work_store: str = "work.db"
    counts_store: str = "counts.db"
    dead_letters: Union[str, LettersFile] = "dead-letters"
    metrics: Optional[MetricsFile] = None
    sources: Dict[str, SourceFile] = Field(min_length=1)


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
    file = read_toml(path, _File)
    at = partial(absolute, directory)
    letters = file.dead_letters
    return Deployment(
        file=path,
        directory=directory,
        tenant=file.tenant,
        policy_text=text_of(at(file.policy), f"correct `policy` in {path.name}"),
        keyring=_address("keyring", lambda: keyring_address(file.keyring, at)),
        recipient=at(file.recipient),
        work_store=_address("work_store", lambda: work_address(file.work_store, at)),
        counts_store=counts_store_at(file.counts_store, directory),
        dead_letters=at(letters if isinstance(letters, str) else letters.directory),
        sources=tuple(source_config(name, directory, file.sources) for name in file.sources),
        metrics=None if file.metrics is None else _metrics(file.metrics),
        letters_to=None if isinstance(letters, str) else _address("dead_letters", lambda: letters_address(letters, at)),
    )


def _metrics(file: MetricsFile) -> ListensAt:
    return _address("metrics.address", lambda: metrics_address(file))


def counts_store_at(text: str, directory: Path) -> CountsAddress:
    """What `counts_store` says in the deployment of a folder.

    Raises:
      ConfigurationError: no path and no address, or one with a password.
    """
    return _address("counts_store", lambda: counts_address(text, partial(absolute, directory)))


def _address(key: str, read: Callable[[], _T]) -> _T:
    """What is wrong with an address is told with its key."""
    try:
        return read()
    except AddressError as error:
        message = f"{key}: {error}"
        raise ConfigurationError(message) from None


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
