"""Pub/Sub as a source of streaming engines: the bus of `carrel live`, acknowledged after the engine's checkpoint.

A subscription has no positions. What a reader has handed on keeps its leases until a checkpoint that holds it is
durable, and is acknowledged then; what a failed engine forgets comes again, and a tally is a set.

A checkpoint holds the source object as a pickle: the names of this module and of `PubsubSource` must never change.
"""

import functools
import itertools
import time
from dataclasses import dataclass, replace
from typing import Any, Iterator, Optional

from apache_beam.io.unbounded_source import CheckpointMark, UnboundedSource  # noqa: TID251 - an input

from pipelines.bus import BusBatch
from pipelines.bus_reader import BusMark, BusMarkCoder, BusReader, Watch, now
from pipelines.pubsub_bus import PubsubBus
from transforms.coders import ColumnsCoder

# Longer than any bundle; with the longest lease after it still within what `PullClock` waits for after a start.
_LEFT_ALONE = 300.0


@dataclass(frozen=True)
class PubsubSource(UnboundedSource):
    """The subscription of one source, which its readers share. Holds no secret.

    Attributes:
      subscription: its full name, projects/P/subscriptions/S.
      readers: how many readers there are; reader: which of them this is.
      policy: digest of the policy under which a clean start was made; a checkpoint keeps it.
    """

    source: str
    subscription: str
    readers: int
    policy: str
    reader: int = 0

    def split(self, desired_num_splits: int, options: Any = None) -> Iterator["PubsubSource"]:
        """One for each reader, whatever number is desired: a gate waits for all of them by number."""
        del desired_num_splits, options
        for reader in range(self.readers):
            yield replace(self, reader=reader)

    def create_reader(self, options: Any, checkpoint_mark: Optional[CheckpointMark]) -> "PubsubReader":
        """Open a connection. What it proves begins anew: others may still hold leases of what is not safe.

        Args:
          options: what `ReadUnbounded` was given: a `Watch`.
        """
        assert checkpoint_mark is None or isinstance(checkpoint_mark, BusMark)  # noqa: S101 - its own coder made it
        mark = checkpoint_mark or BusMark()
        proven = {} if mark.clock is None else {self.subscription.rpartition("/")[2]: mark.clock}
        bus = PubsubBus(self.source, self.subscription, mark.positions(), proven, now=now)
        return PubsubReader(self, bus, mark, options)

    def get_checkpoint_mark_coder(self) -> BusMarkCoder:
        """Of its marks."""
        return BusMarkCoder()

    def default_output_coder(self) -> ColumnsCoder:
        """Of its elements."""
        return ColumnsCoder("Delivered")


class PubsubReader(BusReader):
    """Reads a subscription together with others; tells it what is safe.

    A reader that its engine has left alone, perhaps because another one goes on elsewhere, lets its leases run out.
    """

    def __init__(self, source: PubsubSource, bus: PubsubBus, mark: BusMark, watch: Watch) -> None:
        super().__init__(source, bus, mark, watch)
        self._subscription = bus
        self._out: dict[int, tuple[str, ...]] = {}  # by number of the batch: ack ids of what is not safe yet
        self._numbers = itertools.count()
        self._asked = time.monotonic()
        bus.lease_also(self._leased)

    def advance(self) -> bool:
        """Take what is there, within a small moment."""
        self._asked = time.monotonic()
        return super().advance()

    def _taken(self, batch: BusBatch) -> None:
        self._out[next(self._numbers)] = self._subscription.hand_on(batch)

    def _leased(self) -> list[str]:
        if time.monotonic() - self._asked > _LEFT_ALONE:
            return []
        return [one for ids in list(self._out.values()) for one in ids]

    def get_checkpoint_mark(self) -> BusMark:
        """Where it stands; once that is durable all that was handed on before it is acknowledged."""
        mark = super().get_checkpoint_mark()
        return replace(mark, safe=functools.partial(self._safe, tuple(self._out))) if self._out else mark

    def _safe(self, numbers: tuple[int, ...]) -> None:
        # A message of the engine that is lost costs nothing: the next one tells of all that came before it.
        for number in numbers:
            self._subscription.acknowledge(self._out.pop(number, ()))
