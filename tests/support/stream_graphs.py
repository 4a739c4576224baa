"""The streaming graph of a small deployment, built and not run: no broker and no store is asked."""

from pathlib import Path
from typing import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.bus_reader import read_bus
from pipelines.configuration import capabilities, load
from pipelines.kafka_reader import KafkaSource
from pipelines.keys import KeyringAt
from pipelines.opening import load_public
from pipelines.replay import rules_of
from pipelines.source_watch import SourceWatch
from pipelines.stream_graph import Begins, LookupsOnWorker, build_stream_graph, gates_of
from pipelines.stream_keys import StreamKeys
from pipelines.stream_release import Releasing
from schemas.policy_compiler import compile_policy
from tests.support.replaying import edit
from transforms.decode import Decoding


def a_stream_graph(directory: Path, options: Sequence[str] = ()) -> beam.Pipeline:
    """Of a deployment (`replaying.deployment`): each of its sources gets a topic of its name."""
    toml = directory / "carrel.toml"
    settings = directory / "kafka.properties"
    settings.write_text("bootstrap.servers=localhost:1\nsasl.password=CANARYNOTE\n")
    settings.chmod(0o600)
    for source in load(toml).sources:
        bus = f'bus = {{ kind = "kafka", topics = ["{source.name}"], settings = "{settings}" }}'
        edit(toml, f'adapter = "{source.adapter}"\n', f'adapter = "{source.adapter}"\n{bus}\n')
    deployment = load(toml)
    policy = compile_policy(deployment.policy_text, capabilities(deployment))
    keyring = KeyringAt(str(deployment.keyring), deployment.tenant, "store", 0)
    decoding = Decoding(
        tenant=deployment.tenant,
        policy=policy,
        sources=tuple(rules_of(source) for source in deployment.sources),
        keyring=keyring,
        lookups=LookupsOnWorker(deployment.sources),
        recipient=load_public(deployment.recipient),
        now=0,
    )
    reads = {
        source.name: read_bus(
            KafkaSource(source.name, source.bus.topics, str(settings), (), None, 2, policy.digest),
            SourceWatch(source.name, deployment, StreamKeys(deployment, policy, {})),
        )
        for source in deployment.sources
        if source.bus is not None
    }
    gates = gates_of(deployment, policy, {name: Begins(20_454, by_default=False) for name in reads})
    root = beam.Pipeline(options=PipelineOptions(["--streaming", "--no_save_main_session", *options]))
    build_stream_graph(root, reads, gates, decoding, Releasing(deployment, policy, keyring))
    return root
