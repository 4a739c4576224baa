"""Opens the buses that `carrel.toml` names, each where the work store stands, and checks what they keep."""

import os
from contextlib import ExitStack, contextmanager
from typing import Callable, Iterator, Mapping

from pipelines.bus import Bus
from pipelines.configuration import ConfigurationError, Deployment, SourceConfig
from pipelines.kafka_bus import KafkaBus
from pipelines.kafka_bus_settings import broker_settings
from pipelines.retention import check_retention
from pipelines.work_store import WorkStore
from schemas.policy import PrivacyPolicy


@contextmanager
def open_buses(
    deployment: Deployment, policy: PrivacyPolicy, store: WorkStore, now: Callable[[], int]
) -> Iterator[Mapping[str, Bus]]:
    """The bus of each source that has one; let go of at the end.

    Args:
      now: the wall clock, ms UTC.

    Raises:
      ConfigurationError: no source has a bus.
      BusError: one cannot be read as it is configured.
      RetentionError: one forgets before its windows are released.
    """
    with ExitStack() as opened:
        buses = {}
        for source in deployment.sources:
            if source.bus is None:
                continue
            bus = KafkaBus(
                source.name,
                source.bus.topics,
                broker_settings(source.bus.settings, source.bus.environment, os.environ),
                store.positions(source.name),
                now=now,
            )
            opened.callback(bus.close)
            _check(source, bus, policy)
            buses[source.name] = bus
        if not buses:
            message = "carrel live: no source has a bus; add [sources.NAME.bus] to carrel.toml"
            raise ConfigurationError(message)
        yield buses


def _check(source: SourceConfig, bus: KafkaBus, policy: PrivacyPolicy) -> None:
    assert source.bus is not None  # noqa: S101 - only such sources come here
    tables = [table for kind in source.kinds for table in policy.tables_of(kind)]
    for topic in source.bus.topics:
        kept = bus.retention(topic)
        # Beside a limit of bytes a time promises nothing.
        days = kept.time if kept.size is None else 0
        check_retention(source.name, days, tables, state_is_only_copy=source.state_is_only_copy)
