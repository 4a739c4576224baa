"""The streaming graph on the engine of this process: deliveries are given, and all of them are read at once.

Its watermark jumps to the end of time behind them, as that of a job whose input ends or that is drained.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apache_beam as beam

from pipelines.configuration import capabilities, load
from pipelines.counts_opening import open_counts
from pipelines.loop import pipeline
from pipelines.replay import job_of
from pipelines.stream_breaker import JudgeRefusals
from pipelines.stream_graph import Begins, LookupsOnWorker, build_stream_graph, gates_of
from pipelines.stream_release import Releasing
from schemas.chunks import RawChunk, Wrapping
from schemas.gate import Delivered, Passage
from schemas.policy_compiler import compile_policy
from transforms.windows import day_number

SOURCE = "carrel-event"
HOUR = 3_600_000


def chunk(events: Iterable[dict[str, Any]], read_at: int) -> RawChunk:
    """Messages of a bus, stamped with their `arrived_at`, which they do not say themselves."""
    stamps, lines = [], []
    for event in events:
        told = dict(event)
        stamps.append(told.pop("arrived_at"))
        lines.append(json.dumps(told).encode())
    return RawChunk(SOURCE, b"", tuple(lines), "bus", wrapping=Wrapping("t", tuple(stamps)), read_at=read_at)


@dataclass(eq=False)
class _Given(beam.PTransform):
    delivered: tuple[Delivered, ...]

    def expand(self, pbegin):
        return pbegin | "Given" >> beam.Create(self.delivered).with_output_types(Delivered)


@dataclass(frozen=True)
class Streamed:
    """A deployment's stream.

    Attributes:
      begins: the day from which nothing is missing; readers: how many the source has.
    """

    directory: Path
    now: int
    begins: str = "2026-03-01"
    readers: int = 1

    @property
    def policy(self):
        found = load(self.directory / "carrel.toml")
        return compile_policy(found.policy_text, capabilities(found))

    def delivered(self, *chunks: RawChunk, until: int | None = None, reader: int = 0, gaps=()) -> Delivered:
        """What a reader takes at once.

        Args:
          until: its clock passes the hours up to here, from the first on.
        """
        passage = None if until is None else Passage(None, until // HOUR * HOUR)
        return Delivered(SOURCE, reader, self.readers, self.policy.digest, chunks, tuple(gaps), passage)

    def run(self, *delivered: Delivered) -> None:
        """Run the job over these deliveries."""
        found, policy = load(self.directory / "carrel.toml"), self.policy
        with open_counts(found.counts_store) as counts:
            job = job_of(found, policy, counts, self.now)
        decoding = replace(job.decoding(LookupsOnWorker(found.sources)), judge=JudgeRefusals(found))
        begins = {SOURCE: Begins(day_number(self.begins), by_default=False)}
        gates = gates_of(found, policy, begins)
        root = pipeline()
        build_stream_graph(root, {SOURCE: _Given(delivered)}, gates, decoding, Releasing(found, policy, job.keyring))
        root.run().wait_until_finish()
