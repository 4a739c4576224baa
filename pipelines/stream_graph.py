"""The streaming graph: one read for each source, one gate for each distinct set of sources that tables wait for."""

from dataclasses import dataclass
from typing import Mapping, Tuple

import apache_beam as beam
from apache_beam.pvalue import PCollection

from pipelines.configuration import Deployment, SourceConfig, feeding
from pipelines.graph import Tallied, tally_events
from pipelines.id_maps import lookups_of
from pipelines.stream_release import InsertIfAbsent, NoteVoid, ReleaseWindows, Releasing, WriteLetters
from schemas.chunks import RawChunk
from schemas.counts import Tally
from schemas.gate import Delivered
from schemas.policy import PrivacyPolicy
from transforms.decode import Decoding, Lookups
from transforms.gate import Gate, GateFeed
from transforms.publication_gate import GatherWindows, Keyed, TakeChunks, TellWindows, WaitForPublication


@dataclass(frozen=True)
class LookupsOnWorker:
    """Reads a source's exports where the graph runs: what they say lies in no graph."""

    sources: Tuple[SourceConfig, ...]

    def __call__(self, source: str) -> Lookups:
        (config,) = (one for one in self.sources if one.name == source)
        return lookups_of(config).tables


@dataclass(frozen=True)
class Begins:
    """From which civil day number nothing of a source is missing, and whether that is only its first message's."""

    day: int
    by_default: bool


def gates_of(deployment: Deployment, policy: PrivacyPolicy, begins: Mapping[str, Begins]) -> Tuple[Gate, ...]:
    """The tables by the sources that they wait for, in the order of the policy.

    Args:
      begins: by source name; of those that are read. A source that has ended is not waited for.
    """
    tables: dict[Tuple[str, ...], list] = {}
    for table in policy.tables:
        names = tuple(source.name for source in feeding(deployment, table.kind) if source.name in begins)
        if names:
            tables.setdefault(names, []).append(table)
    configs = {source.name: source for source in deployment.sources}
    return tuple(
        Gate(
            "+".join(names),
            tuple(some),
            tuple(
                GateFeed(name, tuple(configs[name].kinds), begins[name].day, begins[name].by_default) for name in names
            ),
        )
        for names, some in tables.items()
    )


def build_stream_graph(
    root: beam.Pipeline,
    reads: Mapping[str, beam.PTransform],
    gates: Tuple[Gate, ...],
    decoding: Decoding,
    releasing: Releasing,
) -> None:
    """From the buses to the counts store; nothing but released tables, void windows and sealed rejects leaves.

    Args:
      reads: source name -> what reads its bus, as `Delivered`.
    """
    delivered: dict[str, PCollection[Delivered]] = {}
    tallies: dict[str, PCollection[Tally]] = {}
    for name in sorted(reads):
        delivered[name] = root | f"Read/{name}" >> reads[name]
        chunks = delivered[name] | f"TakeChunks/{name}" >> TakeChunks()
        tallied = chunks | f"Tally/{name}" >> _TallyEvents(decoding)
        tallies[name] = tallied.tallies
        _ = tallied.rejects | f"WriteLetters/{name}" >> WriteLetters(releasing)
    for gate in gates:
        waiting = tuple(
            one
            for feed in gate.feeds
            for one in _words_of(gate, feed.source, delivered[feed.source], tallies[feed.source], decoding)
        )
        gathered = waiting | f"Flatten/{gate.name}" >> beam.Flatten() | f"Gate/{gate.name}" >> GatherWindows()
        decided = gathered | f"ReleaseWindows/{gate.name}" >> ReleaseWindows(releasing, gate)
        _ = decided.released | f"InsertIfAbsent/{gate.name}" >> InsertIfAbsent(releasing)
        _ = decided.void | f"NoteVoid/{gate.name}" >> NoteVoid(releasing)


def _words_of(
    gate: Gate, source: str, delivered: PCollection[Delivered], tallies: PCollection[Tally], decoding: Decoding
) -> Tuple[PCollection[Keyed], PCollection[Keyed]]:
    label = f"{gate.name}/{source}"
    policy = decoding.policy
    return (
        tallies | f"Wait/{label}" >> WaitForPublication(policy, gate, source, decoding.keyring),
        delivered | f"Tell/{label}" >> TellWindows(gate, policy.time_zone),
    )


@dataclass(eq=False)
class _TallyEvents(beam.PTransform):
    """`tally_events` under a label of its own for each source."""

    given: Decoding

    def expand(self, pcoll: PCollection[RawChunk]) -> Tallied:
        return tally_events(pcoll, self.given)
