"""`dead_letters` in carrel.toml: the path of a directory, or where else sealed letters are written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Mapping, Optional

from pydantic import BaseModel, ConfigDict, Field

from pipelines.addresses import AddressError, postgresql_fault


class LettersFile(BaseModel):
    """`dead_letters` as a table."""

    model_config = ConfigDict(extra="forbid", strict=True)
    kind: str = Field(pattern="^(kafka|pubsub|postgresql)$")
    topic: Optional[str] = None
    settings: Optional[str] = None
    settings_environment: Dict[str, str] = Field(default_factory=dict)
    address: Optional[str] = None
    directory: str = "dead-letters"


@dataclass(frozen=True)
class LettersAddress:
    """Where letters are written in place of the directory.

    Attributes:
      kind: kafka, pubsub or postgresql.
      topic: its name (kafka), or projects/P/topics/T (pubsub); empty for postgresql.
      settings, environment: of the Kafka client, as those of a source's bus.
      address: of PostgreSQL, without a password; empty for the others.
    """

    kind: str
    topic: str
    settings: Optional[Path]
    environment: Mapping[str, str]
    address: str


def letters_address(file: LettersFile, at: Callable[[str], Path]) -> LettersAddress:
    """Read the table; nothing is asked.

    Args:
      at: makes a path absolute.

    Raises:
      AddressError: a key is missing, or of another kind.
    """
    is_table = file.kind == "postgresql"
    if is_table == (file.topic is not None) or is_table != (file.address is not None):
        message = "kafka and pubsub need a topic, postgresql needs an address, and neither the other's"
        raise AddressError(message)
    if file.kind != "kafka" and (file.settings is not None or file.settings_environment):
        message = "settings are for kafka only; take them out"
        raise AddressError(message)
    wrong = postgresql_fault(file.address) if file.address is not None else None
    if wrong is not None:
        raise AddressError(wrong)
    settings = None if file.settings is None else at(file.settings)
    return LettersAddress(file.kind, file.topic or "", settings, file.settings_environment, file.address or "")
