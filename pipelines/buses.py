"""Opens the buses that `carrel.toml` names, each where the work store stands, and checks what they keep."""

import os
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Callable, Dict, Iterator

from pipelines.bus import Bus
from pipelines.configuration import BusConfig, ConfigurationError, Deployment, SourceConfig, feeding
from pipelines.kafka_bus import KafkaBus
from pipelines.kafka_bus_settings import broker_settings
from pipelines.pubsub_bus import PubsubBus
from pipelines.retention import check_retention
from pipelines.work_store import WorkStore
from schemas.policy import PrivacyPolicy


@contextmanager
def open_buses(
    deployment: Deployment, policy: PrivacyPolicy, store: WorkStore, now: Callable[[], int]
) -> Iterator[Dict[str, Bus]]:
    """The bus of each source that has one; closed at the end, unless somebody took it out and closed it before.

    Args:
      now: the wall clock, ms UTC.

    Raises:
      ConfigurationError: no source has a bus.
      BusError: one cannot be read as it is configured.
      RetentionError: one forgets before its windows are released.
    """
    with ExitStack() as opened:
        buses: Dict[str, Bus] = {}
        for source in deployment.sources:
            if source.bus is None:
                continue
            buses[source.name] = _bus(deployment, source, source.bus, policy, store, now)
            opened.callback(_close, buses, source.name)
        if not buses:
            message = "carrel live: no source has a bus; add [sources.NAME.bus] to carrel.toml"
            raise ConfigurationError(message)
        yield buses


def _close(buses: Dict[str, Bus], source: str) -> None:
    bus = buses.pop(source, None)
    if bus is not None:
        bus.close()


def _bus(
    deployment: Deployment,
    source: SourceConfig,
    bus: BusConfig,
    policy: PrivacyPolicy,
    store: WorkStore,
    now: Callable[[], int],
) -> Bus:
    tables = [table for table in policy.tables if source in feeding(deployment, table.kind)]
    check = partial(check_retention, source.name, tables=tables, state_is_only_copy=source.state_is_only_copy)
    positions = store.positions(source.name)
    if bus.subscription is not None:
        pubsub = PubsubBus(source.name, bus.subscription, positions, store.proofs(source.name), now=now)
        check(pubsub.retention_ms())
        return pubsub
    settings = broker_settings(bus.settings, bus.environment, os.environ)
    kafka = KafkaBus(source.name, bus.topics, settings, positions, now=now)
    for topic in bus.topics:
        kept = kafka.retention(topic)
        # Beside a limit of bytes a time promises nothing.
        check(kept.time if kept.size is None else 0)
    return kafka
