"""From where the sources of a streaming job are read, and from which day nothing of them is missing."""

import os
from dataclasses import dataclass, replace
from typing import Mapping, Optional, Sequence

from pipelines.bus import BusError
from pipelines.configuration import ConfigurationError, Deployment, SourceConfig, feeding
from pipelines.counts_store import CountsStore
from pipelines.kafka_bus_questions import Questions
from pipelines.kafka_bus_settings import BrokerSettings, broker_settings
from pipelines.kafka_first import First, first_messages
from pipelines.pubsub_bus import PubsubBus
from pipelines.retention import check_retention
from pipelines.stream_graph import Begins
from schemas.policy import PrivacyPolicy, Table
from transforms.gate import earliest_needed
from transforms.privacy.times import TOLERANCE, Zone
from transforms.windows import day_number, day_of


@dataclass(frozen=True)
class Start:
    """From where one source is read.

    Attributes:
      begins: the civil day from which nothing is missing.
      since: arrival, ms UTC, from which its topics are read; 0 of a subscription, which has no places.
    """

    begins: Begins
    since: int


def starts_of(
    deployment: Deployment, policy: PrivacyPolicy, counts: CountsStore, *, now: int, is_restored: bool
) -> Mapping[str, Start]:
    """Where each source begins that tables wait for, by its name.

    Args:
      now: the wall clock, ms UTC.
      is_restored: the job goes on from a savepoint, which holds what the bus may have forgotten.

    Raises:
      ConfigurationError: a source has no bus, or nothing is known of its beginning.
      RetentionError: a bus forgets before its windows are released.
      BusError: a bus cannot be read, or does not answer.
    """
    zone = Zone(policy.time_zone)
    settled = {where for where, row in counts.ledger(deployment.tenant).items() if row.state != "sealing"}
    starts = {}
    for source in deployment.sources:
        tables = [table for table in policy.tables if source in feeding(deployment, table.kind)]
        if source.ended or not tables:
            continue
        if source.bus is None:
            message = f"carrel stream: source {source.name} has no bus; add one, or declare it ended"
            raise ConfigurationError(message)
        if source.bus.subscription is not None:
            check_retention(source.name, 0, tables, state_is_only_copy=source.state_is_only_copy)
            _ask_for(source.name, source.bus.subscription, now)
            starts[source.name] = Start(_begins_anew(source, None if is_restored else day_of(now, zone) + 1), 0)
            continue
        settings = broker_settings(source.bus.settings, source.bus.environment, os.environ)
        _check_retention(source, tables, source.bus.topics, settings)
        first = _first(source, source.bus.topics, settings)
        if is_restored and first.truncated and not source.complete_from:
            message = (
                f"carrel stream: source {source.name}: its bus has forgotten its first messages, so it does not tell"
                " from which day the job had all; write that day into carrel.toml: complete_from"
            )
            raise ConfigurationError(message)
        begins = _begins(source, first, zone)
        needed = earliest_needed(tables, settled, begins.day, zone)
        assert needed is not None  # noqa: S101 - it has tables
        since = needed - TOLERANCE
        if not is_restored and first.truncated and first.stamp is not None and first.stamp > since:
            # What the bus no longer has can't be read again: those windows are void.
            begins = replace(begins, day=max(begins.day, day_of(first.stamp, zone) + 1))
        starts[source.name] = Start(begins, since)
    return starts


def _first(source: SourceConfig, topics: Sequence[str], settings: BrokerSettings) -> First:
    try:
        return first_messages(topics, settings)
    except BusError as error:
        message = f"{source.name}: {error}"
        raise BusError(message) from None


def _check_retention(
    source: SourceConfig, tables: Sequence[Table], topics: Sequence[str], settings: BrokerSettings
) -> None:
    questions = Questions(settings, lambda _: None)
    try:
        for topic in topics:
            kept = questions.retention(topic)
            # Beside a limit of bytes a time promises nothing.
            time = kept.time if kept.size is None else 0
            check_retention(source.name, time, tables, state_is_only_copy=source.state_is_only_copy)
    finally:
        questions.close()


def _begins(source: SourceConfig, first: First, zone: Zone) -> Begins:
    if source.complete_from:
        return Begins(day_number(source.complete_from), by_default=False)
    if first.stamp is None:
        message = (
            f"carrel stream: source {source.name} has no message yet, so its beginning is not known;"
            " say from which day nothing is missing: complete_from in carrel.toml"
        )
        raise ConfigurationError(message)
    return Begins(day_of(first.stamp, zone), by_default=True)


def _ask_for(source: str, subscription: str, now: int) -> None:
    """Whether it is there and may be read: what an engine finds out too, but tells in its logs only."""
    bus = PubsubBus(source, subscription, {}, {}, now=lambda: now)
    try:
        bus.retention_ms()
    finally:
        bus.close()


def _begins_anew(source: SourceConfig, tomorrow: Optional[int]) -> Begins:
    """Where a source on Pub/Sub begins: what an earlier job has acknowledged does not come again.

    Args:
      tomorrow: the first whole day after a clean start; None when a savepoint holds what came before.
    """
    declared = day_number(source.complete_from) if source.complete_from else None
    if tomorrow is not None:
        return Begins(max(declared or 0, tomorrow), by_default=declared is None or declared < tomorrow)
    if declared is None:
        message = (
            f"carrel stream: source {source.name}: Pub/Sub does not tell from which day the job had all;"
            " write that day into carrel.toml: complete_from"
        )
        raise ConfigurationError(message)
    return Begins(declared, by_default=False)
