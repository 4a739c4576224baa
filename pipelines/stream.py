"""`carrel stream`: the streaming job, built for an engine: Flink, Dataflow, or Prism for trials.

python -m pipelines.stream -c carrel.toml -- <Beam options>
"""

import sys
from dataclasses import replace
from typing import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.bus_reader import read_bus
from pipelines.configuration import BusConfig, Deployment
from pipelines.counts_opening import open_counts
from pipelines.kafka_reader import KafkaSource
from pipelines.pubsub_reader import PubsubSource
from pipelines.replay import job_of
from pipelines.source_watch import SourceWatch
from pipelines.stream_breaker import JudgeRefusals
from pipelines.stream_graph import LookupsOnWorker, build_stream_graph, gates_of
from pipelines.stream_keys import StreamKeys
from pipelines.stream_release import Releasing
from pipelines.stream_starts import Start, starts_of
from schemas.policy import PrivacyPolicy


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
      ConfigurationError: a source that tables wait for has no bus, or nothing is known of its beginning.
      RetentionError: a bus forgets before its windows are released.
      BusError, StoreError, KeyringError: one line each.
    """
    with open_counts(deployment.counts_store) as counts:
        job = job_of(deployment, policy, counts, now)
        starts = starts_of(deployment, policy, counts, now=now, is_restored=is_restored)
    gates = gates_of(deployment, policy, {name: start.begins for name, start in starts.items()})
    keys = StreamKeys(deployment, policy, {table.name: gate.begins for gate in gates for table in gate.tables})
    reads = {
        source.name: read_bus(
            _bus(source.name, source.bus, starts[source.name], readers, policy.digest),
            SourceWatch(source.name, deployment, keys if source.name == min(starts) else None),
        )
        for source in deployment.sources
        if source.bus is not None and source.name in starts
    }
    decoding = replace(job.decoding(LookupsOnWorker(deployment.sources)), judge=JudgeRefusals(deployment))
    root = beam.Pipeline(options=PipelineOptions(list(options)))
    build_stream_graph(root, reads, gates, decoding, Releasing(deployment, policy, job.keyring))
    return root


def _bus(name: str, bus: BusConfig, start: Start, readers: int, policy: str) -> KafkaSource | PubsubSource:
    if bus.subscription is not None:
        return PubsubSource(name, bus.subscription, readers, policy)
    return KafkaSource(
        source=name,
        topics=tuple(sorted(bus.topics)),
        settings=None if bus.settings is None else str(bus.settings),
        environment=tuple(sorted(bus.environment.items())),
        since=start.since,
        readers=readers,
        policy=policy,
    )


if __name__ == "__main__":
    from pipelines import command_line

    sys.argv[1:1] = ["stream"]
    command_line.main()
