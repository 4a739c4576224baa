"""Kafka as a source of streaming engines: the bus of `carrel live`, its positions in the engine's checkpoints.

Reader i of N owns the partitions whose number leaves i when divided by N, those too that are added later.

A checkpoint holds the source object as a pickle: the names of this module and of `KafkaSource` must never change.
"""

import os
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Iterator, Optional, Tuple

from apache_beam.io.unbounded_source import CheckpointMark, UnboundedSource  # noqa: TID251 - an input

from pipelines.bus_reader import BusMark, BusMarkCoder, BusReader, Watch, now
from pipelines.kafka_bus import KafkaBus
from pipelines.kafka_bus_settings import broker_settings
from transforms.coders import ColumnsCoder

_TELL_EVERY = 60.0  # seconds: whom a mark tells pays with a new chain of transforms (`pipelines.unbounded_read`)


@dataclass(frozen=True)
class KafkaSource(UnboundedSource):
    """The topics of one source, or those of their partitions that one reader owns. Holds no secret.

    Attributes:
      settings: path of the broker settings on the workers; None without.
      environment: setting -> name of the environment variable that holds its value there.
      since: arrival, ms UTC, from which a clean start reads; None from the first message.
      readers: how many readers share the partitions; reader: which of them this is.
      policy: digest of the policy under which a clean start was made; a checkpoint keeps it.
    """

    source: str
    topics: Tuple[str, ...]
    settings: Optional[str]
    environment: Tuple[Tuple[str, str], ...]
    since: Optional[int]
    readers: int
    policy: str
    reader: int = 0

    def split(self, desired_num_splits: int, options: Any = None) -> Iterator["KafkaSource"]:
        """One for each reader, whatever number is desired: a gate waits for all of them by number."""
        del desired_num_splits, options
        for reader in range(self.readers):
            yield replace(self, reader=reader)

    def create_reader(self, options: Any, checkpoint_mark: Optional[CheckpointMark]) -> "KafkaReader":
        """Open a connection that goes on from a mark.

        Args:
          options: what `ReadUnbounded` was given: a `Watch`.
        """
        assert checkpoint_mark is None or isinstance(checkpoint_mark, BusMark)  # noqa: S101 - its own coder made it
        path = None if self.settings is None else Path(self.settings)
        settings = broker_settings(path, dict(self.environment), os.environ)
        mark = checkpoint_mark or BusMark()
        bus = KafkaBus(
            self.source, self.topics, settings, mark.positions(),
            now=now, since=self.since, owns=lambda number: number % self.readers == self.reader,
        )  # fmt: skip
        return KafkaReader(self, bus, mark, options)

    def get_checkpoint_mark_coder(self) -> BusMarkCoder:
        """Of its marks."""
        return BusMarkCoder()

    def default_output_coder(self) -> ColumnsCoder:
        """Of its elements."""
        return ColumnsCoder("Delivered")


class KafkaReader(BusReader):
    """Reads partitions, and tells the brokers from time to time what is durable, for who watches a group's lag."""

    def __init__(self, source: KafkaSource, bus: KafkaBus, mark: BusMark, watch: Watch) -> None:
        super().__init__(source, bus, mark, watch)
        self._kafka = bus
        self._told = -_TELL_EVERY
        self._next: dict[str, int] = {}

    def get_checkpoint_mark(self) -> BusMark:
        """Where it stands; once that is durable, the brokers are told, if they were not for a while."""
        mark = super().get_checkpoint_mark()
        reached = {part: position.next for part, position in mark.positions().items()}
        if reached == self._next or time.monotonic() - self._told < _TELL_EVERY:
            return mark
        self._told, self._next = time.monotonic(), reached
        return replace(mark, safe=partial(self._kafka.tell, reached))
