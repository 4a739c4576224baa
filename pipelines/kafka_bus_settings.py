"""How Kafka brokers are reached: settings by reference, from a file or the environment.

A value never reaches an error, a log or a `repr`: it may be a password, and a line in the wrong place may be one too.
"""

import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping, Optional

from pipelines.bus import BusError

_NAMES = frozenset({"bootstrap.servers", "security.protocol", "client.id", "client.rack", "broker.address.family"})
_FAMILIES = ("sasl.", "ssl.")
_SECRETS = ("password", "secret", "pem", "sasl.oauthbearer.config")
_OURS: Mapping[str, int | bool] = {
    "log_level": 0,  # librdkafka would write to stderr, addresses included
    "socket.timeout.ms": 10_000,  # a connection that is open at one end only is noticed
    "reconnect.backoff.max.ms": 2_000,
    "allow.auto.create.topics": False,  # asking for a topic would make it
    "topic.metadata.refresh.interval.ms": 60_000,
}
_READING: Mapping[str, str | int | bool] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # anything else would skip what is lost, silently
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
    "check.crcs": True,
    "max.poll.interval.ms": 86_400_000,  # the loop may take its time: there is no group to leave
    "fetch.queue.backoff.ms": 50,  # the default of a second leaves a backlog waiting
}


@dataclass(frozen=True)
class BrokerSettings:
    """Names and values as librdkafka takes them; `repr` shows none."""

    values: Mapping[str, str] = field(repr=False)

    def asking(self) -> dict[str, Any]:
        """For a client that asks about topics."""
        return {"client.id": "carrel", **self.values, **_OURS}

    def reading(self, source: str) -> dict[str, Any]:
        """For a client that reads messages.

        Args:
          source: names the group that the client wants; nothing is read from under it, and no right to it is needed.
        """
        return {**self.asking(), **_READING, "group.id": f"carrel.{source}"}

    def refused(self, text: str) -> BusError:
        """What to say when the client does not take them; of its text nothing but a setting's name is told."""
        which = next((f"setting {name}" for name in sorted(self.values) if f'"{name}"' in text), "the broker settings")
        return BusError(f"kafka: {which}: the client does not take it; check its value and the files it names")


def broker_settings(path: Optional[Path], names: Mapping[str, str], environment: Mapping[str, str]) -> BrokerSettings:
    """Settings of a file (`name=value` lines, `#` begins a comment line), then those that the environment holds.

    Args:
      path: the file; None when there is none.
      names: setting -> name of the environment variable that holds its value.

    Raises:
      BusError: not readable, readable by others though it holds a secret, an unknown setting, no brokers named.
    """
    values = {} if path is None else _from_file(path)
    for setting, variable in names.items():
        if not _is_known(setting):
            message = f"kafka: {variable} stands for an unknown setting; {_TAKEN}"
            raise BusError(message)
        if not environment.get(variable):
            message = f"kafka: environment variable {variable} is not set; it holds {setting}"
            raise BusError(message)
        values[setting] = environment[variable]
    if "bootstrap.servers" not in values:
        message = (
            "kafka: bootstrap.servers is missing; name the brokers in the settings file or an environment variable"
        )
        raise BusError(message)
    return BrokerSettings(values)


_TAKEN = f"{', '.join(sorted(_NAMES))}, sasl.* and ssl.* are taken"


def _is_known(setting: str) -> bool:
    return setting in _NAMES or setting.startswith(_FAMILIES)


def _from_file(path: Path) -> dict[str, str]:
    try:
        text = path.read_text()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError):
        message = f"{path.name}: the broker settings cannot be read; check the path and its rights"
        raise BusError(message) from None
    values = {}
    for number, line in enumerate(text.splitlines(), 1):
        setting, equals, value = (part.strip() for part in line.partition("="))
        if not setting or setting.startswith("#"):
            continue
        if not equals or not _is_known(setting):
            message = f"{path.name}: line {number}: not a setting; write name=value; {_TAKEN}"
            raise BusError(message)
        values[setting] = value
    if mode & (stat.S_IRWXG | stat.S_IRWXO) and any(secret in name for name in values for secret in _SECRETS):
        message = f"{path.name}: holds a secret and others may read it; chmod 600"
        raise BusError(message)
    return values
