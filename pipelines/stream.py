"""`carrel stream`: the streaming job, built for an engine: Flink, Dataflow, or Prism for trials.

python -m pipelines.stream -c carrel.toml -- <Beam options>
"""

import os
import sys
from dataclasses import dataclass, replace
from typing import Mapping, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.bus import BusError
from pipelines.configuration import ConfigurationError, Deployment, SourceConfig, feeding
from pipelines.counts_opening import open_counts
from pipelines.counts_store import CountsStore
from pipelines.kafka_bus_questions import Questions
from pipelines.kafka_bus_settings import BrokerSettings, broker_settings
from pipelines.kafka_first import First, first_messages
from pipelines.kafka_reader import KafkaSource, read_kafka
from pipelines.replay import job_of
from pipelines.retention import check_retention
from pipelines.stream_graph import Begins, LookupsOnWorker, build_stream_graph, gates_of
from pipelines.stream_release import Releasing
from schemas.policy import PrivacyPolicy, Table
from transforms.gate import earliest_needed
from transforms.privacy.times import TOLERANCE, Zone
from transforms.windows import day_number, day_of


@dataclass(frozen=True)
class Start:
    """From where one source is read.

    Attributes:
      begins: the civil day from which nothing is missing.
      since: arrival, ms UTC, from which its bus is read.
    """

    begins: Begins
    since: int


def build(
    deployment: Deployment,
    policy: PrivacyPolicy,
    options: Sequence[str],
    *,
    readers: int,
    now: int,
    is_restored: bool = False,
) -> beam.Pipeline:
    """The whole job, ready to run.

    Args:
      options: of Beam, as `pipelines.stream_options` judged them.
      readers: how many readers share the partitions of each source.
      now: the wall clock, ms UTC.
      is_restored: it goes on from a savepoint, which holds what the bus may have forgotten.

    Raises:
      ConfigurationError: a source that tables wait for has no Kafka bus, or nothing is known of its beginning.
      RetentionError: a bus forgets before its windows are released.
      BusError, StoreError, KeyringError: one line each.
    """
    with open_counts(deployment.counts_store) as counts:
        job = job_of(deployment, policy, counts, now)
        starts = _starts(deployment, policy, counts, is_restored=is_restored)
    reads = {
        name: read_kafka(
            KafkaSource(
                source=name,
                topics=tuple(sorted(bus.topics)),
                settings=None if bus.settings is None else str(bus.settings),
                environment=tuple(sorted(bus.environment.items())),
                since=starts[name].since,
                readers=readers,
                policy=policy.digest,
            )
        )
        for name, bus in ((source.name, source.bus) for source in deployment.sources)
        if bus is not None and name in starts
    }
    begins = {name: start.begins for name, start in starts.items()}
    decoding = job.decoding(LookupsOnWorker(deployment.sources))
    root = beam.Pipeline(options=PipelineOptions(list(options)))
    gates = gates_of(deployment, policy, begins)
    build_stream_graph(root, reads, gates, decoding, Releasing(deployment, policy, job.keyring))
    return root


def _starts(
    deployment: Deployment, policy: PrivacyPolicy, counts: CountsStore, *, is_restored: bool
) -> Mapping[str, Start]:
    zone = Zone(policy.time_zone)
    settled = {where for where, row in counts.ledger(deployment.tenant).items() if row.state != "sealing"}
    starts = {}
    for source in deployment.sources:
        tables = [table for table in policy.tables if source in feeding(deployment, table.kind)]
        if source.ended or not tables:
            continue
        if source.bus is None or not source.bus.topics:
            message = f"carrel stream: source {source.name} has no Kafka bus; add one, or declare it ended"
            raise ConfigurationError(message)
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


if __name__ == "__main__":
    from pipelines import command_line

    sys.argv[1:1] = ["stream"]
    command_line.main()
